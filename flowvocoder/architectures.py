"""What each architecture can be told: its sizes, their limits, and which mels they go with. Plain data, no torch."""

import dataclasses
from typing import ClassVar, TypeAlias

from flowvocoder.errors import ConfigError
from flowvocoder.mel.spec import MelSpec

Limits: TypeAlias = dict[str, tuple[float, float]]

LOWEST_RATE_WITH_PITCH = 13500  # Hz; the shortest lag, 1/500 s, must be longer than the taps of the recursion

_COUNT = (1, 4096)
_NET: Limits = {"channels": _COUNT, "layers": (1, 16)}


@dataclasses.dataclass(frozen=True)
class LapGlowConfig:
    """Sizes of a LapGlow."""

    architecture: ClassVar[str] = "lapglow"
    limits: ClassVar[Limits] = {
        **_NET, "block": (16, 4096), "flows": _COUNT, "kernel": (1, 63), "encoder_channels": _COUNT,
        "encoder_layers": (0, 64), "scale_channels": _COUNT, "time_slots": _COUNT, "pitch_channels": _COUNT,
        "pitch_shapes": (1, 4), "encoder_ahead": (-1, 65), "level_sets": (1, 64), "level_channels": _COUNT,
        "fine_channels": (0, 4096), "fine_layers": (1, 64),
    }  # fmt: skip

    block: int = 128  # samples, M of the lapped transform
    flows: int = 12  # so many times: 1x1 convolution and coupling
    channels: int = 192  # of the couplings' WaveNets
    layers: int = 2  # of each WaveNet
    kernel: int = 3
    encoder_channels: int = 192
    encoder_layers: int = 4
    scale_channels: int = 128
    time_slots: int = 8  # the first 1x1 convolution starts by turning groups of so many high bands into time slots
    pitch: bool = True  # long-term prediction before the transform
    pitch_channels: int = 192
    pitch_shapes: int = 3  # of its taps; the fourth predicts up to 8 kHz, each fewer an octave less
    pitch_pulses: bool = False  # samples are made from noise with an envelope that repeats itself every lag
    causal: bool = False  # couplings, envelope and pitch look back only
    encoder_ahead: int = -1  # so many of the encoder's layers + 1 convolutions look a frame ahead; -1 for all
    level_sets: int = 1  # sets of bands, a power of 2, whose levels are told from those of the sets before; 1: none
    level_channels: int = 192
    fine_channels: int = 0  # of what tells samples the fine spectrum of their lowest kilohertz; 0: nothing does
    fine_layers: int = 6

    def check(self, mel: MelSpec) -> None:
        """Raises ConfigError for sizes that do not go together or with the mel."""
        if self.block % 2 or mel.hop_length % self.block:
            fitting = [b for b in range(16, mel.hop_length + 1, 2) if mel.hop_length % b == 0]
            choice = f"one of {', '.join(map(str, fitting))}" if fitting else "even, and no even number does"
            raise ConfigError(f"model.block {self.block} must go into mel.hop_length {mel.hop_length}: {choice}")
        _check_odd(self.kernel)
        if self.fine_channels and (mel.n_fft % mel.hop_length or mel.n_fft < 3 * mel.hop_length):
            raise ConfigError(
                f"model.fine_channels {self.fine_channels} needs a mel.n_fft of 3 or more times mel.hop_length"
                f" {mel.hop_length}, not {mel.n_fft}"
            )
        sets = self.level_sets
        if sets & (sets - 1) or (sets > 1 and self.block % (8 * sets)):
            raise ConfigError(
                f"model.level_sets {sets} must be a power of 2, and 8 times as many go into model.block {self.block}"
            )
        if self.pitch and mel.sample_rate < LOWEST_RATE_WITH_PITCH:
            raise ConfigError(
                f"mel.sample_rate {mel.sample_rate} is too low for the pitch predictor, which needs"
                f" {LOWEST_RATE_WITH_PITCH}: set model.pitch=false"
            )


@dataclasses.dataclass(frozen=True)
class GroupedConfig:
    """What WaveGlow and SqueezeWave share: samples in groups, and early outputs."""

    limits: ClassVar[Limits] = {
        **_NET, "group": (2, 4096), "flows": (1, 256), "early_every": (1, 256), "early_size": (0, 4096),
        "kernel": (1, 63),
    }  # fmt: skip

    group: int = 8  # samples that become channels
    flows: int = 12  # so many times: 1x1 convolution and coupling
    early_every: int = 4  # flows between early outputs
    early_size: int = 2  # channels that leave at each
    channels: int = 256  # of the couplings' conditioners
    layers: int = 8  # of each conditioner
    kernel: int = 3

    def stages(self) -> list[int]:
        """How many flows there are before each early output, and after the last."""
        return [min(self.early_every, self.flows - first) for first in range(0, self.flows, self.early_every)]

    def check(self, mel: MelSpec) -> None:
        """Raises ConfigError for sizes that do not go together or with the mel."""
        _check_divides("group", self.group, mel)
        _check_odd(self.kernel)
        left = self.group - self.early_size * (len(self.stages()) - 1)
        if self.early_size % 2 or self.group % 2 or left < 2:
            raise ConfigError(
                f"model.group {self.group} and model.early_size {self.early_size} must be even and leave at least"
                f" 2 channels to the last of {len(self.stages())} stages, not {left}"
            )


@dataclasses.dataclass(frozen=True)
class WaveGlowConfig(GroupedConfig):
    """Sizes of a WaveGlow (Prenger et al. 2018, arXiv:1811.00002)."""

    architecture: ClassVar[str] = "waveglow"
    limits: ClassVar[Limits] = {**GroupedConfig.limits, "window": (1, 65536)}

    window: int = 1024  # samples, taps of the transposed convolution that brings the mel to the sample rate
    alternate: bool = False  # every second coupling exchanges the halves' roles, as the oldest checkpoints do

    def check(self, mel: MelSpec) -> None:
        super().check(mel)
        if self.window < mel.hop_length:
            raise ConfigError(f"model.window {self.window} must be at least mel.hop_length {mel.hop_length}")


@dataclasses.dataclass(frozen=True)
class SqueezeWaveConfig(GroupedConfig):
    """Sizes of a SqueezeWave (Zhai et al. 2020, arXiv:2001.05685)."""

    architecture: ClassVar[str] = "squeezewave"

    group: int = 128
    early_every: int = 2
    early_size: int = 16
    channels: int = 128


@dataclasses.dataclass(frozen=True)
class WaveFlowConfig:
    """Sizes of a WaveFlow (Ping et al. 2020, arXiv:1912.01219)."""

    architecture: ClassVar[str] = "waveflow"
    limits: ClassVar[Limits] = {**_NET, "rows": (2, 256), "flows": (1, 256), "kernel": (1, 63)}

    rows: int = 16  # samples that become rows, each predicted from the rows before it
    flows: int = 8
    channels: int = 64  # of the couplings' WaveNets
    layers: int = 8  # of each WaveNet; dilation 2**i over time, 1 over rows
    kernel: int = 3  # in both directions
    bipartite: bool = True  # the second half of the flows reverses each half of the rows instead of all of them

    def check(self, mel: MelSpec) -> None:
        """Raises ConfigError for sizes that do not go together or with the mel."""
        _check_divides("rows", self.rows, mel)
        _check_odd(self.kernel)
        if self.bipartite and self.rows % 2:
            raise ConfigError(f"model.rows must be even where model.bipartite is true, not {self.rows}")


@dataclasses.dataclass(frozen=True)
class FloWaveNetConfig:
    """Sizes of a FloWaveNet (Kim et al. 2018, arXiv:1811.02155)."""

    architecture: ClassVar[str] = "flowavenet"
    limits: ClassVar[Limits] = {**_NET, "blocks": (1, 16), "flows": (1, 64), "split_every": (1, 16)}

    blocks: int = 8  # scales, each with half the rate and twice the channels of the one before
    flows: int = 6  # of each block
    split_every: int = 4  # blocks after which half of the channels leave
    channels: int = 256  # of the couplings' WaveNets
    layers: int = 2  # of each WaveNet

    def check(self, mel: MelSpec) -> None:
        """Raises ConfigError for sizes that do not go together or with the mel."""
        if mel.hop_length % 2**self.blocks:
            raise ConfigError(
                f"mel.hop_length {mel.hop_length} must be a multiple of {2**self.blocks}, 2**model.blocks"
            )
        if mel.n_mels % 2:
            raise ConfigError(f"mel.n_mels must be even, not {mel.n_mels}: each coupling sees every other half")


ModelConfig: TypeAlias = LapGlowConfig | WaveGlowConfig | SqueezeWaveConfig | WaveFlowConfig | FloWaveNetConfig

ARCHITECTURES: dict[str, type[ModelConfig]] = {
    kind.architecture: kind
    for kind in (LapGlowConfig, WaveGlowConfig, SqueezeWaveConfig, WaveFlowConfig, FloWaveNetConfig)
}


def _check_divides(name: str, value: int, mel: MelSpec) -> None:
    if mel.hop_length % value:
        raise ConfigError(f"model.{name} {value} must go into mel.hop_length {mel.hop_length}")


def _check_odd(kernel: int) -> None:
    if kernel % 2 == 0:
        raise ConfigError(f"model.kernel must be odd, not {kernel}")
