"""Affine coupling (Dinh et al. 2017, arXiv:1605.08803; WaveGlow, Prenger et al. 2018, arXiv:1811.00002)."""

import torch
from torch import Tensor, nn

from flowvocoder.flows.base import Bijection


class AffineCoupling(Bijection):
    """The first half of the channels passes through and decides scale and shift of the second.

    z_b = x_b * exp(s) + t with (s, t) = conditioner(x_a, context). s is bounded smoothly to (-bound, bound), so the
    layer never stretches by more than exp(bound) and stays well conditioned in float32.

    Args:
        channels: C, even.
        conditioner: (x_a: (B, C/2, N), context: (B, D, N)) -> (B, C, N). Knows nothing of the flow, and the flow
            nothing of it.
        bound: largest |s|, in nats.
    """

    def __init__(self, channels: int, conditioner: nn.Module, bound: float = 2.0):
        super().__init__()
        if channels % 2:
            raise ValueError(f"channels must be even, not {channels}")
        self.conditioner = conditioner
        self.bound = bound

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        z, logdet = self.by_column(x, context)
        return z, logdet.sum(1)

    def by_column(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        a, b = x.chunk(2, 1)
        s, t = self._scale_and_shift(a, context)
        return torch.cat([a, b * s.exp() + t], 1), s.sum(1)

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        a, b = z.chunk(2, 1)
        s, t = self._scale_and_shift(a, context)
        return torch.cat([a, (b - t) * (-s).exp()], 1)

    def _scale_and_shift(self, a: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        s, t = self.conditioner(a, context).to(a.dtype).chunk(2, 1)
        return self.bound * torch.tanh(s / self.bound), t

    def extra_repr(self) -> str:
        return f"bound={self.bound}"
