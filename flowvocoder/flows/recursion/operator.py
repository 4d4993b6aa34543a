"""The pitch recursion as one operator: its loop depends on data, which no graph of tensors can say."""

import functools
import importlib.util
from collections.abc import Callable

import torch
from torch import Tensor

from flowvocoder.errors import ConfigError
from flowvocoder.flows.recursion import choice, compiled
from flowvocoder.flows.recursion.reference import GROUP, Solver, safe_stride


@torch.library.custom_op("flowvocoder::pitch_recursion", mutates_args=())
def pitch_recursion(e: Tensor, lag: Tensor, taps: Tensor, past: Tensor, stride: int) -> Tensor:
    """`reference.solve`, as `choice` has it, but on the CPU by numba where that is installed.

    Args:
        stride: what `reference.safe_stride` says, for an export.
    """
    return (choice.solve if e.is_cuda else _on_cpu())(e, lag, taps, past).clone()


@pitch_recursion.register_fake
def _(e: Tensor, lag: Tensor, taps: Tensor, past: Tensor, stride: int) -> Tensor:
    return torch.empty_like(e)


@functools.cache
def _on_cpu() -> Callable[..., Tensor]:
    return choice.solve if importlib.util.find_spec("numba") is None else compiled.compiled_solve()


def solver(min_lag: int, block: int) -> Solver:
    """A `reference.SolverFactory` whose solvers call the operator.

    Raises:
        ConfigError: blocks are no whole groups of the recursion.
    """
    if block % GROUP:
        raise ConfigError(f"model.block {block} is no multiple of {GROUP}, which compiling and export need")
    stride = safe_stride(min_lag, block)
    return choice.with_taps(lambda e, lag, taps, past: pitch_recursion(e, lag, taps, past, stride), min_lag)
