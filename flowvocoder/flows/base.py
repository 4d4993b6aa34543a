"""The bijection interface and its composition."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from flowvocoder.flows.reversible import cascade, forward_without_storing
from flowvocoder.flows.streaming import (
    Context,
    StepSettings,
    StreamingStep,
    StreamPosition,
    StreamState,
    build_step,
    step_for,
)


def full_precision(method: Callable[..., Any]) -> Callable[..., Any]:
    """Turns autocast off inside a method: a bijection's own arithmetic keeps its input's precision.

    Conditioners may run in bfloat16, since any function will do there; a rounded transform or determinant would make
    the density wrong.
    """

    @functools.wraps(method)
    def wrapped(self: Any, x: Tensor, *args: Any) -> Any:
        with torch.autocast(x.device.type, enabled=False):
            return method(self, x, *args)

    return wrapped


def fixed_in_training(module: nn.Module, x: Tensor) -> Tensor:
    """x, through which no gradient goes while the module is in training mode: another loss trains what made it."""
    return x.detach() if module.training else x


class Bijection(nn.Module):
    """An invertible map between audio and noise, given a context.

    `forward` goes from data to noise and returns the log-determinant; `inverse` goes from noise to data and does not,
    since synthesis has no use for it. Every layer takes `context`, also those that ignore it.

    Shape:
        x, z: (B, C, T), where a layer may change C and T but not their product
        context: (B, D, N), N blocks over the duration of x
        logdet: (B,), log |det dz/dx| in nats
    """

    cheap_inverse = True
    """Whether `inverse` costs about what `forward` does."""

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        raise NotImplementedError

    def sample(self, z: Tensor, context: Tensor) -> Tensor:
        """What synthesis does: `inverse`, or more where a layer has parameters for sampling.

        In training mode those are the only ones that a loss on samples reaches.
        """
        return self.inverse(z, context)

    def log_det_per_column(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """As `forward`, with the log-determinant divided by where in time it arises: (B, columns), of sum logdet.

        A column's share is the log-determinant of its own block of the Jacobian, wherever that is block triangular in
        time. Here it is spread evenly, which is right for layers that do the same in every column. Those that do not
        override this; their `forward` is then the sum.
        """
        z, logdet = self(x, context)
        columns = z.shape[-1]
        return z, (logdet / columns)[:, None].expand(-1, columns)

    def layer_outputs(self, x: Tensor, context: Tensor) -> "Iterator[LayerOutput]":
        """From data to noise one layer at a time: each layer, its output and its log-determinant per column."""
        yield self, *self.log_det_per_column(x, context)


LayerOutput: TypeAlias = tuple[Bijection, Tensor, Tensor]


class Composite(Bijection):
    """A bijection made of others, which says so in `layer_outputs`."""

    def layer_outputs(self, x: Tensor, context: Tensor) -> Iterator[LayerOutput]:
        raise NotImplementedError

    def log_det_per_column(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        z, logdets = x, []
        for _, z, logdet in self.layer_outputs(x, context):  # noqa: B007
            logdets.append(logdet)
        coarsest = min(logdet.shape[1] for logdet in logdets)
        return z, torch.stack([sum_over_time(logdet, coarsest) for logdet in logdets]).sum(0)


class Chain(Composite):
    """Layers applied one after another.

    Attributes:
        recompute: keep no activations for the backward pass, see `flows.reversible`.
    """

    def __init__(self, layers: Iterable[Bijection]):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.recompute = False

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        logdet = x.new_zeros(x.shape[0])
        for cheap, run in itertools.groupby(self.layers, lambda layer: layer.cheap_inverse):
            forward = forward_without_storing if self.recompute and cheap and torch.is_grad_enabled() else cascade
            x, run_logdet = forward(list(run), x, context)
            logdet = logdet + run_logdet
        return x, logdet

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        for layer in reversed(self.layers):
            z = layer.inverse(z, context)  # type: ignore[operator]
        return z

    def sample(self, z: Tensor, context: Tensor) -> Tensor:
        for layer in reversed(self.layers):
            z = layer.sample(z, context)  # type: ignore[operator]
        return z

    def layer_outputs(self, x: Tensor, context: Tensor) -> Iterator[LayerOutput]:
        for layer in self.layers:
            for output in layer.layer_outputs(x, context):  # type: ignore[operator]
                yield output
            x = output[1]


@step_for(Chain)
class ChainStep(StreamingStep):
    """The layers' steps, last layer first."""

    def __init__(self, chain: Chain, settings: StepSettings):
        super().__init__(settings)
        steps = []
        for layer in reversed(chain.layers):
            step = build_step(layer, dataclasses.replace(settings, columns=self.columns))
            self.columns = step.columns
            self.ahead += step.ahead
            self.back += step.back
            self.context_back = max(self.context_back + step.back, step.context_back)
            steps.append(step)
        self.steps = nn.ModuleList(steps)

    def forward(self, z: Tensor, context: Context, delay: int, position: StreamPosition, state: StreamState) -> Tensor:
        for step in self.steps:
            z = step(z, context, delay, position, state)
            delay += step.ahead  # type: ignore[operator, assignment]
        return z


def sum_over_time(values: Tensor, pieces: int) -> Tensor:
    """Sums of (B, columns) over equal pieces of time, (B, pieces); `pieces` divides the number of columns."""
    return values.unflatten(1, (pieces, -1)).sum(2)


def no_volume_change(x: Tensor) -> Tensor:
    """The log-determinant of a volume-preserving layer: zeros of shape (B,)."""
    return torch.zeros(x.shape[0], dtype=x.dtype, device=x.device)
