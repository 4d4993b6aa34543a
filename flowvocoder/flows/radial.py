"""Radial layers (Rezende and Mohamed 2015, arXiv:1505.05770)."""

import torch
from torch import Tensor

from flowvocoder.flows.base import Bijection
from flowvocoder.flows.perceptron import FromContext
from flowvocoder.flows.planar import above_minus_one


class Radial(Bijection):
    """z = x + beta (x - c) / (alpha + |x - c|), with beta above -alpha by construction.

    The inverse is a formula: |x - c| is the root of a quadratic equation.

    Args:
        channels: C.
        context: channels of the context that c, alpha and beta depend on; 0: on none.
        hidden: width of the network that sees the context.
    """

    def __init__(self, channels: int, context: int = 0, hidden: int = 32):
        super().__init__()
        self.channels = channels
        start = torch.cat([torch.randn(channels), torch.zeros(1), 0.1 * torch.randn(1)])
        self.numbers = FromContext(start, context, hidden)

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        z, logdet = self.log_det_per_column(x, context)
        return z, logdet.sum(1)

    def log_det_per_column(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        centre, alpha, beta = self._bump(context)
        away = x - centre
        distance = torch.linalg.vector_norm(away, dim=1, keepdim=True)
        stretch = beta / (alpha + distance)
        across, along = torch.log1p(stretch), torch.log1p(stretch * alpha / (alpha + distance))
        return x + stretch * away, ((self.channels - 1) * across + along).squeeze(1)

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        centre, alpha, beta = self._bump(context)
        away = z - centre
        far = torch.linalg.vector_norm(away, dim=1, keepdim=True)
        b = alpha + beta - far
        root = (b.square() + 4.0 * alpha * far).sqrt()
        # Of the two forms of the root, the one that subtracts no near equals.
        distance = torch.where(b > 0, 2.0 * alpha * far / (b.abs() + root), 0.5 * (root - b))
        return centre + away / (1.0 + beta / (alpha + distance))

    def _bump(self, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Centre, alpha and beta."""
        centre, log_alpha, free = self.numbers(context).split([self.channels, 1, 1], 1)
        return centre, log_alpha.exp(), log_alpha.exp() * above_minus_one(free)
