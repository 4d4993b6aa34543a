"""Samples into channels and back, and channels that leave early: what makes a flow of several stages one bijection."""

from collections.abc import Iterator

import torch
from torch import Tensor

from flowvocoder.flows.base import Bijection, Composite, Step, no_volume_change


def squeeze(x: Tensor, factor: int) -> Tensor:
    """Neighbouring columns to channels: (B, C, T) -> (B, C * factor, T / factor), channel c * factor + t % factor."""
    return x.unflatten(2, (-1, factor)).transpose(2, 3).flatten(1, 2)


def unsqueeze(z: Tensor, factor: int) -> Tensor:
    """The inverse of `squeeze`."""
    return z.unflatten(1, (-1, factor)).transpose(2, 3).flatten(2, 3)


class Squeeze(Bijection):
    """(B, C, T) -> (B, C * factor, T / factor), log-det 0; the context has the lower rate already.

    Args:
        factor: columns that become channels; divides T.
    """

    def __init__(self, factor: int):
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return squeeze(x, self.factor), no_volume_change(x)

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        return unsqueeze(z, self.factor)

    def extra_repr(self) -> str:
        return f"factor={self.factor}"


class Squeezed(Composite):
    """`inner` at a lower rate: data and context are squeezed, and the noise has the shape of the data again.

    Args:
        factor: columns that become channels; divides T.
        inner: sees x (B, C * factor, T / factor) and context (B, D * factor, T / factor).
    """

    cheap_inverse = False  # a chain inside sees to its layers itself

    def __init__(self, factor: int, inner: Bijection):
        super().__init__()
        self.factor = factor
        self.inner = inner

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        z, logdet = self.inner(squeeze(x, self.factor), squeeze(context, self.factor))
        return unsqueeze(z, self.factor), logdet

    def steps(self, x: Tensor, context: Tensor) -> Iterator[Step]:
        for layer, z, logdet in self.inner.steps(squeeze(x, self.factor), squeeze(context, self.factor)):
            yield layer, unsqueeze(z, self.factor), logdet

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        return unsqueeze(self.inner.inverse(squeeze(z, self.factor), squeeze(context, self.factor)), self.factor)

    def extra_repr(self) -> str:
        return f"factor={self.factor}"


class EarlyOut(Composite):
    """The first `channels` are noise already; `inner` goes on with the others (Dinh et al. 2017, arXiv:1605.08803).

    Args:
        channels: how many leave.
        inner: of (B, C - channels, N), shape kept.
    """

    cheap_inverse = False  # a chain inside sees to its layers itself

    def __init__(self, channels: int, inner: Bijection):
        super().__init__()
        self.channels = channels
        self.inner = inner

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        z, logdet = self.inner(x[:, self.channels :], context)
        return torch.cat([x[:, : self.channels], z], 1), logdet

    def steps(self, x: Tensor, context: Tensor) -> Iterator[Step]:
        for layer, z, logdet in self.inner.steps(x[:, self.channels :], context):
            yield layer, torch.cat([x[:, : self.channels], z], 1), logdet

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        return torch.cat([z[:, : self.channels], self.inner.inverse(z[:, self.channels :], context)], 1)

    def extra_repr(self) -> str:
        return f"channels={self.channels}"
