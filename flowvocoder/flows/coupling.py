"""Couplings: half of the channels decides what becomes of the other half."""

import torch
from torch import Tensor, nn

from flowvocoder.flows.base import Bijection
from flowvocoder.flows.elementwise import Affine, Elementwise, parameters_of
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


class Coupling(Bijection):
    """The first half of the channels passes through and decides the function of each number in the second.

    z_b = transform(x_b; conditioner(x_a, context)), see `flows.elementwise`. Of an odd number C of channels C // 2
    pass.

    Args:
        conditioner: (x_a: (B, C // 2, N), context: (B, D, N)) -> (B, P * (C - C // 2), N), the P parameters one after
            another. Knows nothing of the flow, and the flow nothing of it.
        transform: the function, with P parameters.
        exchange: the second half decides about the first instead.
    """

    def __init__(self, conditioner: nn.Module, transform: Elementwise, exchange: bool = False):
        super().__init__()
        self.conditioner = conditioner
        self.transform = transform
        self.exchange = exchange

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        z, logdet = self.log_det_per_column(x, context)
        return z, logdet.sum(1)

    def log_det_per_column(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        a, b = _halves(x, self.exchange, 1)
        b, log_slope = self.transform.forward(b, self._parameters_given(a, context))
        return _joined(a, b, self.exchange, 1), log_slope.sum(1)

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        a, b = _halves(z, self.exchange, 1)
        return _joined(a, self.transform.inverse(b, self._parameters_given(a, context)), self.exchange, 1)

    def _parameters_given(self, a: Tensor, context: Tensor) -> Tensor:
        return parameters_of(self.conditioner(a, context).to(a.dtype), self.transform.parameters)

    def extra_repr(self) -> str:
        return f"{self.transform}, exchange={self.exchange}"


class AffineCoupling(Coupling):
    """Affine coupling (Dinh et al. 2017, arXiv:1605.08803; WaveGlow, Prenger et al. 2018, arXiv:1811.00002).

    The published models of the WaveGlow family do not bound the scale.

    Args:
        channels: C, even.
        conditioner: (x_a: (B, C/2, N), context: (B, D, N)) -> (B, C, N).
        bound: largest log scale, in nats; None for any.
        exchange: the second half decides about the first instead.
    """

    def __init__(self, channels: int, conditioner: nn.Module, bound: float | None = 2.0, exchange: bool = False):
        if channels % 2:
            raise ValueError(f"channels must be even, not {channels}")
        super().__init__(conditioner, Affine(bound), exchange)


@step_for(Coupling)
@step_for(AffineCoupling)
class CouplingStep(StreamingStep):
    """A coupling's inverse, with any conditioner that has a step itself."""

    def __init__(self, layer: Coupling, settings: StepSettings):
        super().__init__(settings)
        require_columns(layer, settings)
        self.conditioner = build_step(layer.conditioner, settings)
        self.transform, self.exchange, self.arithmetic = layer.transform, layer.exchange, settings.arithmetic
        self.ahead = self.conditioner.ahead
        self.back, self.context_back = self.conditioner.back, self.conditioner.context_back

    def forward(self, z: Tensor, context: Context, delay: int, position: StreamPosition, state: StreamState) -> Tensor:
        a, _ = _halves(z, self.exchange, 2)
        outputs = self.conditioner(a, context, delay, position, state)
        first = 0 if self.exchange else a.shape[2]
        return self.arithmetic.undone(self.transform, state.delay(z, self.ahead), outputs, first)


def _halves(x: Tensor, exchange: bool, axis: int) -> tuple[Tensor, Tensor]:
    """The half that passes through, and the other."""
    passing = x.shape[axis] // 2
    if exchange:
        b, a = x.split([x.shape[axis] - passing, passing], axis)
        return a, b
    a, b = x.split([passing, x.shape[axis] - passing], axis)
    return a, b


def _joined(a: Tensor, b: Tensor, exchange: bool, axis: int) -> Tensor:
    return torch.cat([b, a] if exchange else [a, b], axis)


class HalfContext(nn.Module):
    """A conditioner that sees one half of the context's channels."""

    def __init__(self, net: nn.Module, second: bool):
        super().__init__()
        self.net = net
        self.second = second

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        return self.net(x, context.chunk(2, 1)[self.second])
