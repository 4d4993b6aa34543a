"""Settings as frozen dataclasses, also in groups: limits stand beside their field. Plain data: imports no torch."""

import contextlib
import dataclasses
import difflib
import json
import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeVar, get_args, get_origin

from flowvocoder.errors import ConfigError

Settings = TypeVar("Settings")

SYNONYMS = {"learning_rate": "lr", "batch_size": "batch", "max_steps": "steps", "segment_length": "segment"}
"""What other programs call a setting, for a hint where a key is unknown."""


class Leaf(NamedTuple):
    """One setting: where it is (`train.optim.lr`), its field and its value."""

    path: str
    field: "dataclasses.Field[Any]"
    value: Any


def limited(default: Any, lowest: float, highest: float) -> Any:
    """A dataclass field with this default that must lie from `lowest` to `highest`."""
    return dataclasses.field(default=default, metadata={"limits": (lowest, highest)})


def limits_of(settings: Any) -> dict[str, tuple[float, float]]:
    """Smallest and largest value of every field that has limits, of a dataclass or an instance of one."""
    return {f.name: f.metadata["limits"] for f in dataclasses.fields(settings) if "limits" in f.metadata}


def whole(name: str, value: Any) -> int:
    """A whole number, NumPy's and PyTorch's too. Raises ConfigError that names what it is for.

    >>> whole("gl_iters", 4)
    4
    """
    if not isinstance(value, bool):
        with contextlib.suppress(TypeError):
            return operator.index(value)
    raise ConfigError(f"{name} must be a whole number, not {value!r}")


def number(name: str, value: Any) -> float:
    """A number, NumPy's and PyTorch's too. Raises ConfigError that names what it is for."""
    if not isinstance(value, str):
        with contextlib.suppress(TypeError, ValueError, RuntimeError):
            return float(value)
    raise ConfigError(f"{name} must be a number, not {value!r}")


def leaves(settings: Any, path: str = "") -> Iterator[Leaf]:
    """Every setting, those in groups too, in the order of their declaration."""
    for field in dataclasses.fields(settings):
        value, own = getattr(settings, field.name), f"{path}.{field.name}".lstrip(".")
        if dataclasses.is_dataclass(value):
            yield from leaves(value, own)
        else:
            yield Leaf(own, field, value)


def check_limits(section: str, settings: Any) -> None:
    """Raises ConfigError that names the setting, its limits or choices, and the value."""
    for path, field, value in leaves(settings, section):
        lowest, highest = field.metadata.get("limits", (-float("inf"), float("inf")))
        if "limits" in field.metadata and not lowest <= value <= highest:  # NaN is not, either
            raise ConfigError(f"{path} must be from {lowest:g} to {highest:g}, not {value}")
        if get_origin(field.type) is Literal and value not in get_args(field.type):
            raise ConfigError(f"{path} must be one of {', '.join(get_args(field.type))}, not {value}")


def typed(kind: type[Settings], values: Mapping[str, Any]) -> Settings:
    """Settings from JSON; what is not given has its default.

    Raises:
        TypeError: an unknown key, or a value of another type than the default's.
    """
    if not isinstance(values, Mapping):
        raise TypeError(f"{repr(values)[:40]} in the place of settings")
    groups = {f.name: f.type for f in dataclasses.fields(kind) if dataclasses.is_dataclass(f.type)}  # type: ignore[arg-type]
    values = {name: typed(groups[name], value) if name in groups else value for name, value in values.items()}  # type: ignore[arg-type]
    settings = kind(**values)
    for path, field, value in leaves(settings):
        if type(value) is not type(field.default) and not (type(field.default) is float and type(value) is int):
            raise TypeError(f"{path}: {value!r}")
    return settings


def replaced(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """A copy with other values at some paths: all at once, since one alone may not be valid.

    >>> from flowvocoder.config import TrainConfig
    >>> replaced(TrainConfig(), {"optim.steps": 10, "stage": "guide"}).optim.steps
    10
    """
    groups: dict[str, dict[str, Any]] = {}
    for path, value in changes.items():
        name, _, rest = path.partition(".")
        groups.setdefault(name, {})[rest] = value
    new = {
        name: inner[""] if "" in inner else replaced(getattr(settings, name), inner) for name, inner in groups.items()
    }
    return dataclasses.replace(settings, **new)  # type: ignore[type-var]


def find(key: str, paths: Sequence[str]) -> str:
    """The path that a key names: all of it, or as many of its last words as make it unique.

    >>> find("lr", ["model.channels", "train.optim.lr"])
    'train.optim.lr'

    Raises:
        ConfigError: no such path (with the nearest), or several.
    """
    found = [path for path in paths if f".{path}".endswith(f".{key}")]
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(f"--set {key}: name one of {', '.join(found)}")
    words = [path.split(".") for path in paths]
    spelled = {".".join(w[i:]) for w in words for i in range(len(w))}
    meant = difflib.get_close_matches(key[:100], SYNONYMS, n=1, cutoff=0.8)
    near = [SYNONYMS[name] for name in meant if SYNONYMS[name] in spelled]
    near = near or difflib.get_close_matches(key[:100], sorted(spelled), n=1)
    nearest = difflib.get_close_matches(key[:100], paths, n=3, cutoff=0.0)
    hint = f"did you mean {near[0]}?" if near else f"the nearest are {', '.join(nearest)}"
    raise ConfigError(f"--set {key}: unknown key {key!r}: {hint}")


def parse(key: str, text: str, current: Any) -> Any:
    """The value of `key=text`. Raises ConfigError if it is of another type than the current one."""
    if isinstance(current, str):
        return text
    kind = type(current)
    try:
        value = float(text) if kind is float else json.loads(text)  # .7 is a number, if not in JSON
    except (ValueError, RecursionError):
        value = text
    if type(value) is not kind:
        raise ConfigError(f"--set {key}: expected {kind.__name__} like {json.dumps(current)}, not {text!r}")
    return value
