"""Levels outside of a mel's range: the most that is likely, given the mel."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from flowvocoder.inference import plain_defaults
from flowvocoder.mel.conversion import BELOW, LOWEST
from flowvocoder.mel.frontend import band_centres, interpolation, unit_noise_level
from flowvocoder.mel.spec import MelSpec

TOP = (6500.0, 7000.0, 7400.0, 7800.0)
"""Hz at which the level above the mel is read off it; and the means over two wider bands."""

MEANS = ((0.0, 1000.0), (1000.0, 4000.0))

ABOVE = (8500.0, 9500.0, 10500.0)
"""Hz: the middle of the bands above an 8 kHz mel."""

WEIGHTS = (
    (0.143, -0.157, 0.185, 0.825, -0.018, 0.030, -0.153),
    (0.218, -0.247, 0.368, 0.597, -0.031, 0.060, -0.713),
    (0.115, -0.118, 0.254, 0.562, -0.059, 0.109, -1.951),
)
"""Of TOP, MEANS and 1 in the level of each band of ABOVE, in nats: least squares over 244 recordings of 61 speakers,
as they are and low-passed at 3.4, 5.5 or 7 kHz (`python docs/scripts/beyond.py`)."""

MARGIN = 0.7
"""Nats above the predicted level from which on a band is turned down: levels of speakers differ by as much."""

ENDS = (7500.0, 8500.0)
"""Hz: a mel's upper limits that the weights are for."""


class Beyond(NamedTuple):
    """Bands outside of a mel's range, and their levels: those of noise of standard deviation 1 are 0 nats.

    Attributes:
        bins: how far each belongs to which band, (E, K).
        weights, bias: of each band's level given the mel in nats, (n_mels, E), (E,).
    """

    bins: Tensor
    weights: Tensor
    bias: Tensor


@plain_defaults()
def beyond(spec: MelSpec, bins: int, low: bool = False) -> Beyond:
    """The bands outside of a mel's range, over the first `bins` bins of its transform.

    Args:
        low: only what lies below.
    """
    hz = torch.arange(bins, dtype=torch.float32) * (spec.sample_rate / spec.n_fft)
    noise = unit_noise_level(spec) * (math.log(10.0) if spec.log == "log10" else 1.0)
    parts = [Beyond(torch.zeros(0, bins), torch.zeros(spec.n_mels, 0), torch.zeros(0))]
    if spec.fmin > LOWEST:
        lowest = torch.eye(spec.n_mels)[:, :1]
        parts.append(Beyond((hz < spec.fmin).float()[None], lowest, BELOW - noise[:1]))
    if not low and ENDS[0] <= spec.fmax <= ENDS[1] and spec.sample_rate / 2 > ABOVE[-1]:
        *linear, constant = torch.tensor(WEIGHTS, dtype=torch.float32).T
        weights = readings(band_centres(spec)) @ torch.stack(linear)
        inside = interpolation(torch.tensor(ABOVE, dtype=torch.float32), hz) * (hz > spec.fmax)
        parts.append(Beyond(inside, weights, constant + MARGIN - noise @ weights))
    return Beyond(
        *(torch.cat(tensors, axis) for tensors, axis in zip(zip(*parts, strict=True), (0, 1, 0), strict=True))
    )


def readings(centres: Tensor) -> Tensor:
    """What reads TOP and MEANS off an envelope at the centres of bands, (n_mels, 6)."""
    means = [((centres >= low) & (centres < high)).float() for low, high in MEANS]
    means = [inside / inside.sum().clamp_min(1.0) for inside in means]
    return torch.cat([interpolation(centres, torch.tensor(TOP, dtype=torch.float32)), torch.stack(means, 1)], 1)
