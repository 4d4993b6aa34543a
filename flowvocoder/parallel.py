"""Work spread over processes, results in order, never more in flight than the processes need."""

import collections
import dataclasses
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Generic, TypeVar

from flowvocoder.errors import ConfigError

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_JOBS = 1024


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
    waiting: collections.deque[tuple[Item, Future[Result]]] = collections.deque()
    pool = _pool(jobs)
    try:
        for item in items:
            waiting.append((item, _submit(pool, function, item)))
            if len(waiting) >= ahead * jobs:
                result, pool = _next(waiting, pool, function, jobs)
                yield result
        while waiting:
            result, pool = _next(waiting, pool, function, jobs)
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def alone(function: Callable[[Item], Result], item: Item) -> Result | Crashed[Item]:
    """`function(item)` in a process of its own, which may die."""
    with _pool(1) as pool:
        try:
            return _submit(pool, function, item).result()
        except BrokenProcessPool:
            return Crashed(item)


def _next(
    waiting: collections.deque[tuple[Item, Future[Result]]],
    pool: ProcessPoolExecutor,
    function: Callable[[Item], Result],
    jobs: int,
) -> tuple[Result | Crashed[Item], ProcessPoolExecutor]:
    """The oldest result, and the pool to go on with: a new one if a process of it died."""
    item, future = waiting.popleft()
    try:
        return future.result(), pool
    except BrokenProcessPool:
        pool.shutdown(wait=True)
    # Any item in flight may be to blame, and the oldest is looked at alone; the others start again.
    result = alone(function, item)
    pool = _pool(jobs)
    again = [(other, old if _has_result(old) else _submit(pool, function, other)) for other, old in waiting]
    waiting.clear()
    waiting.extend(again)
    return result, pool


def _has_result(future: "Future[Result]") -> bool:
    return future.done() and not isinstance(future.exception(), BrokenProcessPool)


def _submit(pool: ProcessPoolExecutor, function: Callable[[Item], Result], item: Item) -> "Future[Result]":
    try:
        return pool.submit(function, item)
    except BrokenProcessPool as error:  # it broke since the last look; seen when the result is asked for
        failed: Future[Result] = Future()
        failed.set_exception(error)
        return failed


def _pool(jobs: int) -> ProcessPoolExecutor:
    # Not fork: a library's threads in this process would leave locks behind that nobody opens.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin)


def _begin() -> None:
    """A worker leaves Ctrl-C to its parent and ends with it, also when the parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
