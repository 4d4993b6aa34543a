"""The conditioner of the couplings: a gated, dilated WaveNet."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowvocoder.flows.convolution import Product, TimeConv, double, windows
from flowvocoder.flows.streaming import (
    Context,
    NoStreamingStep,
    StepSettings,
    StreamingStep,
    StreamPosition,
    StreamState,
    require_columns,
    step_for,
)


class WaveNet(nn.Module):
    """WaveNet as WaveGlow uses it (van den Oord et al. 2016, arXiv:1609.03499; arXiv:1811.00002).

    Dilations double from layer to layer. The last layer starts at zero, so a fresh coupling is the identity.

    Args:
        inputs: channels of x.
        outputs: channels of the result.
        context: channels of the context.
        channels: residual and skip channels.
        layers: number of gated layers; dilation 2**i in layer i.
        kernel: taps of each dilated convolution, odd.
        causal: look back only.
        rectified: as in FloWaveNet (Kim et al. 2018, arXiv:1811.02155): three taps and a ReLU at the start, and at
            the end one more layer between two ReLUs.

    Shape:
        x: (B, inputs, N), context: (B, context, N) -> (B, outputs, N)
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        context: int,
        channels: int,
        layers: int,
        kernel: int = 3,
        causal: bool = False,
        rectified: bool = False,
    ):
        super().__init__()
        self.channels = channels
        self.start = TimeConv(inputs, channels, 3 if rectified else 1)
        self.last = TimeConv(channels, channels) if rectified else None
        self.context = TimeConv(context, 2 * channels * layers)  # all layers at once: one large product
        self.dilated = nn.ModuleList(
            TimeConv(channels, 2 * channels, kernel, dilation=2**i, causal=causal) for i in range(layers)
        )
        # The last layer feeds only the skip sum.
        self.mix = nn.ModuleList(
            TimeConv(channels, 2 * channels if i < layers - 1 else channels) for i in range(layers)
        )
        self.end = TimeConv(channels, outputs)
        nn.init.zeros_(self.end.weight)
        nn.init.zeros_(self.end.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        x, context = _channels_last(x), _channels_last(context)
        h = self.start.channels_last(x)
        if self.last is not None:
            h = F.relu(h)
        biases = self.context.channels_last(context).chunk(len(self.mix), 1)
        skip: Tensor | None = None
        for dilated, mix, bias in zip(self.dilated, self.mix, biases, strict=True):
            assert isinstance(dilated, TimeConv) and isinstance(mix, TimeConv)
            filtered, gate = (dilated.channels_last(h) + bias).chunk(2, 1)
            out = mix.channels_last(torch.tanh(filtered) * torch.sigmoid(gate))
            if out.shape[1] > self.channels:
                h = h + out[:, : self.channels]
            new = out[:, -self.channels :]
            skip = new if skip is None else skip + new
        assert skip is not None
        if self.last is not None:
            skip = F.relu(self.last.channels_last(F.relu(skip)))
        return self.end.channels_last(skip).squeeze(2)


def _channels_last(x: Tensor) -> Tensor:
    return x.unsqueeze(2).contiguous(memory_format=torch.channels_last)


@step_for(WaveNet)
class WaveNetStep(StreamingStep):
    """A WaveNet, some columns at a time.

    The start convolution is merged into the first dilated one and into the residual sum, the end convolution into the
    skip sum. Each layer's share of the context is in the same product as its taps. A rectified one bends there. What
    comes out is as the products are.
    """

    edge: Tensor

    def __init__(self, net: WaveNet, settings: StepSettings):
        super().__init__(settings)
        require_columns(net, settings)
        if net.last is not None:
            raise NoStreamingStep("a rectified WaveNet has no streaming step")
        dtype, width = settings.precision or net.end.weight.dtype, net.channels
        self.arithmetic = settings.arithmetic
        convs = [c for c in net.dilated if isinstance(c, TimeConv)]
        self.spans = [c.back + c.ahead for c in convs]
        self.dilations = [c.dilation[0] for c in convs]
        self.aheads = [c.ahead for c in convs]
        self.ahead = sum(self.aheads)
        self.back = self.context_back = sum(self.spans) - self.ahead
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
        self.register_buffer("edge", edge.to(net.end.weight.dtype))
        self.out = Product(torch.cat(skips, 1), out_bias, dtype)

    def forward(self, z: Tensor, context: Context, delay: int, position: StreamPosition, state: StreamState) -> Tensor:
        n, dtype = z.shape[1], self.out.weight.dtype
        signal = state.extend(position.mask(z, delay), self.spans[0])
        gated: list[Tensor] = []
        for layer, gate in enumerate(self.gates):
            span, ahead, dilation = self.spans[layer], self.aheads[layer], self.dilations[layer]
            narrow = signal.to(dtype)  # once for all taps
            taps = [narrow[:, i : i + n] for i in range(0, span + 1, dilation)]
            both = gate(torch.cat([*taps, context.at(delay + ahead, n, dtype=dtype)], 2))
            if layer == 0:
                both = self._without_bias_outside(both, delay, position)
            delay += ahead
            if gated:
                gated = [state.delay(torch.cat(gated, 2), ahead)]
            gated.append(self.arithmetic.gate(both))
            if layer < len(self.hidden):
                before = slice(span - ahead, span - ahead + n)
                if layer == 0:
                    signal = self.hidden[0](torch.cat([narrow[:, before], gated[-1]], 2)).to(z.dtype)
                else:
                    signal = signal[:, before] + self.hidden[layer](gated[-1])
                signal = state.extend(position.mask(signal, delay), self.spans[layer + 1])
        out: Tensor = self.out(torch.cat(gated, 2) if len(gated) > 1 else gated[0])
        return out

    def _without_bias_outside(self, gates: Tensor, delay: int, position: StreamPosition) -> Tensor:
        """The padding of the first dilated convolution is zero, without the bias of the start folded into it."""
        span = self.spans[0]
        inside = position.inside(gates.shape[1] + span, delay + span, gates)
        if inside is None:
            return gates
        outside = windows((~inside)[..., None], span, self.dilations[0])
        if position.traced:
            return (gates - F.linear(outside.to(self.edge.dtype), self.edge)).to(gates.dtype)
        columns = outside.any(2).any(0).nonzero()[:, 0]  # few of many
        gates[:, columns] -= F.linear(outside[:, columns].to(self.edge.dtype), self.edge)
        return gates
