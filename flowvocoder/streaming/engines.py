"""What can run synthesis."""

import importlib.util
from typing import Any, Literal

import torch
from torch import Tensor

from flowvocoder.errors import ConfigError
from flowvocoder.flows.arithmetic import PYTORCH, MachineCode
from flowvocoder.flows.density import FlowVocoder
from flowvocoder.flows.recursion import choice, compiled
from flowvocoder.flows.streaming import NoStreamingStep
from flowvocoder.streaming.flow import FlowStep
from flowvocoder.streaming.pieces import CHUNK
from flowvocoder.streaming.recorded import Recordings

Engine = Literal["eager", "numba", "compile"]
"""PyTorch and NumPy alone; with pitch recursion, rounds and what is between products as machine code; steps of a size
that comes back as compiled graphs, and on CUDA whole mels of such a size as recorded ones."""

Precision = Literal["float32", "bfloat16", "float16"]


def fastest_engine(device: torch.device) -> tuple[Engine, str]:
    """What `auto` means on a device, and why.

    `compile` is faster yet, but only for steps of a size that comes back, a minute after the first one.
    """
    if device.type != "cpu":
        return "eager", f"numba is for the CPU, and this is {device}"
    if importlib.util.find_spec("numba") is None:
        return "eager", "numba is not installed: pip install 'flowvocoder[fast]'"
    return "numba", "it is installed, and the device is the CPU"


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
        solver, arithmetic = (compiled.solver, MachineCode()) if engine == "numba" else (choice.solver, PYTORCH)
        return FlowStep(model, solver, reduced(precision), sampling, arithmetic).eval()
    from flowvocoder.flows.recursion import operator
    from flowvocoder.streaming.graphs import GraphStep

    return GraphStep(model, operator.solver, reduced(precision), sampling).eval()


FAR = 32
"""Frames of look-ahead. A model with more is not run in steps where the whole mel is there and short: a step would
spend much of its time on the look-ahead after the end of the mel."""


class ModelSteps:
    """The steps of a model, made when they are needed, and anew when a weight has changed.

    Args:
        model: whose steps they are.
        engine, precision: as `check_engine` allows them.
    """

    def __init__(self, model: FlowVocoder, engine: Engine = "eager", precision: Precision = "float32"):
        self._model, self._engine, self._precision = model, engine, precision
        self._made: dict[bool, tuple[tuple[tuple[int, int], ...], FlowStep | NoStreamingStep]] = {}
        self._recordings: tuple[FlowStep, Recordings] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_made": {}, "_recordings": None}  # copies and pickles make their own

    @property
    def compiled_rounds(self) -> bool:
        """Whether frame-by-frame rounds run as machine code: by `numba`, and by `compile` where numba is installed."""
        return self._engine == "numba" or (self._engine == "compile" and importlib.util.find_spec("numba") is not None)

    def recordings(self, step: FlowStep) -> Recordings | None:
        """Of whole syntheses by a step for synthesis: with `compile` on CUDA, else None."""
        if self._engine != "compile" or not next(self._model.parameters()).is_cuda:
            return None
        if self._recordings is None or self._recordings[0] is not step:  # a graph computes with a step's own weights
            self._recordings = step, Recordings()
        return self._recordings[1]

    def find(self, sampling: bool = True) -> FlowStep | None:
        """The step for synthesis, or for the inverse of the flow; None for a model that takes whole mels only."""
        step = self._step_or_reason(sampling)
        return None if isinstance(step, NoStreamingStep) else step

    def for_mel(self, mel: Tensor, sampling: bool = True) -> FlowStep | None:
        """The step that runs a whole mel (B, n_mels, F) best; None where the layers themselves do."""
        step = self.find(sampling)
        plain = self._engine == "eager" and self._precision == "float32" and len(mel) * mel.shape[2] <= CHUNK
        return None if step is None or (plain and step.delay > FAR * step.rate) else step

    def require(self) -> FlowStep:
        """The step for synthesis. Raises ConfigError that says why there is none."""
        step = self._step_or_reason(True)
        if isinstance(step, NoStreamingStep):
            raise ConfigError(f"this model cannot stream: {step}; use synthesize, which takes whole mels")
        return step

    def _step_or_reason(self, sampling: bool) -> FlowStep | NoStreamingStep:
        # A weight that was replaced or changed in place has another address or version.
        version = tuple((p.data_ptr(), 0 if p.is_inference() else p._version) for p in self._model.parameters())
        if sampling not in self._made or self._made[sampling][0] != version:
            self._made[sampling] = version, self._make(sampling)
        return self._made[sampling][1]

    def _make(self, sampling: bool) -> FlowStep | NoStreamingStep:
        try:
            return streaming_step(self._model, self._engine, self._precision, sampling)
        except NoStreamingStep as reason:
            return reason
