"""Layers for images: (B, C, H * W), rows of pixels one after another (Real NVP, Dinh et al. 2017, arXiv:1605.08803)."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowvocoder.flows.base import Bijection, Composite, LayerOutput, no_volume_change
from flowvocoder.flows.elementwise import Elementwise, parameters_of

Size = tuple[int, int]
"""Height and width."""


class ImageSqueeze(Bijection):
    """Squares of 2 x 2 pixels become channels: (B, C, H * W) -> (B, 4 * C, H / 2 * W / 2), log-det 0.

    Args:
        size: H and W, even.
    """

    def __init__(self, size: Size):
        super().__init__()
        self.size = size

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return F.pixel_unshuffle(x.unflatten(2, self.size), 2).flatten(2), no_volume_change(x)

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        height, width = self.size
        return F.pixel_shuffle(z.unflatten(2, (height // 2, width // 2)), 2).flatten(2)

    def extra_repr(self) -> str:
        return f"size={self.size}"


class Within(Composite):
    """`inner` in the order of numbers that `frame` makes, and back: the noise has the shape of the data again.

    Args:
        frame: changes no volume.
        inner: sees what `frame` makes, and keeps its shape.
    """

    cheap_inverse = False  # a chain inside sees to its layers itself

    def __init__(self, frame: Bijection, inner: Bijection):
        super().__init__()
        self.frame = frame
        self.inner = inner

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        z, logdet = self.inner(self.frame(x, context)[0], context)
        return self.frame.inverse(z, context), logdet

    def layer_outputs(self, x: Tensor, context: Tensor) -> Iterator[LayerOutput]:
        for layer, z, logdet in self.inner.layer_outputs(self.frame(x, context)[0], context):
            yield layer, self.frame.inverse(z, context), logdet

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        return self.frame.inverse(self.inner.inverse(self.frame(z, context)[0], context), context)


class MaskedCoupling(Bijection):
    """A coupling whose mask may be any: masked numbers pass and decide the function of each of the others.

    Args:
        mask: (C, T) or what expands to it, true where a number passes.
        conditioner: (x with zeros where it is not masked: (B, C, T), context) -> (B, P * C, T).
        transform: the function, with P parameters.
    """

    mask: Tensor

    def __init__(self, mask: Tensor, conditioner: nn.Module, transform: Elementwise):
        super().__init__()
        self.register_buffer("mask", mask)
        self.conditioner = conditioner
        self.transform = transform

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        z, per_column = self.log_det_per_column(x, context)
        return z, per_column.sum(1)

    def log_det_per_column(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        z, log_slope = self.transform.forward(x, self._parameters_given(x, context))
        return torch.where(self.mask, x, z), log_slope.masked_fill(self.mask, 0.0).sum(1)

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        return torch.where(self.mask, z, self.transform.inverse(z, self._parameters_given(z, context)))

    def _parameters_given(self, x: Tensor, context: Tensor) -> Tensor:
        return parameters_of(self.conditioner(x * self.mask, context).to(x.dtype), self.transform.parameters)

    def extra_repr(self) -> str:
        return str(self.transform)


def checkerboard(size: Size, exchange: bool = False) -> Tensor:
    """A mask (1, H * W) in which no two neighbours are alike; `exchange` gives the other colour."""
    rows, columns = torch.arange(size[0])[:, None], torch.arange(size[1])
    return ((rows + columns) % 2 == int(exchange)).reshape(1, -1)


class ImageNet(nn.Module):
    """A residual network of 3 x 3 convolutions. The last starts at zero, so a fresh coupling is the identity.

    Args:
        inputs, outputs: channels.
        context: channels of the context, the same for all pixels; 0 for none.
        hidden: channels inside.
        size: H and W.
        blocks: residual convolutions between the first and the last.

    Shape:
        x: (B, inputs, H * W), context: (B, context, 1) -> (B, outputs, H * W)
    """

    def __init__(self, inputs: int, outputs: int, context: int, hidden: int, size: Size, blocks: int = 2):
        super().__init__()
        self.size = size
        self.start = nn.Conv2d(inputs + context, hidden, 3, padding=1)
        self.blocks = nn.ModuleList(nn.Conv2d(hidden, hidden, 3, padding=1) for _ in range(blocks))
        self.end = nn.Conv2d(hidden, outputs, 3, padding=1)
        nn.init.zeros_(self.end.weight)
        nn.init.zeros_(self.end.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        seen = torch.cat([x, context.expand(-1, -1, x.shape[2])], 1).unflatten(2, self.size)
        h = self.start(seen)
        for block in self.blocks:
            h = h + block(F.silu(h))
        out: Tensor = self.end(F.silu(h))
        return out.flatten(2)
