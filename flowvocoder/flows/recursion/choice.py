"""The recursion by what is quickest on a device, and its gradients: on CUDA a Triton kernel where that is installed, on
the CPU a loop in NumPy."""

import functools
import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from flowvocoder.flows.recursion import in_numpy, reference
from flowvocoder.flows.recursion.reference import Solver, gradient_of_taps, past_samples, taps_at, whole_groups


def solver(min_lag: int, block: int) -> Solver:
    """A `reference.SolverFactory`; its solver takes any lags and blocks."""
    return with_taps(solve, min_lag)


def with_taps(recursion: Callable[..., Tensor], min_lag: int) -> Solver:
    """The solver that calls what takes whole lags and taps."""
    return lambda e, nodes, past: recursion(e, *taps_at(nodes[..., 0], nodes[..., 1:].mT, min_lag), past)


def solve(e: Tensor, lag: Tensor, taps: Tensor, past: Tensor) -> Tensor:
    """As `reference.solve`."""
    x: Tensor = _solving(e).solve(e, lag, taps, past)
    return x


def synthesise(e: Tensor, lag: Tensor, taps: Tensor) -> Tensor:
    """The x with x - predict(x, lag, taps) = e, differentiable in e and taps.

    Shape:
        as `reference.predict`
    """
    x: Tensor = _Recursion.apply(whole_groups(e), lag, taps)
    return x[:, : e.shape[1]]


class _Recursion(torch.autograd.Function):
    @staticmethod
    def forward(ctx, e: Tensor, lag: Tensor, taps: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        x = solve(e, lag, taps, e.new_zeros(len(e), past_samples(int(lag.max()))))
        ctx.save_for_backward(x, lag, taps)
        return x

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, Tensor]:  # type: ignore[no-untyped-def]
        x, lag, taps = ctx.saved_tensors
        with torch.autocast(grad.device.type, enabled=False):
            adjoint = _on_cuda().adjoint if grad.is_cuda else reference.adjoint
            grad_e = adjoint(grad, lag, taps)
            return grad_e, None, gradient_of_taps(grad_e, x, lag)


def _solving(like: Tensor) -> Any:
    if like.is_cuda:
        return _on_cuda()
    return in_numpy if like.is_cpu and like.dtype in (torch.float32, torch.float64) else reference


@functools.cache
def _on_cuda() -> Any:
    if importlib.util.find_spec("triton") is None:
        return reference
    from flowvocoder.flows.recursion import kernel  # takes half a second, which a CPU has no use for

    return kernel
