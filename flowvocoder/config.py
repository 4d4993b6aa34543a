"""Every setting, and `key=value` overrides. Plain data: imports no torch."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from flowvocoder.errors import ConfigError
from flowvocoder.legacy import todays_setting
from flowvocoder.mel.spec import MelSpec, convention
from flowvocoder.settings import check_limits, find, leaves, limited, parse, replaced

if TYPE_CHECKING:
    from flowvocoder.flows.density import FlowVocoder


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Sizes of an architecture, which mels they go with, and how it is built.

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


NETWORKS = ("guide", "refiner")
"""Networks that a post-filter may have, each trained by a stage of its name."""


@dataclasses.dataclass(frozen=True)
class PostfilterConfig:
    """Sizes of the post-filter's networks (`flowvocoder.postfilter`): the guide, and the refiner; 0 channels: none."""

    guide_channels: int = limited(256, 0, 4096)
    guide_layers: int = limited(6, 1, 64)
    refiner_channels: int = limited(0, 0, 4096)
    refiner_layers: int = limited(4, 1, 32)

    def check(self, mel: MelSpec) -> None:
        """Raises ConfigError for a mel without frames that overlap as a network needs it."""
        for name in NETWORKS:
            channels = getattr(self, f"{name}_channels")
            if channels and (mel.n_fft % mel.hop_length or mel.n_fft < 3 * mel.hop_length):
                raise ConfigError(
                    f"postfilter.{name}_channels {channels} needs a mel.n_fft of 3 or more times mel.hop_length"
                    f" {mel.hop_length}, not {mel.n_fft}"
                )
        if self.refiner_channels and mel.hop_length % 16:  # short frames in a hop
            raise ConfigError(
                f"postfilter.refiner_channels {self.refiner_channels} needs a mel.hop_length that 16 divides, not"
                f" {mel.hop_length}"
            )

    def of(self, name: str) -> dict[str, int]:
        """The settings of one of `NETWORKS`; empty where there is none.

        Example:
            >>> PostfilterConfig(guide_channels=96).of("guide")
            {'guide_channels': 96, 'guide_layers': 6}
            >>> PostfilterConfig().of("refiner")
            {}
        """
        if not getattr(self, f"{name}_channels"):
            return {}
        return {key: value for key, value in vars(self).items() if key.startswith(name)}


Stage = Literal["flow", "samples", "guide", "refiner"]
"""What is trained: the whole flow, what only its samples use (the density stays), or one network of the post-filter
alone. All but the first start from a trained checkpoint."""


@dataclasses.dataclass(frozen=True)
class OptimSettings:
    """Steps, their data and their size. The learning rate warms up linearly and decays as a cosine."""

    steps: int = limited(15_000, 1, 10**9)
    batch: int = limited(8, 1, 10**6)  # segments a step, over all processes
    segment: int = limited(16384, 1, 10**8)  # samples, rounded down to whole frames
    lr: float = limited(1.5e-3, 1e-12, 10.0)
    warmup: int = limited(100, 0, 10**9)  # steps
    final_lr: float = limited(0.02, 0.0, 1.0)  # of lr, at the end of the cosine
    clip: float = limited(1.0, 1e-9, 1e9)  # largest gradient norm
    ema: float = limited(0.999, 0.0, 0.999999)  # decay of the averaged weights


@dataclasses.dataclass(frozen=True)
class LossWeights:
    """What each loss counts in the sum (`flowvocoder.training.objective`); 0 leaves it out."""

    likelihood: float = limited(1.0, 0.0, 1e6)
    lag: float = limited(1.0, 0.0, 1e6)  # of the pitch predictor: its lag
    gain: float = limited(1.0, 0.0, 1e6)  # of the pitch predictor: gains that predict the waveform
    spectral: float = limited(0.0, 0.0, 1e6)  # spectral distance of samples to recordings
    repulsion: float = limited(0.0, 0.0, 1.0)  # of two samples, in the spectral distance; 1 makes an energy distance
    pulse: float = limited(0.0, 0.0, 1e6)  # difference in pitch pulses between samples and recordings
    period: float = limited(0.0, 0.0, 1e6)  # difference in pitch between samples and recordings
    block_tones: float = limited(0.0, 0.0, 1e6)  # tones at the block rate: what samples repeat in every block
    adversarial: float = limited(0.0, 0.0, 1e6)  # the discriminators' scores of samples
    features: float = limited(0.0, 0.0, 1e6)  # distance of the discriminators' features
    discriminator_channels: int = limited(32, 1, 1024)

    @property
    def of_samples(self) -> tuple[float, ...]:
        """Weights of the losses that compare samples with recordings."""
        return self.spectral, self.pulse, self.period, self.block_tones, self.adversarial, self.features

    @property
    def has_discriminators(self) -> bool:
        """Whether discriminators take part."""
        return self.adversarial > 0 or self.features > 0


@dataclasses.dataclass(frozen=True)
class SamplingSettings:
    """How samples are drawn in training, and how the trained voice speaks."""

    temperature: float = limited(0.8, 0.0, 10.0)
    gl_iters: int = limited(4, 0, 64)  # mel-consistency (Griffin-Lim) iterations over all bands
    low_band_iters: int = limited(56, 0, 1024)  # further ones below 2 kHz, for the voice alone


@dataclasses.dataclass(frozen=True)
class AugmentSettings:
    """How segments are altered (`flowvocoder.data.augment`): the probability of each change, then its range."""

    resample: float = limited(0.0, 0.0, 1.0)
    resample_most: float = limited(1.4, 1.0, 2.0)  # times as fast and high; as many times slower and lower, too
    level: float = limited(0.0, 0.0, 1.0)
    level_db: float = limited(15.0, 0.0, 60.0)  # up or down, but not above full scale
    equaliser: float = limited(0.0, 0.0, 1.0)
    equaliser_db: float = limited(8.0, 0.0, 30.0)  # up or down, of each of a few bumps
    tilt: float = limited(0.0, 0.0, 1.0)
    tilt_db: float = limited(3.0, 0.0, 12.0)  # an octave, up or down
    lowpass: float = limited(0.0, 0.0, 1.0)
    lowpass_hz: float = limited(3400.0, 100.0, 1e6)  # lowest edge; the highest is what mels show
    noise: float = limited(0.0, 0.0, 1.0)
    noise_db: float = limited(20.0, -20.0, 90.0)  # loudest, below the speech
    room: float = limited(0.0, 0.0, 1.0)
    room_seconds: float = limited(0.5, 0.05, 5.0)  # longest reverberation time

    @property
    def alters(self) -> bool:
        """Whether any change has a probability."""
        changes = self.resample, self.level, self.equaliser, self.tilt, self.lowpass, self.noise, self.room
        return any(probability > 0 for probability in changes)


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """What is drawn from the corpora. The defaults take every recording as it is, in proportion to its length."""

    balance: float = limited(1.0, 0.0, 1.0)  # a speaker is drawn as seconds^balance: 1 by length, 0 all alike
    repeat: float = limited(5.0, 1.0, 1e6)  # at most so many times as often as by length
    band: Literal["keep", "shown"] = "keep"  # shown: no recording ends where its mel does not show it
    augment: AugmentSettings = AugmentSettings()


AS_IT_IS = DataSettings()
"""Every recording unaltered, in proportion to its length."""


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """Options of a run: they do not change what is trained, only where, how fast and with which random numbers."""

    seed: int = limited(0, 0, 2**31)
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"  # of the networks; the flow itself is float32
    validate_every: int = limited(500, 1, 10**9)  # steps
    save_every: int = limited(250, 1, 10**9)  # steps
    patience: int = limited(0, 0, 10**9)  # validations without a better one before the run stops; 0: no limit
    accumulate: int = limited(1, 1, 10**6)  # pieces of its share of a batch that a process computes in turn
    recompute: bool = False  # backpropagate through inverses instead of stored activations: less memory, more time
    compile: bool = False  # torch.compile the networks


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How to train. The defaults are those of the default preset."""

    stage: Stage = "flow"
    optim: OptimSettings = OptimSettings()
    losses: LossWeights = LossWeights()
    sampling: SamplingSettings = SamplingSettings()
    run: RunSettings = RunSettings()
    data: DataSettings = AS_IT_IS

    @property
    def draws_samples(self) -> bool:
        """Whether a step draws samples."""
        return self.stage in NETWORKS or any(weight > 0 for weight in self.losses.of_samples)


UNUSED: dict[str, tuple[str, ...]] = {
    "flow": (),
    "samples": ("run.patience", "run.recompute"),
    "guide": (
        "run.patience", "run.recompute", "losses.spectral", "losses.pulse", "losses.period", "losses.block_tones",
        "losses.adversarial", "losses.features",
    ),
    "refiner": ("run.patience", "run.recompute"),
}  # fmt: skip
"""Settings that would do nothing in a stage, so that they must have their defaults there."""


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A model, its mels, how it is trained, and the networks of its post-filter if it has any."""

    model: ModelConfig
    mel: MelSpec
    train: TrainConfig
    postfilter: PostfilterConfig | None = None

    def to_dict(self) -> dict[str, Any]:
        values = dataclasses.asdict(self)
        if self.postfilter is not None and not self.postfilter.refiner_channels:  # older versions do not know it
            values["postfilter"] = {k: v for k, v in values["postfilter"].items() if not k.startswith("refiner")}
        return {**values, "model": {"architecture": self.model.architecture, **values["model"]}}


def as_published(model: ModelConfig, lr: float, batch: int) -> Experiment:
    """A model of the WaveGlow family with the learning rate and batch of its paper."""
    optim = OptimSettings(steps=500_000, lr=lr, batch=batch, warmup=1000, ema=0.998)
    return Experiment(model, convention("tacotron2"), TrainConfig(optim=optim))


def override(experiment: Experiment, settings: Sequence[str]) -> Experiment:
    """Apply `key=value` settings, such as `optim.lr=5e-4`, `model.channels=96`, `mel=hifigan` and `mel.fmax=11025`.

    The last words of a key are enough where no other setting has them: `lr=5e-4`.

    Raises:
        ConfigError: no such key (with the nearest one), or a value of the wrong type.
    """
    changes: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {setting}: expected key=value")
        if key == "mel":
            experiment = dataclasses.replace(experiment, mel=convention(text))
            continue
        values = {leaf.path: leaf.value for leaf in leaves(_with_postfilter(experiment))}
        key, text = todays_setting(key, text, values)
        path = find(key, list(values))
        changes[path] = parse(key, text, values[path])
    if any(path.startswith("postfilter.") for path in changes):
        experiment = _with_postfilter(experiment)
    experiment = replaced(experiment, changes)
    check(experiment)
    return experiment


def with_trained_network(
    stage: str, has: PostfilterConfig | None, planned: PostfilterConfig | None
) -> PostfilterConfig | None:
    """The post-filter that a voice has, with the network that a stage trains, of the planned sizes if it has none yet.

    Example:
        >>> with_trained_network("refiner", None, PostfilterConfig(refiner_channels=8))
        PostfilterConfig(guide_channels=0, guide_layers=6, refiner_channels=8, refiner_layers=4)
    """
    wanted = planned.of(stage) if planned is not None and stage in NETWORKS else {}
    has_it = has is not None and stage in NETWORKS and has.of(stage)
    return has if has_it or not wanted else dataclasses.replace(has or PostfilterConfig(guide_channels=0), **wanted)


def _with_postfilter(experiment: Experiment) -> Experiment:
    return dataclasses.replace(experiment, postfilter=experiment.postfilter or PostfilterConfig())


def check(experiment: Experiment) -> None:
    """Raises ConfigError for numbers that cannot work, alone or together."""
    model, mel, train = experiment.model, experiment.mel, experiment.train
    check_limits("model", model)
    check_limits("train", train)
    model.check(mel)
    if experiment.postfilter is not None:
        check_limits("postfilter", experiment.postfilter)
        experiment.postfilter.check(mel)
    if mel.hop_length > mel.n_fft // 2:
        raise ConfigError(f"mel.hop_length {mel.hop_length} must be at most half of mel.n_fft {mel.n_fft}")
    for_losses = 4096 if train.draws_samples else 1024  # the longest windows that losses look through
    if train.optim.segment < (shortest := max(4 * mel.n_fft, for_losses)):
        raise ConfigError(
            f"train.optim.segment {train.optim.segment} must be at least {shortest} samples: 4 x mel.n_fft"
            f" {mel.n_fft}, and {for_losses} for the losses"
        )
    for path, field, value in leaves(train):
        if path in UNUSED[train.stage] and value != field.default:
            raise ConfigError(f"train.{path} does nothing in stage {train.stage}: must be {field.default}, not {value}")
    if train.stage in ("samples", "refiner") and not any(weight > 0 for weight in train.losses.of_samples):
        raise ConfigError(f"stage {train.stage} trains by losses of samples: set one, such as losses.spectral=1")
    if train.stage == "refiner" and not train.sampling.gl_iters:
        raise ConfigError("stage refiner needs an iteration before the refiner: train.sampling.gl_iters must not be 0")
    sizes = experiment.postfilter
    if train.stage in NETWORKS and not (sizes and sizes.of(train.stage)):
        raise ConfigError(f"stage {train.stage} trains the {train.stage}: set postfilter.{train.stage}_channels, too")
    if train.losses.repulsion > 0 and not train.losses.spectral > 0:
        raise ConfigError("train.losses.repulsion is part of the spectral distance: set losses.spectral, too")


def check_divides(name: str, value: int, mel: MelSpec) -> None:
    """Raises ConfigError if a size does not go into the hop."""
    if mel.hop_length % value:
        raise ConfigError(f"model.{name} {value} must go into mel.hop_length {mel.hop_length}")


def check_odd(kernel: int) -> None:
    """Raises ConfigError for an even kernel."""
    if kernel % 2 == 0:
        raise ConfigError(f"model.kernel must be odd, not {kernel}")
