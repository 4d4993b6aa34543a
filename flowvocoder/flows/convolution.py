"""Convolutions over time that know how far they look back and ahead, and the same as products for streaming."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowvocoder.flows.streaming import Context, StreamPosition, StreamState


def zeros(conv: "TimeConv") -> "TimeConv":
    """The convolution with weights and bias set to zero, so that it adds nothing until it is trained."""
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv


class TimeConv(nn.Conv1d):
    """A convolution of stride 1 that keeps the length: (B, inputs, N) -> (B, outputs, N), zeros outside the signal.

    Args:
        kernel: taps, odd.
        dilation: columns between taps.
        causal: look back only; otherwise as far ahead as back.

    Attributes:
        back, ahead: how many columns before and after its own an output depends on.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, dilation: int = 1, causal: bool = False):
        span = (kernel - 1) * dilation
        self.ahead = 0 if causal else span // 2
        self.back = span - self.ahead
        super().__init__(inputs, outputs, kernel, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (self.back, self.ahead)))

    def channels_last(self, x: Tensor) -> Tensor:
        """The same on (B, C, 1, N) with the channels last in memory: on a CPU about a fifth faster than (B, C, N),
        which is reordered at every call."""
        x = F.pad(x, (self.back - self.ahead, 0)) if self.back > self.ahead else x
        return F.conv2d(x, self.weight.unsqueeze(2), self.bias, padding=(0, self.ahead), dilation=(1, *self.dilation))


class Features(nn.Sequential):
    """Two convolutions over time with SiLU behind each: (B, inputs, N) -> (B, channels, N).

    Args:
        causal: they look back only.
    """

    def __init__(self, inputs: int, channels: int, causal: bool = False):
        first = TimeConv(inputs, channels, 3, causal=causal)
        super().__init__(first, nn.SiLU(), TimeConv(channels, channels, 3, causal=causal), nn.SiLU())


class Product(nn.Module):
    """y = x W^T + b on (..., inputs), from W (outputs, inputs), in the precision of W: y comes as x does.

    Held transposed in memory: for the few columns of a streaming step the product is then 1.6 times as fast.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype):
        super().__init__()
        self.register_buffer("weight", weight.detach().to(dtype).T.contiguous().T)
        self.register_buffer("bias", None if bias is None else bias.detach().to(dtype).contiguous())

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight
        if weight.dtype == x.dtype:
            return F.linear(x, weight, self.bias)
        return F.linear(x.to(weight.dtype), weight, self.bias).to(x.dtype)


class ConvProduct(Product):
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
        # Rounded before taps lie side by side, which is less to round.
        return super().forward(windows(x.to(self.weight.dtype), self.span, self.dilation)).to(x.dtype)


def windows(x: Tensor, span: int, dilation: int) -> Tensor:
    """The columns that each output of a convolution sees, side by side: (B, span + n, C) -> (B, n, taps * C)."""
    if span == 0:
        return x
    n = x.shape[1] - span
    return torch.cat([x[:, i : i + n] for i in range(0, span + 1, dilation)], 2)


def double(conv: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution in float64, so that what is made of them loses no precision."""
    assert isinstance(conv, nn.Conv1d | nn.ConvTranspose1d) and conv.bias is not None
    return conv.weight.detach().double(), conv.bias.detach().double()


class FeaturesStep(nn.Module):
    """`Features` of the context, some columns at a time.

    Attributes:
        ahead, back: how many columns before and after its own an output depends on.
    """

    def __init__(self, features: Features, precision: torch.dtype | None = None):
        super().__init__()
        self.first = ConvProduct(features[0], precision=precision)  # type: ignore[arg-type]
        self.second = ConvProduct(features[2], precision=precision)  # type: ignore[arg-type]
        self.ahead = self.first.ahead + self.second.ahead
        self.back = self.first.back + self.second.back

    def forward(self, context: Context, delay: int, count: int, position: StreamPosition, state: StreamState) -> Tensor:
        """Features that are `delay` columns late, (B, count, channels)."""
        dtype = self.first.weight.dtype
        h = self.first(context.at(delay - self.ahead, count, self.first.span, dtype))
        h = position.mask(F.silu(h), delay - self.second.ahead)
        return F.silu(self.second(state.extend(h, self.second.span)).to(context.dtype))
