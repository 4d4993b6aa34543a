"""Weights as inference wants them: time first, convolutions as one product each, layers without a bend between them
folded into one. Made in float64, so that folding costs no precision."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowvocoder.flows.convolution import TimeConv
from flowvocoder.flows.coupling import AffineCoupling
from flowvocoder.flows.level import BOUND, LevelCoupling, log_levels
from flowvocoder.flows.pointwise import PointwiseLU, PointwiseMatrix
from flowvocoder.flows.streaming import Clock, Memory
from flowvocoder.flows.wavenet import WaveNet


class Product(nn.Module):
    """y = x W^T + b on (B, n, inputs), from W (outputs, inputs).

    Held transposed: for the few columns of a streaming step the product is then 1.6 times as fast.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype):
        super().__init__()
        self.register_buffer("weight", weight.detach().to(dtype).T.contiguous())
        self.register_buffer("bias", None if bias is None else bias.detach().to(dtype).contiguous())

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.to(self.weight.dtype), self.weight.T, self.bias).to(x.dtype)


class Taps(Product):
    """A `TimeConv` or the sum of several alike: (B, back + ahead + n, inputs), past in front -> (B, n, outputs).

    Args:
        precision: of the product; None: as the weights are.
    """

    def __init__(self, conv: TimeConv, *others: TimeConv, precision: torch.dtype | None = None):
        weight, bias = double(conv)
        for other in others:
            more_weight, more_bias = double(other)
            weight, bias = weight + more_weight, bias + more_bias
        super().__init__(weight.permute(0, 2, 1).flatten(1), bias, precision or conv.weight.dtype)
        self.dilation = conv.dilation[0]
        self.back, self.ahead = conv.back, conv.ahead
        self.span = conv.back + conv.ahead

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(windows(x, self.span, self.dilation))


def windows(x: Tensor, span: int, dilation: int) -> Tensor:
    """The columns that each output of a convolution sees, side by side: (B, span + n, C) -> (B, n, taps * C)."""
    if span == 0:
        return x
    n = x.shape[1] - span
    return torch.cat([x[:, i : i + n] for i in range(0, span + 1, dilation)], 2)


def double(conv: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution in float64."""
    assert isinstance(conv, nn.Conv1d | nn.ConvTranspose1d) and conv.bias is not None
    return conv.weight.detach().double(), conv.bias.detach().double()


class FoldedCoupling(nn.Module):
    """Inverse of a 1x1 convolution and the coupling behind it.

    The WaveNet's start convolution is folded into its first dilated one and into the residual sum, its end convolution
    into the skip sum, and each layer's share of the context into the same product as its taps.

    Args:
        precision: of the WaveNet's products; None: as the weights are.

    Attributes:
        ahead, back: how many columns of look-ahead and of look-back it adds.
    """

    edge: Tensor

    def __init__(
        self, pointwise: PointwiseLU | PointwiseMatrix, coupling: AffineCoupling, precision: torch.dtype | None = None
    ):
        super().__init__()
        net, bound = coupling.conditioner, coupling.bound
        assert isinstance(net, WaveNet) and bound is not None
        self.bound = bound
        exact, width = net.end.weight.dtype, net.channels
        dtype = precision or exact
        convs = [c for c in net.dilated if isinstance(c, TimeConv)]
        self.spans = [c.back + c.ahead for c in convs]
        self.dilations = [c.dilation[0] for c in convs]
        self.aheads = [c.ahead for c in convs]
        self.ahead = sum(self.aheads)
        self.back = sum(self.spans) - self.ahead
        start, start_bias = double(net.start)
        context, context_bias = double(net.context)
        end, out_bias = double(net.end)
        gates, hidden, skips = [], [], []
        for layer, (conv, mix) in enumerate(zip(convs, net.mix, strict=True)):
            taps, bias = double(conv)
            mix_weight, mix_bias = double(mix)
            residual, residual_bias = mix_weight[:width, :, 0], mix_bias[:width]
            if layer == 0:
                edge = (taps.permute(2, 0, 1) @ start_bias).T  # what each tap adds of the start's bias, (2H, K)
                bias = bias + edge.sum(1)
                taps = (taps.permute(2, 0, 1) @ start[..., 0]).permute(1, 2, 0)
                residual, residual_bias = torch.cat([start[..., 0], residual], 1), residual_bias + start_bias
            rows = slice(2 * width * layer, 2 * width * (layer + 1))
            joined = torch.cat([taps.permute(0, 2, 1).flatten(1), context[rows, :, 0]], 1)
            gates.append(Product(joined, bias + context_bias[rows], dtype))
            if layer < len(convs) - 1:
                hidden.append(Product(residual, residual_bias, dtype))
            skips.append(end[..., 0] @ mix_weight[-width:, :, 0])
            out_bias = out_bias + end[..., 0] @ mix_bias[-width:]
        self.gates, self.hidden = nn.ModuleList(gates), nn.ModuleList(hidden)
        self.register_buffer("edge", edge.to(exact))
        self.out = Product(torch.cat(skips, 1), out_bias, dtype)
        self.inverse = Product(inverse_of(pointwise, len(end)), None, exact)

    def forward(self, z: Tensor, context: "Context", delay: int, clock: Clock, memory: Memory) -> Tensor:
        """z (B, n, C) that is `delay` columns late -> the same, `delay + ahead` late."""
        n, half, rate = z.shape[1], z.shape[2] // 2, context.rate
        depth, span = max(self.ahead, self.spans[0]), self.spans[0]
        z = memory.extend(clock.mask(z, delay, rate), depth)
        signal = z[:, depth - span :, :half]
        gated: list[Tensor] = []
        for layer, gate in enumerate(self.gates):
            span, ahead, dilation = self.spans[layer], self.aheads[layer], self.dilations[layer]
            taps = [signal[:, i : i + n] for i in range(0, span + 1, dilation)]
            filtered = gate(torch.cat([*taps, context.at(delay + ahead, n)], 2))
            if layer == 0:
                filtered = self._without_bias_outside(filtered, delay, rate, clock)
            delay += ahead
            filtered, opening = filtered.chunk(2, 2)
            if gated:
                gated = [memory.delay(torch.cat(gated, 2), ahead)]
            gated.append(torch.tanh(filtered) * torch.sigmoid(opening))
            if layer < len(self.hidden):
                before = signal[:, span - ahead : span - ahead + n]
                if layer == 0:
                    signal = self.hidden[0](torch.cat([before, gated[-1]], 2))
                else:
                    signal = before + self.hidden[layer](gated[-1])
                signal = memory.extend(clock.mask(signal, delay, rate), self.spans[layer + 1])
        scale, shift = self.out(torch.cat(gated, 2) if len(gated) > 1 else gated[0]).chunk(2, 2)
        z = z[:, depth - self.ahead : depth - self.ahead + n]
        b = (z[..., half:] - shift) * torch.exp(-self.bound * torch.tanh(scale / self.bound))
        inverted: Tensor = self.inverse(torch.cat([z[..., :half], b], 2))
        return inverted

    def _without_bias_outside(self, gates: Tensor, delay: int, rate: int, clock: Clock) -> Tensor:
        """The padding of the first dilated convolution is zero, without the bias of the start folded into it."""
        span = self.spans[0]
        inside = clock.inside(gates.shape[1] + span, delay + span, rate, gates)
        if inside is None:
            return gates
        outside = windows((~inside)[..., None], span, self.dilations[0])
        if clock.exact:
            return gates - F.linear(outside.to(gates.dtype), self.edge)
        columns = outside.any(2).any(0).nonzero()[:, 0]  # few of many
        gates[:, columns] -= F.linear(outside[:, columns].to(gates.dtype), self.edge)
        return gates


class FoldedLevel(nn.Module):
    """Inverse of a `LevelCoupling`, its taps and its share of the context as one product.

    Args:
        precision: of the products; None: as the weights are.

    Attributes:
        ahead, back: how many columns of look-ahead and of look-back it adds.
    """

    def __init__(self, level: LevelCoupling, precision: torch.dtype | None = None):
        super().__init__()
        self.sets, self.known, self.scaled = level.sets, level.known, level.scaled
        self.ahead, self.back = level.first.ahead, level.first.back
        taps, bias = double(level.first)
        context, context_bias = double(level.context)
        joined = torch.cat([taps.permute(0, 2, 1).flatten(1), context[..., 0]], 1)
        self.first = Product(joined, bias + context_bias, precision or level.first.weight.dtype)
        self.second = Taps(level.second, precision=precision)
        self.last = Taps(level.last, precision=precision)

    def forward(self, z: Tensor, context: "Context", delay: int, clock: Clock, memory: Memory) -> Tensor:
        """z (B, n, C) that is `delay` columns late -> the same, `delay + ahead` late."""
        n, span = z.shape[1], self.ahead + self.back
        levels = log_levels(z.unflatten(2, (-1, self.sets))[..., self.known].flatten(2), 2)
        levels = memory.extend(clock.mask(levels, delay, context.rate), span)
        h = F.silu(self.first(torch.cat([windows(levels, span, 1), context.at(delay + self.ahead, n)], 2)))
        s = self.last(F.silu(self.second(h)))
        bands = list(memory.delay(z, self.ahead).unflatten(2, (-1, self.sets)).unbind(3))
        bands[self.scaled] = bands[self.scaled] * torch.exp(-BOUND * torch.tanh(s / BOUND))
        return torch.stack(bands, 3).flatten(2)


class Context:
    """The context of all layers, kept long enough that each can have it at its own delay.

    Args:
        x: (B, n, D), `delay` columns late.
        depth: largest further delay, with the taps that reach back from there.
        rate: columns a frame.
    """

    def __init__(self, x: Tensor, delay: int, depth: int, rate: int, memory: Memory):
        self._buffer = memory.extend(x, depth)
        self._first = delay + depth
        self.rate = rate

    def at(self, delay: int, count: int, span: int = 0) -> Tensor:
        """(B, span + count, D): the newest `count` columns as they are `delay` late, and `span` before them."""
        first = self._first - delay - span
        return self._buffer[:, first : first + span + count]


def inverse_of(pointwise: PointwiseLU | PointwiseMatrix, channels: int) -> Tensor:
    """W^-1, (C, C) float64."""
    columns = torch.eye(channels, dtype=torch.float64, device=next(pointwise.parameters()).device)
    inverse: Tensor = pointwise.inverse(columns, columns)
    return inverse
