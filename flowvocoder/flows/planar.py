"""Planar layers (Rezende and Mohamed 2015, arXiv:1505.05770)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from flowvocoder.flows.base import Bijection
from flowvocoder.flows.perceptron import FromContext
from flowvocoder.flows.roots import root

SMALLEST = 1e-3
"""Least slope of a layer of one hidden unit along its direction."""


class Planar(Bijection):
    """z = x + u tanh(w . x + b), with w . u above -1 by construction; the inverse solves for w . x + b.

    Args:
        channels: C.
        context: channels of the context that u, w and b depend on; 0: on none.
        hidden: width of the network that sees the context.
    """

    def __init__(self, channels: int, context: int = 0, hidden: int = 32):
        super().__init__()
        self.channels = channels
        u, w, b = 0.1 * torch.randn(channels), torch.randn(channels), torch.randn(1)
        self.numbers = FromContext(torch.cat([u, w, b]), context, hidden)

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        z, logdet = self.log_det_per_column(x, context)
        return z, logdet.sum(1)

    def log_det_per_column(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        u, w, b, gain = self._unit(context)
        h = torch.tanh((w * x).sum(1, keepdim=True) + b)
        return x + u * h, torch.log1p(gain * (1.0 - h.square())).squeeze(1).expand(len(x), x.shape[2])

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        u, w, b, gain = self._unit(context)
        return z - u * torch.tanh(undo_unit((w * z).sum(1, keepdim=True) + b, gain))

    def _unit(self, context: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """u, w, b, and w . u."""
        u, w, b = self.numbers(context).split([self.channels, self.channels, 1], 1)
        free = (w * u).sum(1, keepdim=True)
        gain = above_minus_one(free)
        return u + (gain - free) * w / w.square().sum(1, keepdim=True).clamp_min(1e-12), w, b, gain


def above_minus_one(free: Tensor) -> Tensor:
    """Any number to one above -1, 0 to 0."""
    return F.softplus(free + math.log(math.expm1(1.0 - SMALLEST))) - (1.0 - SMALLEST)


def undo_unit(total: Tensor, gain: Tensor) -> Tensor:
    """a from a + gain * tanh(a), for a gain above -1."""

    def error(a: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(a)
        return a + gain * h - total, 1.0 + gain * (1.0 - h.square())

    return root(error, total - gain.abs(), total + gain.abs())
