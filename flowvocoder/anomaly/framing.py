"""The frames of all features."""

import torch
from torch import Tensor

from flowvocoder.audio.files import Samples
from flowvocoder.audio.resample import resample

RATE, HOP = 22050, 245
"""Hz that spectra are taken at, and samples from one frame to the next."""

FRAMES = RATE // HOP
"""A second."""


def at_rate(samples: Samples, rate: int) -> Tensor:
    """Audio (T,) at `RATE`."""
    return torch.from_numpy(samples if rate == RATE else resample(samples, rate, RATE))


def padded(audio: Tensor, size: int, hop: int, count: int) -> Tensor:
    """So that window f lies around the middle of `hop` samples from f * hop on, for `count` windows."""
    left = (size - hop) // 2
    right = max(0, (count - 1) * hop + size - left - len(audio))
    return torch.nn.functional.pad(audio, (left, right))
