"""The bijection interface and its composition."""

import functools
import itertools
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from flowvocoder.flows.reversible import cascade, forward_without_storing


def exact(method: Callable[..., Any]) -> Callable[..., Any]:
    """Turns autocast off inside a method: a bijection's own arithmetic keeps its input's precision.

    Conditioners may run in bfloat16, since any function will do there; a rounded transform or determinant would make
    the density wrong.
    """

    @functools.wraps(method)
    def wrapped(self: Any, x: Tensor, *args: Any) -> Any:
        with torch.autocast(x.device.type, enabled=False):
            return method(self, x, *args)

    return wrapped


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


class Chain(Bijection):
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


def no_volume_change(x: Tensor) -> Tensor:
    """The log-determinant of a volume-preserving layer: zeros of shape (B,)."""
    return torch.zeros(x.shape[0], dtype=x.dtype, device=x.device)
