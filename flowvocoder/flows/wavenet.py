"""The conditioner of the couplings: a gated, dilated WaveNet."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowvocoder.flows.convolution import TimeConv


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
