"""Every setting, the named presets, and `key=value` overrides. Plain data: imports no torch."""

import dataclasses
import difflib
import json
from collections.abc import Sequence
from typing import Any, Literal, TypeVar, get_args, get_type_hints

from flowvocoder.architectures import (
    ARCHITECTURES,
    FloWaveNetConfig,
    LapGlowConfig,
    Limits,
    ModelConfig,
    SqueezeWaveConfig,
    WaveFlowConfig,
    WaveGlowConfig,
)
from flowvocoder.errors import ConfigError
from flowvocoder.mel.spec import MelSpec, convention

Part = TypeVar("Part", bound="ModelConfig | TrainConfig")

JUDGES = ("spectral_weight", "pulse_weight", "period_weight", "hum_weight", "adversarial_weight", "feature_weight")
"""Settings that judge samples, each by its weight."""


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How to train."""

    steps: int = 8500
    batch: int = 8  # segments a step, over all processes
    accumulate: int = 1  # pieces a process computes its share of the batch in, one after another
    segment: int = 16384  # samples, rounded down to whole frames
    lr: float = 1.5e-3
    warmup: int = 100  # steps
    final_lr: float = 0.02  # of lr, at the end of the cosine
    weight_decay: float = 0.0
    clip: float = 1.0  # largest gradient norm
    ema: float = 0.998  # decay of the averaged weights
    likelihood_weight: float = 1.0
    pitch_weight: float = 1.0  # of what teaches the pitch predictor its lag
    gain_weight: float = 1.0  # of what teaches it gains that predict the waveform
    spectral_weight: float = 0.0  # of the spectral distance of samples to recordings
    repulsion: float = 0.0  # of two samples of one mel; at 1 the spectral distance is an energy distance
    pulse_weight: float = 0.0  # of the difference in pitch pulses between samples and recordings
    period_weight: float = 0.0  # of the difference in pitch between samples and recordings
    hum_weight: float = 0.0  # of what samples repeat in every block
    fine_weight: float = 0.0  # of telling the fine spectrum of recordings from samples, which is then all they are for
    samples_only: bool = False  # teach what samples have of their own and leave the flow, and its likelihood, as it is
    adversarial_weight: float = 0.0  # of what the discriminators say of samples
    feature_weight: float = 0.0  # of the distance of the discriminators' features
    discriminator_channels: int = 32
    discriminator_lr: float = 2e-4
    sample_from: int = 0  # first step at which samples are drawn, for the terms above that judge them
    sample_temperature: float = 0.8  # of those samples, and of the voice
    match: int = 4  # passes of mel matching (`mel/matching.py`) that they go through, and so will speech
    low_match: int = 24  # further passes over the lowest kilohertz, for speech alone
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"  # of the networks; the flow itself is float32
    recompute: bool = False  # backpropagate through inverses instead of stored activations: less memory, more time
    compile: bool = False  # torch.compile the networks
    patience: int = 0  # stop after so many validations without a better one; 0: never
    seed: int = 0
    validate_every: int = 500  # steps
    save_every: int = 250  # steps

    @property
    def adversarial(self) -> bool:
        """Whether discriminators take part."""
        return self.adversarial_weight > 0 or self.feature_weight > 0

    def samples_at(self, step: int) -> bool:
        """Whether samples are drawn at a step."""
        wanted = self.fine_weight > 0 or any(getattr(self, name) > 0 for name in JUDGES)
        return wanted and step >= self.sample_from


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A model, the mels it speaks, and how it is trained."""

    model: ModelConfig
    mel: MelSpec
    train: TrainConfig

    def to_dict(self) -> dict[str, Any]:
        return {"architecture": self.model.architecture, **dataclasses.asdict(self)}


def _family(model: ModelConfig, lr: float, batch: int) -> Experiment:
    return Experiment(model, convention("tacotron2"), TrainConfig(steps=500_000, lr=lr, batch=batch, warmup=1000))


LIVE = LapGlowConfig(
    block=256,
    flows=8,
    layers=1,
    channels=256,
    time_slots=16,
    pitch_shapes=4,
    pitch_pulses=True,
    causal=True,
    encoder_ahead=3,
    level_sets=4,
)

REFINE = TrainConfig(
    steps=3000,
    lr=2e-3,
    warmup=30,
    ema=0.99,
    samples_only=True,
    spectral_weight=1.0,
    pulse_weight=16.0,
    period_weight=16.0,
    sample_temperature=0.9,
)

FINE = TrainConfig(
    steps=8_000,
    segment=40960,
    lr=2e-3,
    ema=0.999,
    samples_only=True,
    fine_weight=1.0,
    sample_temperature=0.9,
    low_match=40,
)

VOICE = TrainConfig(steps=20_000, batch=16, lr=1.2e-3, ema=0.999)

DEFAULT_PRESET = "lapglow-live"

PRESETS: dict[str, Experiment] = {
    # Fast, and little look-ahead (`flowvocoder info` states it): an hour of one core.
    "lapglow-live": Experiment(LIVE, convention("tacotron2"), TrainConfig(steps=15_000, ema=0.999)),
    # The same for 2.7 times the audio: the first stage of the bundled voice (`make voice`).
    "lapglow-voice": Experiment(LIVE, convention("tacotron2"), VOICE),
    # The second stage, from a trained checkpoint of any size (--init-from): how samples sound, the likelihood as it is.
    "lapglow-refine": Experiment(LIVE, convention("tacotron2"), REFINE),
    # What leads the passes over the lowest kilohertz, from a trained checkpoint: the rest of it as it is.
    "lapglow-fine": Experiment(dataclasses.replace(LIVE, fine_channels=256), convention("tacotron2"), FINE),
    # The whole flow with discriminators, for a GPU.
    "lapglow-refine-gan": Experiment(
        LIVE,
        convention("tacotron2"),
        dataclasses.replace(
            REFINE,
            steps=50_000,
            batch=32,
            lr=3e-4,
            ema=0.999,
            samples_only=False,
            likelihood_weight=2.0,
            hum_weight=3.0,
            adversarial_weight=0.2,
            feature_weight=0.5,
        ),
    ),
    # Four times the work: more likelihood for it.
    "lapglow-base": Experiment(LapGlowConfig(), convention("tacotron2"), TrainConfig()),
    "lapglow-small": Experiment(
        LapGlowConfig(channels=96, encoder_channels=96, encoder_layers=3, scale_channels=96, pitch_channels=96),
        convention("tacotron2"),
        TrainConfig(),
    ),
    # Small enough to train in seconds: for trying things out and for tests.
    "lapglow-tiny": Experiment(
        LapGlowConfig(
            flows=2, channels=32, layers=2, encoder_channels=32, encoder_layers=1, scale_channels=32, pitch_channels=32
        ),
        convention("tacotron2"),
        TrainConfig(steps=200, batch=4, segment=8192, warmup=20, validate_every=100, save_every=50),
    ),
    **{
        # Sizes, learning rates and batches as published; docs/family.md says what a CPU makes of them.
        f"waveglow-{channels}": _family(WaveGlowConfig(channels=channels), lr=1e-4, batch=24)
        for channels in (256, 512)
    },
    **{
        f"squeezewave-{group}-{channels}": _family(SqueezeWaveConfig(group=group, channels=channels), lr=4e-4, batch=96)
        for group in (128, 256)
        for channels in (128, 256)
    },
    **{f"waveflow-{channels}": _family(WaveFlowConfig(channels=channels), lr=2e-4, batch=8) for channels in (64, 128)},
    "flowavenet": _family(FloWaveNetConfig(), lr=1e-3, batch=2),
}


def preset(name: str) -> Experiment:
    """The named preset. Raises ConfigError that lists the names there are."""
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}: there are {', '.join(PRESETS)}")
    return PRESETS[name]


def override(experiment: Experiment, settings: Sequence[str]) -> Experiment:
    """Apply `key=value` settings: `lr=5e-4` (or `train.lr=5e-4`), `model.channels=96`, `mel=hifigan`, `mel.fmax=11025`.

    Raises:
        ConfigError: no such key (with the nearest one), or a value of the wrong type.
    """
    changes: dict[str, dict[str, Any]] = {"model": {}, "mel": {}, "train": {}}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {setting}: expected key=value")
        if key == "mel":
            experiment = dataclasses.replace(experiment, mel=convention(text))
            continue
        section, _, name = key.rpartition(".")
        section = section or "train"
        if section not in changes:
            raise ConfigError(f"--set {key}: unknown section {section!r}: there are model, mel, train")
        part = getattr(experiment, section)
        fields = {f.name: f for f in dataclasses.fields(part)}
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(fields)}"
            raise ConfigError(f"--set {key}: unknown key {name!r} in {section}: {hint}")
        changes[section][name] = _parse(key, text, getattr(part, name))
    # All at once: a rate and an fmax may each be wrong without the other.
    parts = {name: dataclasses.replace(getattr(experiment, name), **values) for name, values in changes.items()}
    experiment = dataclasses.replace(experiment, **parts)
    check(experiment)
    return experiment


def weights_fit(ours: ModelConfig, theirs: ModelConfig) -> bool:
    """Whether the weights of one model fit the other: sizes are the same, or one is without a fine spectrum."""
    if isinstance(ours, LapGlowConfig) and isinstance(theirs, LapGlowConfig) and 0 in (
        ours.fine_channels, theirs.fine_channels,
    ):  # fmt: skip
        theirs = dataclasses.replace(theirs, fine_channels=ours.fine_channels, fine_layers=ours.fine_layers)
    return ours == theirs


def check(experiment: Experiment) -> None:
    """Raises ConfigError for numbers that cannot work, alone or together."""
    model, mel, train = experiment.model, experiment.mel, experiment.train
    for section, part, limits in (("model", model, model.limits), ("train", train, TRAIN_LIMITS)):
        for name, (lowest, highest) in limits.items():
            value = getattr(part, name)
            if not lowest <= value <= highest:  # NaN is not, either
                raise ConfigError(f"{section}.{name} must be from {lowest:g} to {highest:g}, not {value}")
    model.check(mel)
    if train.samples_only and not train.samples_at(train.steps):
        raise ConfigError("train.samples_only teaches from samples alone: set a weight that judges them, too")
    if train.samples_only and train.sample_from > 0:
        raise ConfigError(
            f"train.samples_only teaches from samples alone: train.sample_from must be 0, not {train.sample_from}"
        )
    if train.samples_only and train.patience > 0:
        raise ConfigError(
            f"train.samples_only leaves the likelihood, which validations measure, as it is: "
            f"train.patience must be 0, not {train.patience}"
        )
    if train.samples_only and train.recompute:
        raise ConfigError("train.samples_only backpropagates through samples, for which train.recompute does nothing")
    if train.fine_weight > 0:
        if not getattr(model, "fine_channels", 0):
            raise ConfigError("train.fine_weight teaches what this model does not have: set model.fine_channels, too")
        for name in JUDGES:
            if (weight := getattr(train, name)) > 0:
                raise ConfigError(f"train.fine_weight takes samples for itself: train.{name} must be 0, not {weight:g}")
    if train.repulsion > 0 and not train.spectral_weight > 0:
        raise ConfigError("train.repulsion is part of the spectral distance: set train.spectral_weight, too")
    if train.segment < 4 * mel.n_fft:
        raise ConfigError(f"train.segment {train.segment} must be at least 4 x mel.n_fft = {4 * mel.n_fft} samples")
    precisions = get_args(get_type_hints(TrainConfig)["precision"])
    if train.precision not in precisions:
        raise ConfigError(f"train.precision must be one of {', '.join(precisions)}, not {train.precision}")


_WEIGHT = (0.0, 1e6)
TRAIN_LIMITS: Limits = {
    "steps": (1, 10**9), "batch": (1, 10**6), "accumulate": (1, 10**6), "segment": (1, 10**8),
    "lr": (1e-12, 10.0), "warmup": (0, 10**9), "final_lr": (0.0, 1.0), "weight_decay": (0.0, 10.0),
    "clip": (1e-9, 1e9), "ema": (0.0, 0.999999),
    "likelihood_weight": _WEIGHT, "pitch_weight": _WEIGHT, "gain_weight": _WEIGHT, "spectral_weight": _WEIGHT,
    "repulsion": (0.0, 1.0), "pulse_weight": _WEIGHT, "period_weight": _WEIGHT, "hum_weight": _WEIGHT,
    "fine_weight": _WEIGHT, "adversarial_weight": _WEIGHT, "feature_weight": _WEIGHT,
    "discriminator_channels": (1, 1024),
    "discriminator_lr": (1e-12, 10.0), "sample_from": (0, 10**9), "sample_temperature": (0.0, 10.0), "match": (0, 64),
    "low_match": (0, 1024),
    "patience": (0, 10**9), "seed": (0, 2**31), "validate_every": (1, 10**9), "save_every": (1, 10**9),
}  # fmt: skip
"""Smallest and largest sensible value of every number."""


def experiment_from_dict(values: dict[str, Any]) -> Experiment:
    """The inverse of `Experiment.to_dict`; raises ConfigError for what this version does not know."""
    architecture = values.get("architecture")
    if not isinstance(architecture, str) or architecture not in ARCHITECTURES:
        raise ConfigError(f"unknown architecture {architecture!r}: this version knows {', '.join(ARCHITECTURES)}")
    try:
        experiment = Experiment(
            _typed(ARCHITECTURES[architecture], values["model"]),
            MelSpec.from_dict(values["mel"]),
            _typed(TrainConfig, values.get("train", {})),
        )
    except (KeyError, TypeError) as error:
        raise ConfigError(f"configuration has a missing or unknown key ({error})") from error
    check(experiment)
    return experiment


def _typed(kind: type[Part], values: dict[str, Any]) -> Part:
    """A section from JSON. Raises TypeError for an unknown key or a value of another type than the default's."""
    part = kind(**values)
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if type(value) is not type(field.default) and not (type(field.default) is float and type(value) is int):
            raise TypeError(f"{field.name}: {value!r}")
    return part


def _parse(key: str, text: str, current: Any) -> Any:
    if isinstance(current, str):
        return text
    kind = type(current)
    try:
        value = float(text) if kind is float else json.loads(text)  # .7 is a number, if not in JSON
    except ValueError:
        value = text
    if type(value) is not kind:
        raise ConfigError(f"--set {key}: expected {kind.__name__} like {json.dumps(current)}, not {text!r}")
    return value
