"""LapGlow: WaveGlow on a lapped orthogonal transform."""

import dataclasses
from typing import TYPE_CHECKING, Literal

from flowvocoder.config import (
    AugmentSettings,
    DataSettings,
    Experiment,
    LossWeights,
    ModelConfig,
    OptimSettings,
    PostfilterConfig,
    RunSettings,
    SamplingSettings,
    TrainConfig,
    check_odd,
)
from flowvocoder.errors import ConfigError
from flowvocoder.mel.spec import MelSpec, convention
from flowvocoder.models.registry import register_architecture, register_presets
from flowvocoder.settings import limited

if TYPE_CHECKING:
    from flowvocoder.flows.density import FlowVocoder

LOWEST_RATE_WITH_PITCH = 13500  # Hz; the shortest lag, 1/500 s, must be longer than the taps of the recursion


@register_architecture("lapglow")
@dataclasses.dataclass(frozen=True)
class LapGlowConfig(ModelConfig):
    """Sizes of a LapGlow. The defaults are the bundled voice's."""

    block: int = limited(256, 16, 4096)  # samples, M of the lapped transform
    flows: int = limited(8, 1, 4096)  # pairs of 1x1 convolution and coupling
    channels: int = limited(256, 1, 4096)  # of the couplings' WaveNets
    layers: int = limited(1, 1, 16)  # of each WaveNet
    kernel: int = limited(3, 1, 63)
    coupling: Literal["additive", "affine", "spline"] = "affine"  # the function of each number in a coupling
    spline_bins: int = limited(8, 2, 64)
    encoder_channels: int = limited(192, 1, 4096)
    encoder_layers: int = limited(4, 0, 64)
    scale_channels: int = limited(128, 1, 4096)
    subband_merging: int = limited(16, 1, 4096)  # neighbouring high bands merged by the first 1x1 convolution's start
    pitch: bool = True  # long-term prediction before the transform
    pitch_channels: int = limited(192, 1, 4096)
    pitch_filters: int = limited(4, 1, 4)  # tap filters; the fourth predicts up to 8 kHz, each fewer an octave less
    pitch_excitation: bool = True  # samples have a pitch-synchronous excitation envelope
    causal: bool = True  # couplings, envelope and pitch look back only
    encoder_ahead: int = limited(3, -1, 65)  # encoder convolutions that look a frame ahead; -1: all
    band_groups: int = limited(4, 1, 64)  # interleaved band groups of the scale-only couplings; 1: no such coupling
    band_group_channels: int = limited(192, 1, 4096)

    def check(self, mel: MelSpec) -> None:
        """Raises ConfigError for sizes that do not go together or with the mel."""
        if self.block % 2 or mel.hop_length % self.block:
            fitting = [b for b in range(16, mel.hop_length + 1, 2) if mel.hop_length % b == 0]
            choice = f"one of {', '.join(map(str, fitting))}" if fitting else "even, and no even number does"
            raise ConfigError(f"model.block {self.block} must go into mel.hop_length {mel.hop_length}: {choice}")
        check_odd(self.kernel)
        groups = self.band_groups
        if groups & (groups - 1) or (groups > 1 and self.block % (8 * groups)):
            raise ConfigError(
                f"model.band_groups {groups} must be a power of 2, and 8 times as many go into model.block {self.block}"
            )
        if self.pitch and mel.sample_rate < LOWEST_RATE_WITH_PITCH:
            raise ConfigError(
                f"mel.sample_rate {mel.sample_rate} is too low for the pitch predictor, which needs"
                f" {LOWEST_RATE_WITH_PITCH}: set model.pitch=false"
            )

    def build(self, mel: MelSpec) -> "FlowVocoder":
        """Pitch prediction, lapped transform, scale, scale-only couplings, 1x1 convolutions and couplings."""
        from flowvocoder.audio.periodicity import lag_range
        from flowvocoder.flows.base import Bijection, Chain
        from flowvocoder.flows.coupling import Coupling
        from flowvocoder.flows.density import FlowVocoder
        from flowvocoder.flows.elementwise import Affine, Shift
        from flowvocoder.flows.encoders import MelEncoder
        from flowvocoder.flows.envelope import Envelope
        from flowvocoder.flows.lapped import LappedTransform
        from flowvocoder.flows.pitch import PitchPredictor
        from flowvocoder.flows.pointwise import PointwiseLU, even_odd, subband_merging, swapped_halves
        from flowvocoder.flows.scale import ConditionalScale
        from flowvocoder.flows.scale_coupling import scale_couplings
        from flowvocoder.flows.spline import Spline
        from flowvocoder.flows.wavenet import WaveNet

        block = self.block
        ahead = self.encoder_layers + 1 if self.encoder_ahead < 0 else self.encoder_ahead
        rate = mel.hop_length // block
        encoder = MelEncoder(mel, self.encoder_channels, self.encoder_layers, rate, ahead)
        context, causal = mel.n_mels + self.encoder_channels, self.causal
        layers: list[Bijection] = []
        if self.pitch:
            lags = lag_range(mel.sample_rate)
            hidden, filters, excitation = self.pitch_channels, self.pitch_filters, self.pitch_excitation
            layers.append(PitchPredictor(context, *lags, hidden, causal, filters, excitation))
        layers.append(LappedTransform(block))
        layers.append(ConditionalScale(Envelope(mel, context, block, self.scale_channels, causal)))
        layers += scale_couplings(block, self.band_groups, context, self.band_group_channels, causal)
        # Neighbouring bands share harmonics, so the first coupling learns odd bands from even ones, the next the other
        # way round.
        transform = {"additive": Shift(), "affine": Affine(), "spline": Spline(self.spline_bins)}[self.coupling]
        start = even_odd(block) @ subband_merging(block, self.subband_merging)
        for _ in range(self.flows):
            layers.append(PointwiseLU(start))
            start = swapped_halves(block)
            outputs = transform.parameters * block // 2
            net = WaveNet(block // 2, outputs, context, self.channels, self.layers, self.kernel, causal)
            layers.append(Coupling(net, transform))
        return FlowVocoder(mel, encoder, Chain(layers), block)


STREAMING = LapGlowConfig()

# For small machines: a fifth of the parameters, a quarter of the products.
POCKET = dataclasses.replace(
    STREAMING, flows=4, channels=96, encoder_channels=96, scale_channels=64, pitch_channels=96, band_group_channels=64
)
REFINED = PostfilterConfig(refiner_channels=128, refiner_layers=3)
POCKET_GUIDE = PostfilterConfig(guide_channels=96, guide_layers=4)

# Four times the work of the streaming model, and not causal: more likelihood for it.
BASE = LapGlowConfig(
    block=128,
    flows=12,
    channels=192,
    layers=2,
    subband_merging=8,
    pitch_filters=3,
    pitch_excitation=False,
    causal=False,
    encoder_ahead=-1,
    band_groups=1,
)

SMALL = dataclasses.replace(
    BASE, channels=96, encoder_channels=96, encoder_layers=3, scale_channels=96, pitch_channels=96
)

TINY = dataclasses.replace(
    BASE, flows=2, channels=32, encoder_channels=32, encoder_layers=1, scale_channels=32, pitch_channels=32
)

STAGE1 = TrainConfig(optim=OptimSettings(steps=20_000, batch=16, lr=1.2e-3))

STAGE2 = TrainConfig(
    stage="samples",
    optim=OptimSettings(steps=3000, lr=2e-3, warmup=30, ema=0.99),
    losses=LossWeights(spectral=1.0, pulse=16.0, period=16.0),
    sampling=SamplingSettings(temperature=0.9),
)

STAGE3 = TrainConfig(
    stage="guide",
    optim=OptimSettings(steps=8000, segment=40960, lr=2e-3),
    sampling=SamplingSettings(temperature=0.9, low_band_iters=56),
)

# Twenty minutes of two cores.
STAGE4 = TrainConfig(
    stage="refiner",
    optim=OptimSettings(steps=3000, batch=6, segment=26624, lr=1e-3, ema=0.995, clip=5.0),
    losses=LossWeights(spectral=1.0, pulse=4.0),
    sampling=SamplingSettings(temperature=0.9, low_band_iters=56),
    run=RunSettings(validate_every=3000),
)
# Half an hour of two cores. The stage before finds medians, which are too weak where the mel says little; an energy
# distance does not.
STAGE5 = dataclasses.replace(
    STAGE4,
    optim=dataclasses.replace(STAGE4.optim, steps=2600, lr=7e-4),
    losses=LossWeights(spectral=1.0, repulsion=1.0, pulse=4.0),
    run=RunSettings(validate_every=2600),
)

# An hour and a half of one core for all three.
POCKET_STAGE1 = TrainConfig(optim=OptimSettings(steps=6000, lr=2e-3), run=RunSettings(validate_every=2000))
POCKET_STAGE2 = dataclasses.replace(
    STAGE2, optim=dataclasses.replace(STAGE2.optim, steps=1200), run=RunSettings(validate_every=1200)
)
POCKET_STAGE3 = dataclasses.replace(
    STAGE3,
    optim=dataclasses.replace(STAGE3.optim, steps=1500),
    run=RunSettings(validate_every=1500),
    sampling=dataclasses.replace(STAGE3.sampling, low_band_iters=48),
)

STAGE2_GAN = TrainConfig(
    optim=OptimSettings(steps=50_000, batch=32, lr=3e-4, warmup=30),
    losses=LossWeights(
        likelihood=2.0, spectral=1.0, pulse=16.0, period=16.0, block_tones=3.0, adversarial=0.2, features=0.5
    ),
    sampling=SamplingSettings(temperature=0.9),
)

SHORT = TrainConfig(optim=OptimSettings(steps=8500, ema=0.998))

SECONDS = TrainConfig(
    optim=OptimSettings(steps=200, batch=4, segment=8192, warmup=20, ema=0.998),
    run=RunSettings(validate_every=100, save_every=50),
)

MEL, WIDE_MEL = convention("tacotron2"), convention("vocos")

UNIVERSAL = DataSettings(
    balance=0.3,
    band="shown",
    augment=AugmentSettings(resample=0.5, level=0.8, equaliser=0.3, tilt=0.3, lowpass=0.15, noise=0.2, room=0.15),
)


def universal(training: TrainConfig) -> TrainConfig:
    """The same for a voice of everybody: balanced by speaker, and altered to be more than they are."""
    return dataclasses.replace(training, data=UNIVERSAL)


register_presets(
    {
        # Fast, and little look-ahead (`flowvocoder info` states it): an hour of one core.
        "lapglow-streaming": Experiment(STREAMING, MEL, TrainConfig()),
        # A voice of few speakers in three stages (`make voice`). The first: likelihood, of 2.7 times as much audio.
        "lapglow-stage1": Experiment(STREAMING, MEL, STAGE1),
        # The second, from a trained checkpoint (--init-from): how samples sound; the likelihood stays.
        "lapglow-stage2": Experiment(STREAMING, MEL, STAGE2),
        # The third, from a trained checkpoint: the low-band guide network; every other weight is frozen.
        "lapglow-stage3": Experiment(STREAMING, MEL, STAGE3, PostfilterConfig()),
        # The second stage for the whole flow, with discriminators, on a GPU.
        "lapglow-stage2-gan": Experiment(STREAMING, MEL, STAGE2_GAN),
        # A voice for everybody, as the bundled one, in the same stages from recordings of many speakers.
        "universal-22k-stage1": Experiment(STREAMING, MEL, universal(STAGE1)),
        "universal-22k-stage2": Experiment(STREAMING, MEL, universal(STAGE2)),
        "universal-22k-stage3": Experiment(STREAMING, MEL, universal(STAGE3), PostfilterConfig()),
        # The fourth: the refiner; every other weight is frozen.
        "universal-22k-stage4": Experiment(STREAMING, MEL, universal(STAGE4), REFINED),
        # The fifth: the refiner again, by an energy distance.
        "universal-22k-stage5": Experiment(STREAMING, MEL, universal(STAGE5), REFINED),
        # The same with mels up to 12 kHz.
        "universal-24k-stage1": Experiment(STREAMING, WIDE_MEL, universal(STAGE1)),
        "universal-24k-stage2": Experiment(STREAMING, WIDE_MEL, universal(STAGE2)),
        "universal-24k-stage3": Experiment(STREAMING, WIDE_MEL, universal(STAGE3), PostfilterConfig()),
        # The same for a fifth of the parameters.
        "pocket-22k-stage1": Experiment(POCKET, MEL, universal(POCKET_STAGE1)),
        "pocket-22k-stage2": Experiment(POCKET, MEL, universal(POCKET_STAGE2)),
        "pocket-22k-stage3": Experiment(POCKET, MEL, universal(POCKET_STAGE3), POCKET_GUIDE),
        "lapglow-base": Experiment(BASE, MEL, SHORT),
        "lapglow-small": Experiment(SMALL, MEL, SHORT),
        # Small enough to train in seconds: for trying things out and for tests.
        "lapglow-tiny": Experiment(TINY, MEL, SECONDS),
    }
)
