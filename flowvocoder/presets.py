"""Named experiments, and experiments from what a checkpoint says of them. Plain data: imports no torch."""

import difflib
from typing import Any

from flowvocoder.config import Experiment, PostfilterConfig, TrainConfig, check
from flowvocoder.errors import ConfigError
from flowvocoder.legacy import todays_preset
from flowvocoder.mel.spec import MelSpec
from flowvocoder.models.registry import ARCHITECTURES, PRESETS
from flowvocoder.settings import typed

__all__ = ["DEFAULT_PRESET", "PRESETS", "experiment_from_dict", "preset", "stated_mel"]

DEFAULT_PRESET = "lapglow-streaming"


def preset(name: str) -> Experiment:
    """The named preset. Raises ConfigError that says which name is near, or which there are."""
    name = todays_preset(name)
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, n=1, cutoff=0.8)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(PRESETS)}"
        raise ConfigError(f"unknown preset {name!r}: {hint}")
    return PRESETS[name]


def stated_mel(name: str) -> MelSpec | None:
    """The mel of a preset whose name states its rate, such as universal-24k-stage1; None for one of any mel."""
    mel = preset(name).mel
    return mel if f"-{mel.sample_rate // 1000}k-" in name else None


def experiment_from_dict(values: dict[str, Any]) -> Experiment:
    """The inverse of `Experiment.to_dict`; raises ConfigError for what this version does not know."""
    try:
        sizes = dict(values["model"])
        architecture = sizes.pop("architecture", None)
        if not isinstance(architecture, str) or architecture not in ARCHITECTURES:
            raise ConfigError(f"unknown architecture {architecture!r}: this version knows {', '.join(ARCHITECTURES)}")
        postfilter = values.get("postfilter")
        experiment = Experiment(
            typed(ARCHITECTURES[architecture], sizes),
            MelSpec.from_dict(values["mel"]),
            typed(TrainConfig, values.get("train", {})),
            None if postfilter is None else typed(PostfilterConfig, postfilter),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"configuration has a missing or unknown key ({error})") from error
    check(experiment)
    return experiment
