"""The conditioner of SqueezeWave's couplings: depthwise and pointwise convolutions instead of dilated ones."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowvocoder.flows.convolution import Product, double
from flowvocoder.flows.streaming import (
    Context,
    StepSettings,
    StreamingStep,
    StreamPosition,
    StreamState,
    require_columns,
    step_for,
)


class EdgePaddedConv(nn.Conv1d):
    """A depthwise convolution whose input goes on, beyond its ends, with a value per channel.

    The published models normalise each channel (batch normalisation, a fixed scale and shift once trained) and then
    pad with zeros. Scale and shift go into the weights, but a zero behind them stands for another value before them:
    that value is `edge`. It is 0 in models trained here.

    Batch statistics themselves are left out on purpose: with them one item's likelihood would depend on the others of
    its batch.
    """

    edge: Tensor

    def __init__(self, channels: int, kernel: int):
        super().__init__(channels, channels, kernel, groups=channels)
        self.register_buffer("edge", torch.zeros(channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        side = self.edge.to(x.dtype).expand(x.shape[0], -1, self.kernel_size[0] // 2)
        return super().forward(torch.cat([side, x, side], 2))


class SeparableNet(nn.Module):
    """Gated residual layers of depthwise-separable convolutions (Zhai et al. 2020, arXiv:2001.05685).

    The last layer starts at zero, so a fresh coupling is the identity.

    Args:
        inputs: channels of x.
        outputs: channels of the result.
        context: channels of the context.
        channels: of the residual signal.
        layers: number of gated layers, none of them dilated.
        kernel: taps of each depthwise convolution, odd.

    Shape:
        x: (B, inputs, N), context: (B, context, N) -> (B, outputs, N)
    """

    def __init__(self, inputs: int, outputs: int, context: int, channels: int, layers: int, kernel: int = 3):
        super().__init__()
        self.start = nn.Conv1d(inputs, channels, 1)
        self.context = nn.Conv1d(context, 2 * channels * layers, 1)
        self.depthwise = nn.ModuleList(EdgePaddedConv(channels, kernel) for _ in range(layers))
        self.pointwise = nn.ModuleList(nn.Conv1d(channels, 2 * channels, 1) for _ in range(layers))
        self.mix = nn.ModuleList(nn.Conv1d(channels, channels, 1) for _ in range(layers))
        self.end = nn.Conv1d(channels, outputs, 1)
        nn.init.zeros_(self.end.weight)
        nn.init.zeros_(self.end.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        h = self.start(x)
        biases = self.context(context).chunk(len(self.mix), 1)
        for depthwise, pointwise, mix, bias in zip(self.depthwise, self.pointwise, self.mix, biases, strict=True):
            filtered, gate = (pointwise(depthwise(h)) + bias).chunk(2, 1)
            h = h + mix(torch.tanh(filtered) * torch.sigmoid(gate))
        return self.end(h)


class EdgePaddedConvProduct(nn.Module):
    """An `EdgePaddedConv`: (B, side + n + side, C), past in front -> (B, n, C)."""

    weight: Tensor
    bias: Tensor
    edge: Tensor

    def __init__(self, conv: EdgePaddedConv):
        super().__init__()
        weight, bias = double(conv)
        self.side = conv.kernel_size[0] // 2
        self.register_buffer("weight", weight.to(conv.weight.dtype))
        self.register_buffer("bias", bias.to(conv.weight.dtype))
        self.register_buffer("edge", conv.edge[:, 0].to(conv.weight.dtype, copy=True))

    def forward(self, x: Tensor, inside: Tensor | None) -> Tensor:
        """Columns that are not `inside` (B or 1, side + n + side) count as `edge`; None: all are."""
        if inside is not None:
            x = torch.where(inside[..., None], x, self.edge)
        return F.conv1d(x.transpose(1, 2), self.weight, self.bias, groups=len(self.weight)).transpose(1, 2)


@step_for(SeparableNet)
class SeparableNetStep(StreamingStep):
    """A `SeparableNet`, some columns at a time; each layer's share of the context is in its pointwise product."""

    def __init__(self, net: SeparableNet, settings: StepSettings):
        super().__init__(settings)
        require_columns(net, settings)
        dtype = settings.precision or net.end.weight.dtype
        self.start, self.end = (_product(*double(conv), dtype) for conv in (net.start, net.end))
        depthwise = [EdgePaddedConvProduct(conv) for conv in net.depthwise]  # type: ignore[arg-type]
        context, context_bias = (part.chunk(len(net.mix)) for part in double(net.context))
        gates = []
        for conv, share, share_bias in zip(net.pointwise, context, context_bias, strict=True):
            weight, bias = double(conv)
            gates.append(_product(torch.cat([weight, share], 1), bias + share_bias, dtype))
        self.gates = nn.ModuleList(gates)
        self.mix = nn.ModuleList(_product(*double(conv), dtype) for conv in net.mix)
        self.depthwise = nn.ModuleList(depthwise)
        self.side = depthwise[0].side
        self.ahead = self.side * len(depthwise)
        self.back = self.context_back = self.ahead

    def forward(self, z: Tensor, context: Context, delay: int, position: StreamPosition, state: StreamState) -> Tensor:
        n, span = z.shape[1], 2 * self.side
        h = self.start(z)
        for depthwise, gate, mix in zip(self.depthwise, self.gates, self.mix, strict=True):
            h = state.extend(h, span)
            smooth = depthwise(h, position.inside(n + span, delay + span, h))
            delay += self.side
            filtered, opening = gate(torch.cat([smooth, context.at(delay, n)], 2)).chunk(2, 2)
            h = h[:, self.side : self.side + n] + mix(torch.tanh(filtered) * torch.sigmoid(opening))
        out: Tensor = self.end(h)
        return out


def _product(weight: Tensor, bias: Tensor, dtype: torch.dtype) -> Product:
    return Product(weight[..., 0], bias, dtype)
