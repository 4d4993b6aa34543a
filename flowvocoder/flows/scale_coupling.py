"""Scale-only couplings between interleaved groups of bands."""

import torch
import torch.nn.functional as F
from torch import Tensor

from flowvocoder.flows.arithmetic import POOLED, log_energies
from flowvocoder.flows.base import Bijection
from flowvocoder.flows.convolution import ConvProduct, Product, TimeConv, double, windows, zeros
from flowvocoder.flows.elementwise import bounded
from flowvocoder.flows.streaming import (
    Context,
    StepSettings,
    StreamingStep,
    StreamPosition,
    StreamState,
    require_columns,
    step_for,
)

TAPS = 5
"""Blocks of the convolution over log energies."""

BOUND = 2.0
"""Largest |log scale|, in nats (17 dB)."""


class ScaleCoupling(Bijection):
    """Scales one group of bands given the log energies of others: z_k = x_k * exp(s_k(given bands, context)).

    Band k is in group k % groups. A mel states the energy that several bands have together over several blocks: where
    the given ones are louder than expected, the others are not. A convolution cannot form energies, so the conditioner
    is given their logarithms. s is zero at the start and smoothly bounded.

    Args:
        channels: M, a multiple of 8 * groups.
        groups: number of interleaved groups of bands.
        given: groups that the conditioner sees.
        scaled: the group that is scaled, none of `given`.
        context: channels of the context.
        hidden: width of the conditioner.
        causal: it looks back only.

    Shape:
        x: (B, M, N), context: (B, D, N)

    Raises:
        ValueError: channels are no such multiple, or the scaled group is given.
    """

    def __init__(
        self,
        channels: int,
        groups: int,
        given: tuple[int, ...],
        scaled: int,
        context: int,
        hidden: int,
        causal: bool = False,
    ):
        super().__init__()
        if channels % (max(POOLED) * groups):
            raise ValueError(f"channels must be a multiple of {max(POOLED) * groups}, not {channels}")
        if scaled in given:
            raise ValueError(f"group {scaled} cannot be given and scaled")
        self.groups, self.given, self.scaled = groups, sorted(given), scaled
        bands = len(given) * channels // groups
        self.first = TimeConv(sum(bands // width for width in POOLED), hidden, TAPS, causal=causal)
        self.context = TimeConv(context, hidden)
        self.second = TimeConv(hidden, hidden)
        self.last = zeros(TimeConv(hidden, channels // groups))

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        z, logdet = self.log_det_per_column(x, context)
        return z, logdet.sum(1)

    def log_det_per_column(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        s = self._log_scale(x, context)
        return self._scaled(x, s.exp()), s.sum(1)

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        return self._scaled(z, (-self._log_scale(z, context)).exp())

    def _log_scale(self, x: Tensor, context: Tensor) -> Tensor:
        energies = log_energies(x.unflatten(1, (-1, self.groups))[:, :, self.given].flatten(1, 2), 1)
        h = F.silu(self.first(energies) + self.context(context))
        s = self.last(F.silu(self.second(h))).to(x.dtype)
        return bounded(s, BOUND)

    def _scaled(self, x: Tensor, factor: Tensor) -> Tensor:
        bands = list(x.unflatten(1, (-1, self.groups)).unbind(2))
        bands[self.scaled] = bands[self.scaled] * factor
        return torch.stack(bands, 2).flatten(1, 2)

    def extra_repr(self) -> str:
        return f"groups={self.groups}, given={self.given}, scaled={self.scaled}"


def scale_couplings(channels: int, groups: int, context: int, hidden: int, causal: bool = False) -> list[ScaleCoupling]:
    """Couplings that scale every group but one, each given the groups that are not scaled before it.

    The groups are taken apart as evenly as can be: 0, then the one in the middle, then those between.
    """
    order = [0]
    while len(order) < groups:
        order = [*order, *(k + groups // (2 * len(order)) for k in order)]
    numbers = range(groups - 1, 0, -1)
    return [ScaleCoupling(channels, groups, tuple(order[:n]), order[n], context, hidden, causal) for n in numbers]


@step_for(ScaleCoupling)
class ScaleCouplingStep(StreamingStep):
    """Its inverse; the taps of the first convolution and its share of the context are one product."""

    def __init__(self, layer: ScaleCoupling, settings: StepSettings):
        super().__init__(settings)
        require_columns(layer, settings)
        precision, self.arithmetic = settings.precision, settings.arithmetic
        self.groups, self.given, self.scaled = layer.groups, layer.given, layer.scaled
        self.ahead, self.back = layer.first.ahead, layer.first.back
        taps, bias = double(layer.first)
        context, context_bias = double(layer.context)
        joined = torch.cat([taps.permute(0, 2, 1).flatten(1), context[..., 0]], 1)
        self.first = Product(joined, bias + context_bias, precision or layer.first.weight.dtype)
        self.second = ConvProduct(layer.second, precision=precision)
        self.last = ConvProduct(layer.last, precision=precision)

    def forward(self, z: Tensor, context: Context, delay: int, position: StreamPosition, state: StreamState) -> Tensor:
        n, span, dtype = z.shape[1], TAPS - 1, self.first.weight.dtype
        energies = self.arithmetic.log_energies(z, self.given, self.groups, dtype)
        energies = state.extend(position.mask(energies, delay), span)
        given = torch.cat([windows(energies, span, 1), context.at(delay + self.ahead, n, dtype=dtype)], 2)
        s = self.last(F.silu(self.second(F.silu(self.first(given)))))
        return self.arithmetic.scaled(state.delay(z, self.ahead), s, BOUND, self.scaled, self.groups)
