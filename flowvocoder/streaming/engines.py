"""What can run synthesis."""

from typing import Literal

import torch
from torch import nn

from flowvocoder.errors import ConfigError
from flowvocoder.flows.recursion import compiled
from flowvocoder.flows.recursion.reference import solve
from flowvocoder.streaming.lapglow import LapGlowStep, can_stream

Engine = Literal["eager", "numba", "compile"]
"""PyTorch alone; with the pitch recursion as machine code; steps of a size that comes back as compiled graphs."""

Precision = Literal["float32", "bfloat16", "float16"]


def check_engine(engine: str, precision: str) -> None:
    """Raises ConfigError if there is no such engine or precision, or the engine is not installed."""
    if engine not in ("eager", "numba", "compile"):
        raise ConfigError(f"unknown engine {engine!r}: there are eager, numba, compile")
    if precision not in ("float32", "bfloat16", "float16"):
        raise ConfigError(f"unknown precision {precision!r}: there are float32, bfloat16, float16")
    if engine == "numba":
        compiled.solver()


def reduced(precision: Precision) -> torch.dtype | None:
    """The dtype of networks; None leaves float64 models, as tests use them, what they are."""
    return None if precision == "float32" else getattr(torch, precision)


def streaming_step(
    model: nn.Module, engine: Engine = "eager", precision: Precision = "float32", exact: bool = False
) -> LapGlowStep | None:
    """The model folded for inference in steps; None if `can_stream` says no.

    Args:
        exact: for the inverse of the flow rather than its `sample`.

    Raises:
        ConfigError: the engine cannot run this model.
    """
    if not can_stream(model):
        return None
    if engine != "compile":
        return LapGlowStep(model, compiled.solver() if engine == "numba" else solve, reduced(precision), exact).eval()
    from flowvocoder.streaming.graphs import GraphStep
    from flowvocoder.streaming.operator import recurse_by_operator

    step = GraphStep(model, precision=reduced(precision), exact=exact).eval()
    recurse_by_operator(step)
    return step
