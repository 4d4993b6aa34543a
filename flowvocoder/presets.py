"""Named experiments, and experiments from what a checkpoint says of them. Plain data: imports no torch."""

import dataclasses
from typing import Any

from flowvocoder.config import Experiment, ModelConfig, TrainConfig, check, typed
from flowvocoder.errors import ConfigError
from flowvocoder.mel.spec import MelSpec
from flowvocoder.models.lapglow import LapGlowConfig
from flowvocoder.models.registry import ARCHITECTURES, PRESETS

__all__ = ["DEFAULT_PRESET", "PRESETS", "experiment_from_dict", "preset", "weights_fit"]

DEFAULT_PRESET = "lapglow-live"


def preset(name: str) -> Experiment:
    """The named preset. Raises ConfigError that lists the names there are."""
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}: there are {', '.join(PRESETS)}")
    return PRESETS[name]


def weights_fit(ours: ModelConfig, theirs: ModelConfig) -> bool:
    """Whether the weights of one model fit the other: sizes are the same, or one is without a fine spectrum."""
    if isinstance(ours, LapGlowConfig) and isinstance(theirs, LapGlowConfig) and 0 in (
        ours.fine_channels, theirs.fine_channels,
    ):  # fmt: skip
        theirs = dataclasses.replace(theirs, fine_channels=ours.fine_channels, fine_layers=ours.fine_layers)
    return ours == theirs


def experiment_from_dict(values: dict[str, Any]) -> Experiment:
    """The inverse of `Experiment.to_dict`; raises ConfigError for what this version does not know."""
    architecture = values.get("architecture")
    if not isinstance(architecture, str) or architecture not in ARCHITECTURES:
        raise ConfigError(f"unknown architecture {architecture!r}: this version knows {', '.join(ARCHITECTURES)}")
    try:
        experiment = Experiment(
            typed(ARCHITECTURES[architecture], values["model"]),
            MelSpec.from_dict(values["mel"]),
            typed(TrainConfig, values.get("train", {})),
        )
    except (KeyError, TypeError) as error:
        raise ConfigError(f"configuration has a missing or unknown key ({error})") from error
    check(experiment)
    return experiment
