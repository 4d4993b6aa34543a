"""Steps of one size as one compiled graph: `torch.compile`, and on a GPU a CUDA graph of what it made."""

import itertools
import threading
import types
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from flowvocoder.flows.streaming import StreamPosition, StreamState
from flowvocoder.streaming.flow import FlowStep

Run = Callable[[Sequence[Tensor]], list[Tensor]]
"""(mel, noise, position, length, *state) -> [audio, *state]."""

MOST_GRAPHS = 8
"""Sizes that are compiled at most. Each takes a minute; a size beyond them, or that never comes back, runs as it is."""

_NUMBERS = itertools.count()

_MAKING = threading.Lock()

UNKNOWN = 2**48
"""Length of a signal whose end is not known yet."""


def of_inputs(guards: Sequence[Any]) -> list[bool]:
    """Which guards of a graph are looked at in each call: those of what a call brings, and of PyTorch's own state.

    A thousand more ask whether the step or this package has changed, which takes a tenth of a small step. A step never
    does: `ModelSteps` makes another one.
    """
    return [guard.name == "" or guard.name.startswith("inputs") for guard in guards]


CPU_OPTIONS: dict[str, Any] = {"cpp_wrapper": True, "guard_filter_fn": of_inputs}
"""Of `torch.compile` on a CPU. What calls the operations is C++, too: in Python it takes a fifth of a small step."""


class GraphStep(FlowStep):
    """A step that compiles itself for every size (items, frames) that it meets a second time.

    Streaming pushes chunks of one size, and so does a program that synthesises in batches of one shape; those get a
    graph, which saves the time between some two hundred small operations. What it computes is the same.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._met: Counter[tuple[int, int]] = Counter()
        self._graphs: dict[tuple[int, int], Run] = {}

    def advance(
        self, mel: Tensor, noise: Tensor, start: int, length: Tensor | None, state: list[Tensor] | None
    ) -> tuple[Tensor, list[Tensor]]:
        size = (mel.shape[0], mel.shape[1])
        self._met[size] += 1
        if size not in self._graphs and (self._met[size] < 2 or len(self._graphs) == MOST_GRAPHS):
            return super().advance(mel, noise, start, length, state)
        if state is None:
            kinds = zip(self.state_shapes, self.state_dtypes, strict=True)
            state = [mel.new_zeros(mel.shape[0], *shape, dtype=dtype) for shape, dtype in kinds]
        position = torch.tensor(start, device=mel.device)
        if length is None:
            length = torch.full((mel.shape[0],), UNKNOWN, device=mel.device)
        inputs = [mel, noise, position, length, *state]
        if size not in self._graphs:
            self._make(size, inputs)
        audio, *state = self._graphs[size](inputs)
        return audio, state

    def _make(self, size: tuple[int, int], inputs: Sequence[Tensor]) -> None:
        with _MAKING:  # another thread may have made it meanwhile
            if size not in self._graphs:
                options = dict(CPU_OPTIONS) if inputs[0].device.type == "cpu" else None  # it takes some out
                run = torch.compile(apart(self._traced), dynamic=False, options=options)
                self._graphs[size] = CudaGraph(run, inputs) if inputs[0].is_cuda else run

    def _traced(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        mel, noise, position, length, *state = inputs
        after = StreamState(state)
        audio = self(mel, noise, StreamPosition(position, length, traced=True), after)
        return [audio, *after.new]


def apart(method: Any) -> Run:
    """A method with a code object of its own.

    `torch.compile` counts by code object how often it has compiled, whatever the model and the size, and from the ninth
    time on it silently runs things as they are.
    """
    function = method.__func__
    code = function.__code__.replace(co_name=f"{function.__name__}_{next(_NUMBERS)}")
    copy = types.FunctionType(
        code, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    run: Run = types.MethodType(copy, method.__self__)
    return run


class CudaGraph:
    """A function of tensors of fixed shapes, recorded once and replayed: one launch instead of hundreds.

    Args:
        pool: memory that it shares with others, of which one is replayed at a time (`torch.cuda.graph_pool_handle`).

    Raises:
        RuntimeError: the function does what cannot be recorded.
    """

    def __init__(self, run: Run, example: Sequence[Tensor], pool: Any = None):
        self._inputs, self._turn = [tensor.clone() for tensor in example], threading.Lock()
        side = torch.cuda.Stream()  # recording wants kernels compiled and caches filled before, on another stream
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                run(self._inputs)
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        # The stream of its own, since PyTorch's is of the first device that anything was recorded on. Other threads may
        # do meanwhile what this one must not.
        with torch.cuda.graph(self._graph, pool=pool, stream=side, capture_error_mode="thread_local"):
            self._outputs = run(self._inputs)

    def __call__(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        with self._turn:  # threads share inputs and outputs
            torch._foreach_copy_(self._inputs, list(inputs))
            self._graph.replay()
            return [tensor.clone() for tensor in self._outputs]  # the next replay writes over them
