"""Streaming: what a step is, how it is found, what it remembers, and where in the signal it is.

Steps run synthesis a few columns at a time. All their signals are (B, n, C), time first: n columns of a block each. A
signal that still has several columns a block, such as audio, has them side by side in C, the first one first.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from flowvocoder.errors import ConfigError
from flowvocoder.flows.arithmetic import PYTORCH, Arithmetic
from flowvocoder.flows.recursion import choice
from flowvocoder.flows.recursion.reference import SolverFactory


class StreamState:
    """What a step needs of the steps before it: the last columns of every signal.

    A layer reads the past of a signal from here instead of keeping it. Every step reads in the same order, so the state
    is a plain list of tensors that can be saved, copied, or handed to an exported model.

    Args:
        old: what the step before left in `new`; None at the start of a signal, when the past is zeros.
    """

    def __init__(self, old: Sequence[Tensor] | None = None):
        self._old = None if old is None else iter(old)
        self.new: list[Tensor] = []

    def extend(self, x: Tensor, count: int) -> Tensor:
        """The last `count` columns before x, then x: (B, n, C) -> (B, count + n, C). Keeps as many for next time."""
        if count == 0:
            return x
        extended = torch.cat([self.past(x, count), x], 1)
        self.keep(extended[:, x.shape[1] :])
        return extended

    def past(self, like: Tensor, count: int) -> Tensor:
        """The columns (B, count, C) that the last step kept here; `keep` must follow."""
        return like.new_zeros(like.shape[0], count, like.shape[2]) if self._old is None else next(self._old)

    def keep(self, columns: Tensor) -> None:
        """Hand columns to the next step."""
        self.new.append(columns)

    def delay(self, x: Tensor, count: int) -> Tensor:
        """x as it was `count` columns ago: (B, n, C) -> (B, n, C)."""
        return self.extend(x, count)[:, : x.shape[1]]


class StreamPosition:
    """Which part of the signal a step sees. Columns before the start and after the end must not reach a convolution.

    Args:
        start: columns before this step.
        length: columns in all, per item (B,); None while the end is not known.
        traced: `start` may be a tensor and no branch depends on it, for graphs and export.
    """

    def __init__(self, start: int | Tensor, length: Tensor | None = None, traced: bool = False):
        self.start = start
        self.length = length
        self.traced = traced
        self._shortest = None if length is None or traced else int(length.min())
        self._found: dict[tuple[object, ...], Tensor] = {}  # many layers ask the same

    def at_rate(self, rate: int) -> "StreamPosition":
        """The same position in a signal with `rate` columns for each column of this one."""
        length = None if self.length is None else self.length * rate
        return StreamPosition(self.start * rate, length, self.traced)

    def inside(self, count: int, delay: int, like: Tensor) -> Tensor | None:
        """Which of the `count` columns that a step sees `delay` late are within the signal, (B or 1, count); None if
        all are."""
        first = self.start - delay
        if not self.traced and first >= 0 and (self._shortest is None or first + count <= self._shortest):
            return None
        return self._once((count, delay), lambda: self._inside(count, first, like))

    def mask(self, x: Tensor, delay: int) -> Tensor:
        """x (B, n, C), `delay` columns late, with zeros outside the signal."""
        inside = self.inside(x.shape[1], delay, x)
        if inside is None:
            return x
        return x * self._once((x.shape[1], delay, x.dtype), lambda: inside[..., None].to(x.dtype))

    def _inside(self, count: int, first: int | Tensor, like: Tensor) -> Tensor:
        position = torch.arange(count, device=like.device) + first
        inside = (position >= 0)[None]
        return inside if self.length is None else inside & (position < self.length[:, None])

    def _once(self, key: tuple[object, ...], make: Callable[[], Tensor]) -> Tensor:
        """What is made for a key, the first time alone; where the start is traced, each time."""
        if not isinstance(self.start, int):
            return make()
        if key not in self._found:
            self._found[key] = make()
        return self._found[key]


class Context:
    """The context of all layers, kept long enough that each can have it at its own delay.

    Args:
        x: (B, n, D), `delay` columns late.
        depth: largest further delay at which it is read.
    """

    def __init__(self, x: Tensor, delay: int, depth: int, state: StreamState):
        self.dtype = x.dtype
        self._buffers = {x.dtype: state.extend(x, depth)}
        self._first = delay + depth

    def at(self, delay: int, count: int, span: int = 0, dtype: torch.dtype | None = None) -> Tensor:
        """(B, span + count, D): the newest `count` columns as they are `delay` late, and `span` before them.

        Args:
            dtype: of a product that takes them; None: as the context is.
        """
        dtype = dtype or self.dtype
        if dtype not in self._buffers:  # once for all layers
            self._buffers[dtype] = self._buffers[self.dtype].to(dtype)
        first = self._first - delay - span
        return self._buffers[dtype][:, first : first + span + count]


class ContextProbe(Context):
    """Zeros in place of a context, which note how far ahead and back of the noise they were read.

    Args:
        like: (1, n, D), a context.
        delay: by how many columns the noise is late.
    """

    def __init__(self, like: Tensor, delay: int):
        self._like, self._delay, self.dtype = like, delay, like.dtype
        self.ahead = self.back = 0

    def at(self, delay: int, count: int, span: int = 0, dtype: torch.dtype | None = None) -> Tensor:
        late = delay - self._delay
        self.ahead, self.back = max(self.ahead, -late), max(self.back, late + span)
        return self._like.new_zeros(1, span + count, self._like.shape[2], dtype=dtype)


@dataclasses.dataclass(frozen=True)
class StepSettings:
    """What steps are made for.

    Args:
        block: samples a column of the noise.
        dtype, device: of the signals.
        sampling: do what `Bijection.sample` does rather than `inverse`.
        precision: of the products that take most of the time; None: as the weights are.
        solver: makes what undoes the pitch prediction.
        columns: how many columns a block the signal has that comes in. It is 1 for the noise.
        arithmetic: what computes between products.
    """

    block: int
    dtype: torch.dtype
    device: torch.device
    sampling: bool = True
    precision: torch.dtype | None = None
    solver: SolverFactory = choice.solver
    columns: int = 1
    arithmetic: Arithmetic = PYTORCH


class NoStreamingStep(ConfigError):
    """A layer cannot run in steps; the message says which one and why."""


class StreamingStep(nn.Module):
    """A layer from noise to data, or the network inside one, some columns at a time. Made from the layer's weights.

    A step that reaches over time masks its input: what comes in from outside the signal may be anything.

    Attributes:
        ahead: how many columns later its output comes.
        back: how many columns after its own a column that comes in still matters; infinite for a recursion.
        context_back: the same for a column of the context.
        columns: how many columns a block its output has.
    """

    ahead: int = 0
    back: float = 0
    context_back: float = 0

    def __init__(self, settings: StepSettings):
        super().__init__()
        self.columns = settings.columns

    def forward(self, z: Tensor, context: Context, delay: int, position: StreamPosition, state: StreamState) -> Tensor:
        """z (B, n, C) that is `delay` columns late -> the output (B, n, C'), `delay + ahead` late."""
        raise NotImplementedError

    def per_column(self, z: Tensor) -> Tensor:
        """(B, n, C) -> (B, n, columns, C / columns), where there are several a block; undone by `flatten(2)`."""
        return z if self.columns == 1 else z.unflatten(2, (self.columns, -1))


class EncoderStep(nn.Module):
    """An encoder, some frames at a time.

    Attributes:
        rate: columns of context a frame.
        delay: how many columns late the context comes.
        back: how many columns after its own a frame still matters.
    """

    rate: int
    delay: int
    back: int

    def forward(self, mel: Tensor, frames: StreamPosition, state: StreamState) -> Tensor:
        """(B, f, n_mels) -> context (B, f * rate, D), zeros outside the signal."""
        raise NotImplementedError


STEPS: dict[type[nn.Module], Callable[[Any, StepSettings], Any]] = {}
"""The step of every type of layer, conditioner and encoder that has one."""

Made = TypeVar("Made", bound=Callable[..., nn.Module])


def step_for(layer: type[nn.Module]) -> Callable[[Made], Made]:
    """Declares a class to be the step of a type of layer: made by (layer, settings)."""

    def declared(step: Made) -> Made:
        STEPS[layer] = step
        return step

    return declared


def build_step(layer: nn.Module, settings: StepSettings) -> StreamingStep:
    """The step of a layer or conditioner.

    Raises:
        NoStreamingStep: there is none for its type, or for how it is set.
    """
    step: StreamingStep = _find(layer)(layer, settings)
    return step


def build_encoder_step(encoder: nn.Module, settings: StepSettings) -> EncoderStep:
    """The step of an encoder.

    Raises:
        NoStreamingStep: there is none for its type.
    """
    step: EncoderStep = _find(encoder)(encoder, settings)
    return step


def _find(layer: nn.Module) -> Callable[[Any, StepSettings], Any]:
    # By the exact type: a subclass may compute something else.
    if type(layer) not in STEPS:
        raise NoStreamingStep(f"{type(layer).__name__} has no streaming step")
    return STEPS[type(layer)]


def require_columns(layer: nn.Module, settings: StepSettings, columns: int = 1) -> None:
    """Raises NoStreamingStep unless the signal of a layer has `columns` columns a block."""
    if settings.columns != columns:
        raise NoStreamingStep(f"{type(layer).__name__} has no streaming step for {settings.columns} columns a block")
