"""Work spread over processes, results in order, never more in flight than the processes need."""

import collections
import contextlib
import dataclasses
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from typing import Generic, Self, TypeVar

from flowvocoder.ending import leave, leave_at_signals, surely
from flowvocoder.errors import ConfigError

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_JOBS = 1024

PATIENCE = 2.0
"""Seconds that a process has to clear up."""


@dataclasses.dataclass(frozen=True)
class Crashed(Generic[Item]):
    """In place of a result: the process that worked on `item` died twice, the second time with nothing else in it."""

    item: Item


def usable_cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_jobs(jobs: int) -> int:
    """`jobs` itself, or all usable cores for 0. Raises ConfigError for what is no number of processes."""
    if not 0 <= jobs <= MOST_JOBS:
        raise ConfigError(f"--jobs must be from 1 to {MOST_JOBS} (0: one for each core), not {jobs}")
    return jobs or usable_cores()


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], jobs: int, ahead: int = 4
) -> Iterator[Result | Crashed[Item]]:
    """`function` of each item, in order, computed by `jobs` processes (by this one if 1).

    Items are taken as they are needed, at most `ahead` for each process, so memory does not grow with their number. A
    process that dies (a decoder's crash, out of memory) costs only its own item, which gives `Crashed`; an exception
    is raised here.
    """
    if jobs == 1:
        yield from map(function, items)
        return
    with _Workers(function, jobs) as workers, surely(workers.stop):
        for item in items:
            workers.give(item)
            if len(workers.waiting) >= ahead * jobs:
                yield workers.take()
        while workers.waiting:
            yield workers.take()


class _Workers(Generic[Item, Result]):
    """A pool of processes that is replaced when one of them dies, and what it works on, oldest first."""

    def __init__(self, function: Callable[[Item], Result], jobs: int):
        self.function, self.jobs = function, jobs
        self.pool = _Pool(jobs)
        self.waiting: collections.deque[tuple[Item, Future[Result]]] = collections.deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.pool.shutdown(wait=True, cancel_futures=True)

    def stop(self) -> None:
        """End the processes at once, whatever they are at; what they have not finished is not left behind."""
        processes = list((self.pool._processes or {}).values())  # no public name before Python 3.14
        self.pool.alive.close()
        for process in processes:
            process.join(PATIENCE)

    def give(self, item: Item) -> None:
        self.waiting.append((item, self._submit(item)))

    def take(self) -> Result | Crashed[Item]:
        item, future = self.waiting.popleft()
        try:
            return future.result()
        except BrokenProcessPool:
            self.pool.shutdown(wait=True)
        # Any item in flight may be to blame: the oldest is looked at alone, the others start again.
        result = self._alone(item)
        self.pool = _Pool(self.jobs)
        for _ in range(len(self.waiting)):
            other, old = self.waiting.popleft()
            self.waiting.append((other, self._submit(other) if _is_lost(old) else old))
        return result

    def _alone(self, item: Item) -> Result | Crashed[Item]:
        with _Pool(1) as pool:
            try:
                return pool.submit(self.function, item).result()
            except BrokenProcessPool:
                return Crashed(item)

    def _submit(self, item: Item) -> "Future[Result]":
        try:
            return self.pool.submit(self.function, item)
        except BrokenProcessPool as error:  # it broke since the last look; seen when the result is asked for
            failed: Future[Result] = Future()
            failed.set_exception(error)
            return failed


def _is_lost(future: "Future[Result]") -> bool:
    return not future.done() or isinstance(future.exception(), BrokenProcessPool)


class _Pool(ProcessPoolExecutor):
    """Processes that end as soon as `alive` is closed, or this process is no more."""

    def __init__(self, jobs: int):
        # Not fork: a library's threads in this process would leave locks behind that nobody opens.
        context = multiprocessing.get_context("spawn")
        theirs, self.alive = context.Pipe(duplex=False)
        super().__init__(jobs, mp_context=context, initializer=_begin, initargs=(theirs,))


def _begin(alive: Connection) -> None:
    """A worker leaves Ctrl-C to its parent and ends with it, also when the parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    leave_at_signals()
    threading.Thread(target=_end_with_parent, args=(alive,), daemon=True).start()


def _end_with_parent(alive: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        alive.recv()  # until the other end is closed: nothing is ever sent
    leave(1)
