"""Whole syntheses of a size that comes back, each recorded once as a CUDA graph and replayed."""

import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from flowvocoder.flows.streaming import StreamPosition, StreamState
from flowvocoder.postfilter.stages import Stages
from flowvocoder.streaming.flow import FlowStep
from flowvocoder.streaming.graphs import CudaGraph, Run
from flowvocoder.units import ceil_div

MOST = 8
"""Recordings that are kept; the one that was not used for longest goes. All share one pool of memory."""

REMEMBERED = 256
"""Sizes that are known to have come once."""


def on_grid(number: int) -> int:
    """The next one that sizes are rounded up to: eight an octave, at most an eighth too much.

    >>> [on_grid(number) for number in (1, 16, 17, 862, 1024, 1025)]
    [1, 16, 18, 896, 1024, 1152]
    """
    step = 1 << max(0, (number - 1).bit_length() - 4)
    return ceil_div(number, step) * step


def whole(step: FlowStep, stages: Callable[[Tensor], Stages]) -> Run:
    """Synthesis of padded mels as a function of tensors alone.

    A CUDA graph replays kernels, whatever the values. So nothing here reads a number back, branches on one, or copies
    one to the device, and there are no tensors whose shape depends on values.

    Args:
        stages: the post-filter, given lengths (B,).

    Shape:
        of the function: [mel (B, n_mels, F), noise (B, F * rate, M), lengths (B,) in frames] ->
        [audio (B, F * hop_length)], after the end of each item zeros
    """

    def run(inputs: Sequence[Tensor]) -> list[Tensor]:
        mel, noise, lengths = inputs
        later = ceil_div(step.delay, step.rate)  # frames, until all audio is out
        frames = F.pad(mel.transpose(1, 2), (0, 0, 0, later))
        blocks = F.pad(noise, (0, 0, 0, later * step.rate))
        audio: Tensor = step(frames, blocks, StreamPosition(0, lengths, traced=True), StreamState())
        first = step.delay * step.block
        audio = audio[:, first : first + mel.shape[2] * step.rate * step.block]
        return [stages(lengths).push(mel, audio, ends=True)]

    return run


def padded(mel: Tensor, noise: Tensor, lengths: Tensor | None, items: int, frames: int) -> list[Tensor]:
    """What `whole` takes, of so many items and frames: further ones are one frame of zeros long.

    Shape:
        mel: (B, n_mels, F), noise: (B, F * rate, M), lengths: (B,); None: F each
    """
    more, rate = items - len(mel), noise.shape[1] // mel.shape[2]
    if lengths is None:
        lengths = torch.full((len(mel),), mel.shape[2], device=mel.device)
    longer = frames - mel.shape[2]
    return [
        F.pad(mel, (0, longer, 0, 0, 0, more)),
        F.pad(noise, (0, 0, 0, longer * rate, 0, more)),
        F.pad(lengths, (0, more), value=1),
    ]


class Recordings:
    """Records what comes a second time, and replays it from then on. Threads take turns.

    Args:
        record: makes what stands for a function of tensors of fixed shapes, given tensors of these shapes. Its results
            belong to who calls it. None: `CudaGraphs`.
    """

    def __init__(self, record: Callable[[Run, Sequence[Tensor]], Run] | None = None):
        self._record = record or CudaGraphs().record
        self._turn = threading.Lock()
        self._met: OrderedDict[Hashable, None] = OrderedDict()
        self._made: OrderedDict[Hashable, Run] = OrderedDict()
        self._failed = False

    def find(self, key: Hashable, function: Run, example: Callable[[], Sequence[Tensor]]) -> Run | None:
        """What runs a function: itself where its key comes the first time, then a recording; None if there can be none.

        Warns (RuntimeWarning) of the first recording that fails. None is tried after it: what a driver refuses once,
        it refuses again.

        Args:
            key: says what is computed, and the shapes.
            example: makes tensors of these shapes; their values do not matter.
        """
        with self._turn:
            if key not in self._made:
                if not self._failed and key not in self._met:
                    self._remember(key)
                    return function
                if self._failed or not self._make(key, function, example):
                    return None
            self._made.move_to_end(key)
            recorded = self._made[key]

        def replay(inputs: Sequence[Tensor]) -> list[Tensor]:
            with self._turn:  # recordings share memory
                return recorded(inputs)

        return replay

    def _remember(self, key: Hashable) -> None:
        self._met[key] = None
        if len(self._met) > REMEMBERED:
            self._met.popitem(last=False)

    def _make(self, key: Hashable, function: Run, example: Callable[[], Sequence[Tensor]]) -> bool:
        """Whether it is there now."""
        if len(self._made) == MOST:
            self._made.popitem(last=False)
        try:
            self._made[key] = self._record(function, example())
        except RuntimeError as error:
            self._failed = True
            reason = str(error).strip().partition("\n")[0]
            message = f"synthesis cannot be recorded as a CUDA graph, and runs without one: {reason}"
            warnings.warn(message, RuntimeWarning, stacklevel=2)
            return False
        return True


class CudaGraphs:
    """Makes CUDA graphs that share one pool of memory, for whoever sees to it that one is replayed at a time."""

    def __init__(self) -> None:
        self._pool: Any = None
        self._last: torch.cuda.Event | None = None  # the end of the last replay

    def record(self, function: Run, example: Sequence[Tensor]) -> Run:
        """A graph. Raises RuntimeError where the function does what cannot be recorded, or memory is short."""
        with torch.cuda.device(example[0].device):
            self._pool = self._pool or torch.cuda.graph_pool_handle()
            graph = CudaGraph(function, example, self._pool)

        def replay(inputs: Sequence[Tensor]) -> list[Tensor]:
            stream = torch.cuda.current_stream(inputs[0].device)
            if self._last is not None:  # it may have been on another stream, which nothing else waits for
                stream.wait_event(self._last)
            results = graph(inputs)
            self._last = stream.record_event()
            return results

        return replay
