"""How the models of the WaveGlow family bring a mel to the rate of their flows."""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from flowvocoder.flows.multiscale import squeeze
from flowvocoder.mel.spec import MelSpec


class TransposedUpsampler(nn.Module):
    """WaveGlow's: one transposed convolution to the sample rate, then groups of samples become channels.

    Shape:
        mel: (B, n_mels, F) -> (B, n_mels * group, F * hop_length / group)
    """

    def __init__(self, spec: MelSpec, window: int, group: int):
        super().__init__()
        self.group = group
        self.hop = spec.hop_length
        self.up = nn.ConvTranspose1d(spec.n_mels, spec.n_mels, window, spec.hop_length)

    def forward(self, mel: Tensor) -> Tensor:
        samples = self.up(mel)[..., : mel.shape[-1] * self.hop]
        return squeeze(samples, self.group)


class Repeat(nn.Module):
    """SqueezeWave's: every frame `times` times.

    Shape:
        mel: (B, n_mels, F) -> (B, n_mels, F * times)
    """

    def __init__(self, times: int):
        super().__init__()
        self.times = times

    def forward(self, mel: Tensor) -> Tensor:
        return mel.repeat_interleave(self.times, -1)


class SmoothUpsampler(nn.Module):
    """WaveFlow's and FloWaveNet's: two transposed convolutions over time and neighbouring bands, then groups.

    Shape:
        mel: (B, n_mels, F) -> (B, n_mels * group, F * hop_length / group)
    """

    def __init__(self, spec: MelSpec, group: int):
        super().__init__()
        self.group = group
        self.factors = two_factors(spec.hop_length)
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(1, 1, (3, 2 * factor), (1, factor), (1, factor // 2)) for factor in self.factors
        )

    def forward(self, mel: Tensor) -> Tensor:
        x = mel[:, None]
        for up, factor in zip(self.up, self.factors, strict=True):
            x = F.leaky_relu(up(x)[..., : x.shape[-1] * factor], 0.4)
        return squeeze(x[:, 0], self.group)


def two_factors(hop_length: int) -> tuple[int, int]:
    """The two factors of the hop that are nearest to each other: 16 and 16 for 256."""
    small = next(f for f in range(math.isqrt(hop_length), 0, -1) if hop_length % f == 0)
    return small, hop_length // small
