"""Damage done to a recording on purpose, to see what a likelihood makes of it."""

import dataclasses

import torch
from torch import Tensor

from flowvocoder.errors import ConfigError
from flowvocoder.inference import plain_defaults


@dataclasses.dataclass(frozen=True)
class Damage:
    """What to do to a recording; the defaults leave it as it is.

    Attributes:
        noise_db: level of added white noise in dB relative to the recording's mean power; None adds none.
        peak: what is louder than this share of the peak is clipped, 0 < peak <= 1.
        gap: seconds of silence in the middle.
        band_limit: Hz above which nothing is left; None keeps everything.
    """

    noise_db: float | None = None
    peak: float = 1.0
    gap: float = 0.0
    band_limit: float | None = None

    def __post_init__(self) -> None:
        if not 0.0 < self.peak <= 1.0:
            raise ConfigError(f"the share of the peak to keep must be above 0 and at most 1, not {self.peak}")
        if self.gap < 0.0 or (self.band_limit is not None and self.band_limit <= 0.0):
            raise ConfigError(f"gap ({self.gap} s) and band limit ({self.band_limit} Hz) cannot be negative")

    @plain_defaults()
    def apply(self, audio: Tensor, sample_rate: int, seed: int = 0) -> Tensor:
        """Audio (T,) in [-1, 1), damaged in the order of a bad recording: band, noise, clipping, gap."""
        peak = audio.abs().max()
        if self.band_limit is not None:
            audio = _low_pass(audio, self.band_limit / sample_rate)
        if self.noise_db is not None:
            noise = torch.randn(audio.shape, generator=torch.Generator().manual_seed(seed))
            audio = audio + audio.square().mean().sqrt() * 10.0 ** (self.noise_db / 20.0) * noise
        if self.peak < 1.0:
            audio = audio.clamp(-self.peak * peak, self.peak * peak)
        if self.gap > 0.0:
            first, end = self.gap_range(len(audio), sample_rate)
            audio = torch.cat([audio[:first], torch.zeros(end - first), audio[end:]])
        return audio.clamp(-1.0, 1.0)

    def gap_range(self, samples: int, sample_rate: int) -> tuple[int, int]:
        """First sample of the gap and the one after its last."""
        width = min(round(self.gap * sample_rate), samples)
        first = (samples - width) // 2
        return first, first + width


def _low_pass(audio: Tensor, cutoff: float, slope: float = 0.01) -> Tensor:
    """Removes what is above `cutoff`, in cycles per sample, with a raised-cosine slope just below it."""
    frequency = torch.fft.rfftfreq(len(audio))
    gain = 0.5 + 0.5 * torch.cos(torch.pi * ((frequency - cutoff + slope) / slope).clamp(0.0, 1.0))
    return torch.fft.irfft(torch.fft.rfft(audio) * gain, len(audio))
