"""Settings as dataclasses: the limits of a number stand beside its field, and one function checks them all."""

import dataclasses
from typing import Any

from flowvocoder.errors import ConfigError


def limited(default: Any, lowest: float, highest: float) -> Any:
    """A dataclass field with this default that must lie from `lowest` to `highest`."""
    return dataclasses.field(default=default, metadata={"limits": (lowest, highest)})


def limits_of(settings: Any) -> dict[str, tuple[float, float]]:
    """Smallest and largest value of every field that has limits, of a dataclass or an instance of one."""
    return {f.name: f.metadata["limits"] for f in dataclasses.fields(settings) if "limits" in f.metadata}


def check_limits(section: str, settings: Any) -> None:
    """Raises ConfigError that names the setting, its limits and the value."""
    for name, (lowest, highest) in limits_of(settings).items():
        value = getattr(settings, name)
        if not lowest <= value <= highest:  # NaN is not, either
            raise ConfigError(f"{section}.{name} must be from {lowest:g} to {highest:g}, not {value}")
