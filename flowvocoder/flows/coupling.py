"""Affine coupling (Dinh et al. 2017, arXiv:1605.08803; WaveGlow, Prenger et al. 2018, arXiv:1811.00002)."""

import torch
from torch import Tensor, nn

from flowvocoder.flows.base import Bijection


class AffineCoupling(Bijection):
    """The first half of the channels passes through and decides scale and shift of the second.

    z_b = x_b * exp(s) + t with (s, t) = conditioner(x_a, context). s is bounded smoothly to (-bound, bound), so the
    layer never stretches by more than exp(bound) and stays well conditioned in float32. The published models of the
    family do not bound it.

    Args:
        channels: C, even.
        conditioner: (x_a: (B, C/2, N), context: (B, D, N)) -> (B, C, N). Knows nothing of the flow, and the flow
            nothing of it.
        bound: largest |s|, in nats; None for any.
        exchange: the second half decides about the first instead.
    """

    def __init__(self, channels: int, conditioner: nn.Module, bound: float | None = 2.0, exchange: bool = False):
        super().__init__()
        if channels % 2:
            raise ValueError(f"channels must be even, not {channels}")
        self.conditioner = conditioner
        self.bound = bound
        self.exchange = exchange

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        z, logdet = self.by_column(x, context)
        return z, logdet.sum(1)

    def by_column(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        a, b = self._halves(x)
        s, t = self._scale_and_shift(a, context)
        return self._joined(a, b * s.exp() + t), s.sum(1)

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        a, b = self._halves(z)
        s, t = self._scale_and_shift(a, context)
        return self._joined(a, (b - t) * (-s).exp())

    def _halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a, b = x.chunk(2, 1)
        return (b, a) if self.exchange else (a, b)

    def _joined(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([b, a] if self.exchange else [a, b], 1)

    def _scale_and_shift(self, a: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        s, t = self.conditioner(a, context).to(a.dtype).chunk(2, 1)
        return s if self.bound is None else self.bound * torch.tanh(s / self.bound), t

    def extra_repr(self) -> str:
        return f"bound={self.bound}, exchange={self.exchange}"


class HalfContext(nn.Module):
    """A conditioner that sees one half of the context's channels."""

    def __init__(self, net: nn.Module, second: bool):
        super().__init__()
        self.net = net
        self.second = second

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        return self.net(x, context.chunk(2, 1)[self.second])
