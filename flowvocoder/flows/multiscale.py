"""Samples into channels and back, and channels that leave early: what makes a flow of several stages one bijection."""

import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor

from flowvocoder.flows.base import Bijection, Composite, LayerOutput, no_volume_change
from flowvocoder.flows.streaming import (
    Context,
    StepSettings,
    StreamingStep,
    StreamPosition,
    StreamState,
    build_step,
    require_columns,
    step_for,
)


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


@step_for(Squeeze)
class SqueezeStep(StreamingStep):
    """Its inverse: channels of a column become columns."""

    def __init__(self, layer: Squeeze, settings: StepSettings):
        super().__init__(settings)
        self.factor = layer.factor
        self.columns_in = settings.columns
        self.columns = settings.columns * layer.factor

    def forward(self, z: Tensor, context: Context, delay: int, position: StreamPosition, state: StreamState) -> Tensor:
        return z.unflatten(2, (self.columns_in, -1, self.factor)).transpose(3, 4).flatten(2)


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

    def layer_outputs(self, x: Tensor, context: Tensor) -> Iterator[LayerOutput]:
        for layer, z, logdet in self.inner.layer_outputs(squeeze(x, self.factor), squeeze(context, self.factor)):
            yield layer, unsqueeze(z, self.factor), logdet

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        return unsqueeze(self.inner.inverse(squeeze(z, self.factor), squeeze(context, self.factor)), self.factor)

    def sample(self, z: Tensor, context: Tensor) -> Tensor:
        return unsqueeze(self.inner.sample(squeeze(z, self.factor), squeeze(context, self.factor)), self.factor)

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

    def layer_outputs(self, x: Tensor, context: Tensor) -> Iterator[LayerOutput]:
        for layer, z, logdet in self.inner.layer_outputs(x[:, self.channels :], context):
            yield layer, torch.cat([x[:, : self.channels], z], 1), logdet

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        return torch.cat([z[:, : self.channels], self.inner.inverse(z[:, self.channels :], context)], 1)

    def sample(self, z: Tensor, context: Tensor) -> Tensor:
        return torch.cat([z[:, : self.channels], self.inner.sample(z[:, self.channels :], context)], 1)

    def extra_repr(self) -> str:
        return f"channels={self.channels}"


@step_for(EarlyOut)
class EarlyOutStep(StreamingStep):
    """Its inverse: the channels that have left wait for the others."""

    def __init__(self, layer: EarlyOut, settings: StepSettings):
        super().__init__(settings)
        require_columns(layer, settings)
        self.channels = layer.channels
        self.inner = build_step(layer.inner, settings)
        require_columns(layer, dataclasses.replace(settings, columns=self.inner.columns))
        self.ahead, self.back, self.context_back = self.inner.ahead, self.inner.back, self.inner.context_back

    def forward(self, z: Tensor, context: Context, delay: int, position: StreamPosition, state: StreamState) -> Tensor:
        early = state.delay(z[..., : self.channels], self.ahead)
        return torch.cat([early, self.inner(z[..., self.channels :], context, delay, position, state)], 2)
