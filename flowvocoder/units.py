"""The project's units, each with its one definition.

sample   one value of mono audio in [-1, 1)
frame    one column of a mel spectrogram, `hop_length` samples apart
block    one column of the lapped transform, `M` samples
second   `sample_rate` samples

Likelihoods are in nats for the density of audio scaled to [-1, 1); `bits_per_sample` is the cost of coding the
16-bit integers with that density (uniform dequantisation, Theis et al. 2016, arXiv:1511.01844).
"""

import math

PCM16_SCALE = 32768
"""Integer steps per unit of amplitude: 16-bit PCM value q stands for q / 32768."""

PCM16_STEP = 1.0 / PCM16_SCALE
"""Width of one quantisation bin in amplitude."""

HIGHEST = 2.0
"""Limit of synthesised samples, 6 dB above full scale: what a mel or a temperature that is far off could make of it
would hurt ears."""

MOST_CLIPPED = 0.03
"""Share of samples above full scale that is passed over in silence."""

LANES = 16
"""Numbers of float32 that machine code computes side by side: a register of AVX-512, or several of others."""


def bits_per_sample(nats_per_sample: float) -> float:
    """Bits per 16-bit sample of a density with `nats_per_sample` = log p(x) / T for x in [-1, 1)."""
    return (math.log(PCM16_SCALE) - nats_per_sample) / math.log(2.0)


def ceil_div(a: int, b: int) -> int:
    """Smallest n with n * b >= a."""
    return -(-a // b)


def seconds(samples: int, sample_rate: int) -> float:
    """Duration in seconds."""
    return samples / sample_rate
