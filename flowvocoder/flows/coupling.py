"""Affine coupling (Dinh et al. 2017, arXiv:1605.08803; WaveGlow, Prenger et al. 2018, arXiv:1811.00002)."""

import torch
from torch import Tensor, nn

from flowvocoder.flows.base import Bijection
from flowvocoder.flows.streaming import (
    Context,
    StepSettings,
    StreamingStep,
    StreamPosition,
    StreamState,
    build_step,
    require_columns,
    step_for,
)


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
        z, logdet = self.log_det_per_column(x, context)
        return z, logdet.sum(1)

    def log_det_per_column(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        a, b = _halves(x, self.exchange, 1)
        s, t = self._scale_and_shift(a, context)
        return _joined(a, b * s.exp() + t, self.exchange, 1), s.sum(1)

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        a, b = _halves(z, self.exchange, 1)
        s, t = self._scale_and_shift(a, context)
        return _joined(a, (b - t) * (-s).exp(), self.exchange, 1)

    def _scale_and_shift(self, a: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        s, t = self.conditioner(a, context).to(a.dtype).chunk(2, 1)
        return _bounded(s, self.bound), t

    def extra_repr(self) -> str:
        return f"bound={self.bound}, exchange={self.exchange}"


@step_for(AffineCoupling)
class AffineCouplingStep(StreamingStep):
    """A coupling's inverse, with any conditioner that has a step itself."""

    def __init__(self, layer: AffineCoupling, settings: StepSettings):
        super().__init__(settings)
        require_columns(layer, settings)
        self.conditioner = build_step(layer.conditioner, settings)
        self.bound, self.exchange = layer.bound, layer.exchange
        self.ahead = self.conditioner.ahead
        self.back, self.context_back = self.conditioner.back, self.conditioner.context_back

    def forward(self, z: Tensor, context: Context, delay: int, position: StreamPosition, state: StreamState) -> Tensor:
        a, _ = _halves(z, self.exchange, 2)
        s, t = self.conditioner(a, context, delay, position, state).chunk(2, 2)
        a, b = _halves(state.delay(z, self.ahead), self.exchange, 2)
        return _joined(a, (b - t) * (-_bounded(s, self.bound)).exp(), self.exchange, 2)


def _halves(x: Tensor, exchange: bool, axis: int) -> tuple[Tensor, Tensor]:
    """The half that passes through, and the other."""
    a, b = x.chunk(2, axis)
    return (b, a) if exchange else (a, b)


def _joined(a: Tensor, b: Tensor, exchange: bool, axis: int) -> Tensor:
    return torch.cat([b, a] if exchange else [a, b], axis)


def _bounded(s: Tensor, bound: float | None) -> Tensor:
    return s if bound is None else bound * torch.tanh(s / bound)


class HalfContext(nn.Module):
    """A conditioner that sees one half of the context's channels."""

    def __init__(self, net: nn.Module, second: bool):
        super().__init__()
        self.net = net
        self.second = second

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        return self.net(x, context.chunk(2, 1)[self.second])
