"""Discriminators: networks that learn to distinguish samples from recordings.

Multi-period: HiFi-GAN (Kong et al. 2020, arXiv:2010.05646). Multi-resolution on magnitude spectrograms: UnivNet (Jang
et al. 2021, arXiv:2106.07889). Losses: least squares (Mao et al. 2017, arXiv:1611.04076) and feature matching (Larsen
et al. 2016, arXiv:1512.09300).
"""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowvocoder.audio.stft import power, stft

PERIODS = (2, 3, 5, 7, 11)
"""Samples; primes, so that the discriminators overlap as little as can be."""

RESOLUTIONS = ((512, 128), (1024, 256), (2048, 512))
"""(n_fft, hop) in samples, Hann windows of n_fft."""

SLOPE = 0.1  # of the leaky rectifiers

Judgement = tuple[Tensor, list[Tensor]]
"""One discriminator's scores, 1 for recorded and 0 for generated, and its inner features."""


class PeriodDiscriminator(nn.Module):
    """Looks at every p-th sample: (B, T) folded to (B, 1, T / p, p), convolved along time only."""

    def __init__(self, period: int, channels: int):
        super().__init__()
        self.period = period
        widths = (1, channels, 4 * channels, 8 * channels, 8 * channels)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, (5, 1), (3, 1), (2, 0)) for a, b in itertools.pairwise(widths))
        self.last = nn.Conv2d(widths[-1], 1, (3, 1), 1, (1, 0))

    def forward(self, audio: Tensor) -> Judgement:
        short = -audio.shape[-1] % self.period
        folded = F.pad(audio[:, None], (0, short), "reflect").view(len(audio), 1, -1, self.period)
        return _judge(folded, self.layers, self.last)


class ResolutionDiscriminator(nn.Module):
    """Looks at the magnitude spectrogram, (B, T) -> (B, 1, bins, frames)."""

    def __init__(self, n_fft: int, hop: int, channels: int):
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        self.layers = nn.ModuleList(
            [nn.Conv2d(1, channels, (7, 5), (2, 1), (3, 2))]
            + [nn.Conv2d(channels, channels, (5, 3), (2, 1 + i % 2), (2, 1)) for i in range(3)]
            + [nn.Conv2d(channels, channels, 3, 1, 1)]
        )
        self.last = nn.Conv2d(channels, 1, 3, 1, 1)

    def forward(self, audio: Tensor) -> Judgement:
        with torch.autocast(audio.device.type, enabled=False):
            # Compressed, else loud low harmonics are all there is to see; the floor keeps the gradient finite.
            magnitude = power(stft(audio.float(), self.n_fft, self.hop), 1e-8).pow(0.15)
        return _judge(magnitude[:, None], self.layers, self.last)


class Discriminators(nn.Module):
    """All of them.

    Args:
        channels: of the first layer of each; 32 is HiFi-GAN's and UnivNet's size, 8 what a CPU can bear.

    Shape:
        audio: (B, T) -> a list of judgements
    """

    def __init__(self, channels: int):
        super().__init__()
        self.members = nn.ModuleList(
            [PeriodDiscriminator(p, channels) for p in PERIODS]
            + [ResolutionDiscriminator(n_fft, hop, channels) for n_fft, hop in RESOLUTIONS]
        )

    def forward(self, audio: Tensor) -> list[Judgement]:
        return [member(audio) for member in self.members]


def discriminator_loss(recorded: Sequence[Judgement], generated: Sequence[Judgement]) -> Tensor:
    """Mean squared distance of the scores from 1 for recordings and 0 for samples."""
    terms = [
        (1.0 - r.float()).square().mean() + g.float().square().mean()
        for (r, _), (g, _) in zip(recorded, generated, strict=True)
    ]
    return torch.stack(terms).mean()


def adversarial_loss(generated: Sequence[Judgement]) -> Tensor:
    """How far samples are from being taken for recordings."""
    return torch.stack([(1.0 - score.float()).square().mean() for score, _ in generated]).mean()


def feature_loss(recorded: Sequence[Judgement], generated: Sequence[Judgement]) -> Tensor:
    """Mean distance of the inner features, relative to their size in the recording."""
    terms = [
        ((r - g).float().abs().flatten(1).mean(1) / r.float().abs().flatten(1).mean(1).clamp_min(1e-4)).mean()
        for (_, rs), (_, gs) in zip(recorded, generated, strict=True)
        for r, g in zip(rs, gs, strict=True)
    ]
    return torch.stack(terms).mean()


def _judge(x: Tensor, layers: nn.ModuleList, last: nn.Module) -> Judgement:
    features = []
    for layer in layers:
        x = F.leaky_relu(layer(x), SLOPE)
        features.append(x)
    return last(x), features
