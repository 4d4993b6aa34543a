"""Weights as inference wants them: time first, convolutions as one product each, layers without a bend between them
folded into one. Made in float64, so that folding costs no precision."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowvocoder.flows.convolution import TimeConv
from flowvocoder.flows.coupling import AffineCoupling
from flowvocoder.flows.pointwise import PointwiseLU, PointwiseMatrix
from flowvocoder.flows.wavenet import WaveNet
from flowvocoder.inference.memory import Clock, Memory


class Product(nn.Module):
    """y = x W^T + b on (B, n, inputs), as a buffer: (outputs, inputs)."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype):
        super().__init__()
        self.register_buffer("weight", weight.detach().to(dtype).contiguous())
        self.register_buffer("bias", None if bias is None else bias.detach().to(dtype).contiguous())

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class Taps(Product):
    """A `TimeConv` on (B, back + ahead + n, inputs), the past in front: (B, n, outputs)."""

    def __init__(self, conv: TimeConv):
        weight, bias = double(conv)
        super().__init__(weight.permute(0, 2, 1).flatten(1), bias, conv.weight.dtype)
        self.dilation = conv.dilation[0]
        self.ahead = conv.ahead
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
    into the skip sum, and each layer's share of the context into the same product as its taps. A channel of ones
    carries the start's bias: like the padding of the convolution it was folded from, it is zero outside the signal.

    Attributes:
        ahead: how many columns of look-ahead it adds.
    """

    def __init__(self, pointwise: PointwiseLU | PointwiseMatrix, coupling: AffineCoupling):
        super().__init__()
        net, bound = coupling.conditioner, coupling.bound
        assert isinstance(net, WaveNet) and bound is not None
        self.bound = bound
        dtype = net.end.weight.dtype
        convs = [c for c in net.dilated if isinstance(c, TimeConv)]
        self.spans = [c.back + c.ahead for c in convs]
        self.dilations = [c.dilation[0] for c in convs]
        self.aheads = [c.ahead for c in convs]
        self.ahead = sum(self.aheads)
        start, start_bias = double(net.start)
        to_hidden = torch.cat([start[..., 0], start_bias[:, None]], 1)  # (H, C/2 + 1)
        context, context_bias = double(net.context)
        end, end_bias = double(net.end)
        gates, hidden, skips = [], [], []
        width, bias_total = net.channels, end_bias.clone()
        for layer, (conv, mix) in enumerate(zip(convs, net.mix, strict=True)):
            weight, bias = double(conv)
            taps = weight.permute(2, 0, 1)  # (K, 2H, H)
            taps = taps @ to_hidden if layer == 0 else taps
            rows = slice(2 * width * layer, 2 * width * (layer + 1))
            joined = torch.cat([taps.permute(1, 0, 2).flatten(1), context[rows, :, 0]], 1)
            gates.append(Product(joined, bias + context_bias[rows], dtype))
            mix_weight, mix_bias = double(mix)
            if layer < len(convs) - 1:
                residual = mix_weight[:width, :, 0]
                residual = torch.cat([to_hidden, residual], 1) if layer == 0 else residual
                hidden.append(Product(residual, mix_bias[:width], dtype))
            skips.append(end[..., 0] @ mix_weight[-width:, :, 0])
            bias_total = bias_total + end[..., 0] @ mix_bias[-width:]
        self.gates, self.hidden = nn.ModuleList(gates), nn.ModuleList(hidden)
        self.out = Product(torch.cat(skips, 1), bias_total, dtype)
        self.inverse = Product(inverse_of(pointwise, len(end)), None, dtype)

    def forward(self, z: Tensor, context: "Context", delay: int, clock: Clock, memory: Memory) -> Tensor:
        """z (B, n, C) that is `delay` columns late -> the same, `delay + ahead` late."""
        n, half, rate = z.shape[1], z.shape[2] // 2, context.rate
        ones = z.new_ones(z.shape[0], n, 1)
        x = clock.mask(torch.cat([z[..., :half], ones], 2), delay, rate)
        signal, gated = x, []
        for layer, (gate, span, dilation, ahead) in enumerate(
            zip(self.gates, self.spans, self.dilations, self.aheads, strict=True)
        ):
            extended = memory.extend(signal, span)
            delay += ahead
            filtered, opening = gate(torch.cat([windows(extended, span, dilation), context.at(delay, n)], 2)).chunk(2, 2)
            gated = [memory.delay(g, ahead) for g in gated]
            gated.append(torch.tanh(filtered) * torch.sigmoid(opening))
            if layer < len(self.hidden):
                before = extended[:, span - ahead : span - ahead + n]
                if layer == 0:
                    signal = self.hidden[0](torch.cat([before, gated[-1]], 2))
                else:
                    signal = before + self.hidden[layer](gated[-1])
                signal = clock.mask(signal, delay, rate)
        scale, shift = self.out(torch.cat(gated, 2)).chunk(2, 2)
        z = memory.delay(z, self.ahead)
        b = (z[..., half:] - shift) * torch.exp(-self.bound * torch.tanh(scale / self.bound))
        inverted: Tensor = self.inverse(torch.cat([z[..., :half], b], 2))
        return inverted


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
