"""Every setting, the named presets, and `key=value` overrides. Plain data: imports no torch."""

import dataclasses
import difflib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, get_args, get_type_hints

from flowvocoder.errors import ConfigError
from flowvocoder.mel.spec import MelSpec, convention
from flowvocoder.migration import SETTINGS
from flowvocoder.renamed import say_renamed
from flowvocoder.settings import check_limits, limited

if TYPE_CHECKING:
    from flowvocoder.flows.density import FlowVocoder

Part = TypeVar("Part", bound="ModelConfig | GuideConfig | TrainConfig")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """What an architecture can be told: its sizes, which mels they go with, and how it is built.

    Attributes:
        architecture: its name in checkpoints, given by `flowvocoder.models.registry.register_architecture`.
    """

    architecture: ClassVar[str]

    def check(self, mel: MelSpec) -> None:
        """Raises ConfigError for sizes that do not go together or with the mel."""
        raise NotImplementedError

    def build(self, mel: MelSpec) -> "FlowVocoder":
        """A fresh model. Imports torch."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class GuideConfig:
    """Sizes of the post-filter's guide network (`flowvocoder.postfilter.guide.Guide`)."""

    guide_channels: int = limited(256, 1, 4096)
    guide_layers: int = limited(6, 1, 64)

    def check(self, mel: MelSpec) -> None:
        """Raises ConfigError for a mel without frames that overlap as the guide needs it."""
        if mel.n_fft % mel.hop_length or mel.n_fft < 3 * mel.hop_length:
            raise ConfigError(
                f"postfilter.guide_channels {self.guide_channels} needs a mel.n_fft of 3 or more times mel.hop_length"
                f" {mel.hop_length}, not {mel.n_fft}"
            )


JUDGES = ("spectral_weight", "pulse_weight", "period_weight", "hum_weight", "adversarial_weight", "feature_weight")
"""Settings that judge samples, each by its weight."""


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How to train."""

    steps: int = limited(8500, 1, 10**9)
    batch: int = limited(8, 1, 10**6)  # segments a step, over all processes
    accumulate: int = limited(1, 1, 10**6)  # pieces a process computes its share of the batch in, one after another
    segment: int = limited(16384, 1, 10**8)  # samples, rounded down to whole frames
    lr: float = limited(1.5e-3, 1e-12, 10.0)
    warmup: int = limited(100, 0, 10**9)  # steps
    final_lr: float = limited(0.02, 0.0, 1.0)  # of lr, at the end of the cosine
    weight_decay: float = limited(0.0, 0.0, 10.0)
    clip: float = limited(1.0, 1e-9, 1e9)  # largest gradient norm
    ema: float = limited(0.998, 0.0, 0.999999)  # decay of the averaged weights
    likelihood_weight: float = limited(1.0, 0.0, 1e6)
    pitch_weight: float = limited(1.0, 0.0, 1e6)  # of what teaches the pitch predictor its lag
    gain_weight: float = limited(1.0, 0.0, 1e6)  # of what teaches it gains that predict the waveform
    spectral_weight: float = limited(0.0, 0.0, 1e6)  # of the spectral distance of samples to recordings
    repulsion: float = limited(
        0.0, 0.0, 1.0
    )  # of two samples of one mel; at 1 the spectral distance is an energy distance
    pulse_weight: float = limited(0.0, 0.0, 1e6)  # of the difference in pitch pulses between samples and recordings
    period_weight: float = limited(0.0, 0.0, 1e6)  # of the difference in pitch between samples and recordings
    hum_weight: float = limited(0.0, 0.0, 1e6)  # of what samples repeat in every block
    fine_weight: float = limited(
        0.0, 0.0, 1e6
    )  # of telling the fine spectrum of recordings from samples, which is then all they are for
    samples_only: bool = False  # teach what samples have of their own and leave the flow, and its likelihood, as it is
    adversarial_weight: float = limited(0.0, 0.0, 1e6)  # of what the discriminators say of samples
    feature_weight: float = limited(0.0, 0.0, 1e6)  # of the distance of the discriminators' features
    discriminator_channels: int = limited(32, 1, 1024)
    discriminator_lr: float = limited(2e-4, 1e-12, 10.0)
    sample_from: int = limited(
        0, 0, 10**9
    )  # first step at which samples are drawn, for the terms above that judge them
    sample_temperature: float = limited(0.8, 0.0, 10.0)  # of those samples, and of the voice
    match: int = limited(
        4, 0, 64
    )  # passes of mel matching (`mel/matching.py`) that they go through, and so will speech
    low_match: int = limited(24, 0, 1024)  # further passes over the lowest kilohertz, for speech alone
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"  # of the networks; the flow itself is float32
    recompute: bool = False  # backpropagate through inverses instead of stored activations: less memory, more time
    compile: bool = False  # torch.compile the networks
    patience: int = limited(0, 0, 10**9)  # stop after so many validations without a better one; 0: never
    seed: int = limited(0, 0, 2**31)
    validate_every: int = limited(500, 1, 10**9)  # steps
    save_every: int = limited(250, 1, 10**9)  # steps

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
    """A model, its mels, how it is trained, and the guide network of its post-filter if it has one."""

    model: ModelConfig
    mel: MelSpec
    train: TrainConfig
    postfilter: GuideConfig | None = None

    def to_dict(self) -> dict[str, Any]:
        values = dataclasses.asdict(self)
        return {**values, "model": {"architecture": self.model.architecture, **values["model"]}}


def as_published(model: ModelConfig, lr: float, batch: int) -> Experiment:
    """A model of the WaveGlow family with the learning rate and batch of its paper."""
    return Experiment(model, convention("tacotron2"), TrainConfig(steps=500_000, lr=lr, batch=batch, warmup=1000))


def override(experiment: Experiment, settings: Sequence[str]) -> Experiment:
    """Apply `key=value` settings: `lr=5e-4` (or `train.lr=5e-4`), `model.channels=96`, `mel=hifigan`, `mel.fmax=11025`.

    Raises:
        ConfigError: no such key (with the nearest one), or a value of the wrong type.
    """
    changes: dict[str, dict[str, Any]] = {"model": {}, "mel": {}, "train": {}, "postfilter": {}}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {setting}: expected key=value")
        if key == "mel":
            experiment = dataclasses.replace(experiment, mel=convention(text))
            continue
        section, _, name = _today(key).rpartition(".")
        section = section or "train"
        if section not in changes:
            raise ConfigError(f"--set {key}: unknown section {section!r}: there are {', '.join(changes)}")
        part = getattr(experiment, section) or GuideConfig()
        fields = {f.name: f for f in dataclasses.fields(part)}
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(fields)}"
            raise ConfigError(f"--set {key}: unknown key {name!r} in {section}: {hint}")
        changes[section][name] = _parse(key, text, getattr(part, name))
    # All at once: a rate and an fmax may each be wrong without the other.
    parts: dict[str, Any] = {
        name: dataclasses.replace(getattr(experiment, name) or GuideConfig(), **values)
        for name, values in changes.items()
        if values
    }
    experiment = dataclasses.replace(experiment, **parts)
    check(experiment)
    return experiment


def check(experiment: Experiment) -> None:
    """Raises ConfigError for numbers that cannot work, alone or together."""
    model, mel, train = experiment.model, experiment.mel, experiment.train
    check_limits("model", model)
    check_limits("train", train)
    model.check(mel)
    if experiment.postfilter is not None:
        check_limits("postfilter", experiment.postfilter)
        experiment.postfilter.check(mel)
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
        if experiment.postfilter is None:
            raise ConfigError("train.fine_weight trains the guide network: set postfilter.guide_channels, too")
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


def typed(kind: type[Part], values: dict[str, Any]) -> Part:
    """A section from JSON. Raises TypeError for an unknown key or a value of another type than the default's."""
    part = kind(**values)
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if type(value) is not type(field.default) and not (type(field.default) is float and type(value) is int):
            raise TypeError(f"{field.name}: {value!r}")
    return part


def _today(key: str) -> str:
    """A setting by the name it has today."""
    new = SETTINGS.get(key if "." in key else f"train.{key}")
    if new is not None:
        say_renamed(f"--set {key}", f"--set {new}")
    return new or key


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


def check_divides(name: str, value: int, mel: MelSpec) -> None:
    """Raises ConfigError if a size does not go into the hop."""
    if mel.hop_length % value:
        raise ConfigError(f"model.{name} {value} must go into mel.hop_length {mel.hop_length}")


def check_odd(kernel: int) -> None:
    """Raises ConfigError for an even kernel."""
    if kernel % 2 == 0:
        raise ConfigError(f"model.kernel must be odd, not {kernel}")
