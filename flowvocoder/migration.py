"""Checkpoints of older formats in the names of today's: pure functions on JSON values. No torch.

Format 1 (version 0.1) had the architecture beside its sizes, the guide's sizes among them, and an `about` of any keys.
Format 2 has `model`, `mel`, `postfilter`, `train` and `card`.
"""

from collections.abc import Mapping
from typing import Any

from flowvocoder.errors import ConfigError
from flowvocoder.legacy import SETTINGS, todays_train
from flowvocoder.postfilter.settings import PostfilterSettings
from flowvocoder.settings import limits_of
from flowvocoder.voice_card import TYPES, fits

FORMAT_VERSION = 2

TENSORS: dict[str, str] = {"encoder": "model.encoder", "flow": "model.flow", "fine": "postfilter.guide"}
"""What modules of format 1 are called today: the first part of a tensor's name, before its first dot."""


def migrated(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config.json` of any known format, in this one.

    Raises:
        ConfigError: a section is missing or is no section.
    """
    if config["format_version"] == FORMAT_VERSION:
        return {**config, **{name: _section(config, name) for name in ("model", "mel", "train", "card")}}
    signed = {key: config[key] for key in ("weights_sha256", "config_sha256") if key in config}
    card = card_from_about(_section(config, "about"))
    return {"format_version": FORMAT_VERSION, **migrated_experiment(config), "card": card, **signed}


def migrated_experiment(values: Mapping[str, Any]) -> dict[str, Any]:
    """What format 1 says of an experiment: architecture, model, mel and train -> model, mel, postfilter and train.

    Raises:
        ConfigError: a section is missing or is no section.
    """
    moved: dict[str, Any] = {"model": {"architecture": values.get("architecture")}, "mel": {}, "postfilter": {}}
    moved["train"] = todays_train(_section(values, "train"))
    for section in ("model", "mel"):
        for name, value in _section(values, section).items():
            old = f"{section}.{name}"
            _put(moved, SETTINGS.get(old, old), value)
    if not moved["postfilter"].get("guide_channels"):
        moved["postfilter"] = None
    return moved


def card_from_about(about: Mapping[str, Any]) -> dict[str, Any]:
    """A voice card of what format 1 says about a voice. What does not fit is kept under `extra`."""
    kept = TYPES.keys() - {"extra", "postfilter"}
    known = {key: value for key, value in about.items() if key in kept and fits(key, value)}
    unknown = {key: value for key, value in about.items() if key not in {*known, "match", "low_match"}}
    limits = limits_of(PostfilterSettings)
    iterations = {name: about.get(old, 0) for old, name in (("match", "gl_iters"), ("low_match", "low_band_iters"))}
    valid = {name: n for name, n in iterations.items() if type(n) is int and limits[name][0] <= n <= limits[name][1]}
    return {**known, "postfilter": valid, "extra": unknown}


def tensor_name(name: str) -> str:
    """Today's name of a tensor of any format.

    >>> tensor_name("fine.layers.0.norm.weight")
    'postfilter.guide.layers.0.norm.weight'
    >>> tensor_name("flow.layers.0.weight")
    'model.flow.layers.0.weight'
    """
    module, dot, rest = name.partition(".")
    return TENSORS.get(module, module) + dot + rest


def state_tensor_name(name: str) -> str:
    """Today's name of a tensor of a format-1 training state: weights, their average, an optimiser's moments.

    >>> state_tensor_name("ema.fine.norm.weight")
    'ema.postfilter.guide.norm.weight'
    >>> state_tensor_name("model-optimizer.3.exp_avg")
    'voice-optimizer.3.exp_avg'
    """
    part, dot, rest = name.partition(".")
    rest = tensor_name(rest) if part in ("model", "ema") else rest
    return {"model": "voice", "model-optimizer": "voice-optimizer"}.get(part, part) + dot + rest


def _section(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    section = values.get(name, {} if name == "train" else None)
    if not isinstance(section, dict):
        raise ConfigError(f"configuration has a missing or unknown key ({name!r})")
    return section


def _put(sections: dict[str, Any], path: str, value: Any) -> None:
    """`_put(x, "postfilter.guide_layers", 6)` sets x["postfilter"]["guide_layers"]."""
    *outer, name = path.split(".")
    for key in outer:
        sections = sections.setdefault(key, {})
    sections[name] = value
