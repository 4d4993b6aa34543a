"""Settings and presets of version 0.1 in today's names: pure functions on JSON values. No torch.

Checkpoints and runs of 0.1 load for good. On the command line old names work for one release.
"""

from collections.abc import Collection, Mapping
from typing import Any

from flowvocoder.errors import ConfigError
from flowvocoder.renamed import say_renamed

SETTINGS: dict[str, str] = {
    "model.fine_channels": "postfilter.guide_channels",
    "model.fine_layers": "postfilter.guide_layers",
    "model.time_slots": "model.subband_merging",
    "model.pitch_shapes": "model.pitch_filters",
    "model.pitch_pulses": "model.pitch_excitation",
    "model.level_sets": "model.band_groups",
    "model.level_channels": "model.band_group_channels",
    "train.steps": "train.optim.steps",
    "train.batch": "train.optim.batch",
    "train.segment": "train.optim.segment",
    "train.lr": "train.optim.lr",
    "train.warmup": "train.optim.warmup",
    "train.final_lr": "train.optim.final_lr",
    "train.clip": "train.optim.clip",
    "train.ema": "train.optim.ema",
    "train.likelihood_weight": "train.losses.likelihood",
    "train.pitch_weight": "train.losses.lag",
    "train.gain_weight": "train.losses.gain",
    "train.spectral_weight": "train.losses.spectral",
    "train.repulsion": "train.losses.repulsion",
    "train.pulse_weight": "train.losses.pulse",
    "train.period_weight": "train.losses.period",
    "train.hum_weight": "train.losses.block_tones",
    "train.adversarial_weight": "train.losses.adversarial",
    "train.feature_weight": "train.losses.features",
    "train.discriminator_channels": "train.losses.discriminator_channels",
    "train.sample_temperature": "train.sampling.temperature",
    "train.match": "train.sampling.gl_iters",
    "train.low_match": "train.sampling.low_band_iters",
    "train.seed": "train.run.seed",
    "train.precision": "train.run.precision",
    "train.validate_every": "train.run.validate_every",
    "train.save_every": "train.run.save_every",
    "train.patience": "train.run.patience",
    "train.accumulate": "train.run.accumulate",
    "train.recompute": "train.run.recompute",
    "train.compile": "train.run.compile",
}
"""Where settings of 0.1 are today. Those that are not here are where they were."""

STAGES: dict[tuple[str, str], str] = {
    ("samples_only", "true"): "samples",
    ("samples_only", "false"): "flow",
    ("fine_weight", "1"): "guide",
    ("fine_weight", "1.0"): "guide",
}
"""Settings of 0.1 that are a stage today, with their values as `--set` takes them."""

GONE: dict[str, Any] = {"weight_decay": 0.0, "discriminator_lr": 2e-4, "sample_from": 0}
"""Settings of 0.1 that no voice used, and the only values they have today."""

PRESETS: dict[str, str] = {
    "lapglow-live": "lapglow-streaming",
    "lapglow-voice": "lapglow-stage1",
    "lapglow-refine": "lapglow-stage2",
    "lapglow-fine": "lapglow-stage3",
    "lapglow-refine-gan": "lapglow-stage2-gan",
}
"""Presets of 0.1 and their names today."""


def todays_train(old: Mapping[str, Any]) -> dict[str, Any]:
    """The section `train` of version 0.1 in today's groups; keys that 0.1 did not have stay where they are.

    >>> todays_train({"lr": 0.002, "samples_only": True, "pulse_weight": 16.0})
    {'stage': 'samples', 'optim': {'lr': 0.002}, 'losses': {'pulse': 16.0}}
    """
    guide = old.get("fine_weight", 0) > 0
    new: dict[str, Any] = {"stage": "guide" if guide else "samples" if old.get("samples_only", False) else "flow"}
    for name, value in old.items():
        if f"train.{name}" in SETTINGS:
            _, group, setting = SETTINGS[f"train.{name}"].split(".")
            new.setdefault(group, {})[setting] = value
        elif name not in GONE and name not in ("samples_only", "fine_weight"):
            new[name] = value
    return new


def lost_settings(old: Mapping[str, Any]) -> list[str]:
    """Settings of a section `train` of version 0.1 that have no effect today, for people."""
    lost = [f"no {name}, was {value}" for name, only in GONE.items() if (value := old.get(name, only)) != only]
    if old.get("fine_weight", 0) not in (0, 1):
        lost.append(f"a weight of the guide of 1, was {old['fine_weight']}")
    return lost


def trains_flow_and_guide(old: Mapping[str, Any]) -> bool:
    """Whether a section `train` of version 0.1 trains both at once, which no stage does."""
    return old.get("fine_weight", 0) > 0 and not old.get("samples_only", False)


def todays_setting(key: str, text: str, paths: Collection[str]) -> tuple[str, str]:
    """`key=text` of `--set` in today's names, said on standard error where it changes.

    Args:
        paths: today's settings.

    Raises:
        ConfigError: the setting is gone.
    """
    name = key.removeprefix("train.")
    if (name, text) in STAGES:
        stage = STAGES[name, text]
        say_renamed(f"--set {key}={text}", f"--set stage={stage}")
        return "train.stage", stage
    if name in GONE or name in ("samples_only", "fine_weight"):
        raise ConfigError(f"--set {key}: there is no such setting any more" + ("" if name in GONE else ": set stage"))
    old = next((path for path in SETTINGS if f".{path}".endswith(f".{key}")), None)
    if old is None or any(f".{path}".endswith(f".{key}") for path in paths):
        return key, text
    new = SETTINGS[old].removeprefix("train.")
    say_renamed(f"--set {key}", f"--set {new}")
    return new, text


def todays_preset(name: str) -> str:
    """A preset's name today, said on standard error where it changed."""
    if name in PRESETS:
        say_renamed(f"preset {name}", PRESETS[name])
    return PRESETS.get(name, name)
