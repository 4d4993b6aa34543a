"""A whole mel, piece after piece, or several pieces at a time."""

import collections
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from flowvocoder.flows.streaming import StreamPosition, StreamState
from flowvocoder.inference import own_precision
from flowvocoder.postfilter.stages import Stages
from flowvocoder.streaming.flow import FlowStep
from flowvocoder.streaming.session import Piece, Session
from flowvocoder.threads import number_of_threads

CHUNK = 1024
"""Frames of all items together that go through the layers at once where the whole mel is there: 12 s at 22 050 Hz. It
bounds the memory that synthesis needs, whatever the length. Every piece costs each iteration some operations more."""

CHUNK_ON_GPU = 2**16
"""The same on a GPU, where starting an operation takes longer than a few frames in it: of a batch of 64, 12 s each. A
context of 272 channels takes 71 MB then."""


def pieces(
    step: FlowStep,
    mel: Tensor,
    noise: Callable[[int], Tensor],
    length: Tensor | None = None,
    postfilter: Stages | None = None,
    for_flow: Callable[[Tensor], Tensor] | None = None,
) -> Iterator[Tensor]:
    """Audio of a whole mel, piece after piece, in memory that does not grow with its length.

    On a CPU, as many pieces at a time as `set_threads` says, each on one thread; the audio is the same, bit for bit.

    Args:
        for_flow: as in `Session`.

    Shape:
        mel: (B, n_mels, F); length: (B,) frames of each item -> (B, T), F * hop_length samples together
    """
    session = Session(step, noise, postfilter, for_flow)
    size = frames_at_once(len(mel), mel.device.type)
    parts = mel.transpose(1, 2).split(size, 1)
    cut = (session.next_piece(part, length, ends=part is parts[-1]) for part in parts)
    workers = min(number_of_threads(), len(parts)) if mel.device.type == "cpu" and type(step) is FlowStep else 1
    yield from map(session.run, cut) if workers == 1 else _side_by_side(session, cut, workers)


def frames_at_once(items: int, device: str) -> int:
    """Frames of each item of a batch that go through the layers together."""
    return max(1, (CHUNK if device == "cpu" else CHUNK_ON_GPU) // items)


def _side_by_side(session: Session, cut: Iterable[Piece], workers: int) -> Iterator[Tensor]:
    """Every layer of a piece waits only for what the same layer leaves of the piece before.

    While it does, a piece that has been begun beyond `workers` goes on: guided iterations of every second piece take as
    long as all of its other layers.
    """
    waiting: collections.deque[Future[Tensor]] = collections.deque()
    before, free, begun = None, threading.Semaphore(workers), 2 * workers
    with ThreadPoolExecutor(begun, "synthesis") as pool:  # starts pieces in order: who waits, waits for one that runs
        for piece in cut:
            before, last = Handover(free), before
            waiting.append(pool.submit(_run, session, piece, last, before))
            if len(waiting) > begun:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _run(session: Session, piece: Piece, before: "Handover | None", after: "Handover") -> Tensor:
    """As `Session.run`, with what comes from the piece before and goes to the one after."""
    mel = piece.mel.transpose(1, 2)
    with after, torch.inference_mode(), own_precision(mel.device, 1):
        position = StreamPosition(piece.start, piece.length)
        audio: Tensor = session.step(piece.padded, piece.noise, position, HandoverState(before, after))
        audio = audio[:, piece.samples]
        for stage in session.postfilter.stages:
            if before is not None:
                before.take()
            audio = stage.push(mel, audio, piece.ends)
            after.give(None)
    return audio


class Handover:
    """What a piece leaves for the next one, in the order in which both come to it.

    Args:
        free: how many more pieces may be worked on now. Whoever works has acquired it, but not who waits.
    """

    _FAILED = object()

    def __init__(self, free: threading.Semaphore):
        self._free = free
        self._left: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def give(self, left: Tensor | None) -> None:
        """Leave something: a tensor, or word that a stage is done."""
        self._left.put(left)

    def take(self) -> Any:
        """The next thing, as soon as it is there. Raises RuntimeError if the piece before has failed."""
        if self._left.empty():
            self._free.release()
            left = self._left.get()
            self._free.acquire()
        else:
            left = self._left.get()
        if left is self._FAILED:
            raise RuntimeError("the piece before has failed")
        return left

    def __enter__(self) -> None:
        self._free.acquire()

    def __exit__(self, kind: object, *error: object) -> None:
        self._free.release()
        if kind is not None:
            self._left.put(self._FAILED)


class HandoverState(StreamState):
    """The state of a step whose piece before is still being made."""

    def __init__(self, before: Handover | None, after: Handover):
        super().__init__()
        self._before, self._after = before, after

    def past(self, like: Tensor, count: int) -> Tensor:
        return super().past(like, count) if self._before is None else self._before.take()

    def keep(self, columns: Tensor) -> None:
        self._after.give(columns)


def from_tensor(noise: Tensor, rate: int) -> Callable[[int], Tensor]:
    """Noise (B, M, N) that is there already as a source of it, frame after frame; zeros after its end."""
    position = 0

    def take(frames: int) -> Tensor:
        nonlocal position
        now = noise[..., position : position + frames * rate]
        position += frames * rate
        return F.pad(now, (0, frames * rate - now.shape[-1])).transpose(1, 2)

    return take
