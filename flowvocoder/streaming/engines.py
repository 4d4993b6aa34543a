"""What can run synthesis."""

from typing import Literal

import torch

from flowvocoder.errors import ConfigError
from flowvocoder.flows.density import FlowVocoder
from flowvocoder.flows.recursion import compiled, reference
from flowvocoder.streaming.flow import FlowStep

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
        compiled.compiled_solve()


def reduced(precision: Precision) -> torch.dtype | None:
    """The dtype of networks; None leaves float64 models, as tests use them, what they are."""
    return None if precision == "float32" else getattr(torch, precision)


def streaming_step(
    model: FlowVocoder, engine: Engine = "eager", precision: Precision = "float32", sampling: bool = True
) -> FlowStep:
    """The model made ready for inference in steps.

    Args:
        sampling: for the flow's `sample` rather than its `inverse`.

    Raises:
        NoStreamingStep: a layer cannot run in steps.
        ConfigError: the engine cannot run this model.
    """
    if engine != "compile":
        solver = compiled.solver if engine == "numba" else reference.solver
        return FlowStep(model, solver, reduced(precision), sampling).eval()
    from flowvocoder.flows.recursion import operator
    from flowvocoder.streaming.graphs import GraphStep

    return GraphStep(model, operator.solver, reduced(precision), sampling).eval()
