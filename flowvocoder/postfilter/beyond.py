"""The level below a mel's range: the most that is likely, given the mel."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from flowvocoder.inference import plain_defaults
from flowvocoder.mel.conversion import BELOW, LOWEST
from flowvocoder.mel.frontend import unit_noise_level
from flowvocoder.mel.spec import MelSpec


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
def beyond(spec: MelSpec, bins: int) -> Beyond:
    """The band below a mel's range, over the first `bins` bins of its transform; none where there is hardly one."""
    if spec.fmin <= LOWEST:
        return Beyond(torch.zeros(0, bins), torch.zeros(spec.n_mels, 0), torch.zeros(0))
    hz = torch.arange(bins, dtype=torch.float32) * (spec.sample_rate / spec.n_fft)
    noise = unit_noise_level(spec) * (math.log(10.0) if spec.log == "log10" else 1.0)
    return Beyond((hz < spec.fmin).float()[None], torch.eye(spec.n_mels)[:, :1], BELOW - noise[:1])
