"""The pitch recursion as one operator: its loop depends on data, which no graph of tensors can say."""

import functools
import importlib.util

import torch
from torch import Tensor

from flowvocoder.errors import ConfigError
from flowvocoder.flows.recursion import compiled
from flowvocoder.flows.recursion.reference import GROUP, safe_stride, solve
from flowvocoder.streaming.lapglow import LapGlowStep


@torch.library.custom_op("flowvocoder::pitch_recursion", mutates_args=())
def pitch_recursion(e: Tensor, lag: Tensor, taps: Tensor, past: Tensor, stride: int) -> Tensor:
    """`flows.recursion.solve`, by numba where that is installed and the tensors are on the CPU.

    Args:
        stride: what `flows.recursion.safe_stride` says.
    """
    if e.is_cuda:
        return solve(e, lag, taps, past, stride).clone()
    return _on_cpu()(e, lag, taps, past).clone()


@pitch_recursion.register_fake
def _(e: Tensor, lag: Tensor, taps: Tensor, past: Tensor, stride: int) -> Tensor:
    return torch.empty_like(e)


@functools.cache
def _on_cpu():  # type: ignore[no-untyped-def]
    return solve if importlib.util.find_spec("numba") is None else compiled.solver()


def recurse_by_operator(step: LapGlowStep) -> None:
    """Make a step call the operator.

    Raises:
        ConfigError: its blocks are no whole groups of the recursion.
    """
    if step.pitch is None:
        return
    if step.block % GROUP:
        raise ConfigError(f"model.block {step.block} is no multiple of {GROUP}, which compiling and export need")
    stride = safe_stride(step.pitch.min_lag, step.block)
    step.pitch.solve = lambda e, lag, taps, past: pitch_recursion(e, lag, taps, past, stride)
