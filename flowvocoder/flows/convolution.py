"""Convolutions over time that know how far they look back and ahead."""

import torch.nn.functional as F
from torch import Tensor, nn


def zeros(conv: "TimeConv") -> "TimeConv":
    """The convolution with weights and bias set to zero, so that it adds nothing until it is taught."""
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
