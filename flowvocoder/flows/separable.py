"""The conditioner of SqueezeWave's couplings: depthwise and pointwise convolutions instead of dilated ones."""

import torch
from torch import Tensor, nn


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
