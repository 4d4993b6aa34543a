"""Requests in the order in which they came, so many at a time, and those that go together in one go."""

import asyncio
import collections
import dataclasses
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor
from typing import Any

Alive = Callable[[], bool]
"""Whether somebody still waits for the result; asked while the work goes on, from its thread."""

Work = Callable[[list[Any], Alive], Sequence[Any]]
"""From what several requests gave to a result or an exception for each."""


class Abandoned(Exception):
    """Nobody waits any more."""


@dataclasses.dataclass(eq=False)
class Ticket:
    """One request that waits.

    Attributes:
        key: requests of the same key, which is not None, may be worked on together.
        given: its argument of `work`.
    """

    key: Hashable
    work: Work
    given: Any
    result: "asyncio.Future[Any]"


class Queue:
    """Work for an executor.

    Args:
        executor: whose threads work.
        workers: tickets, or batches of them, at a time.
        batch: tickets that are worked on together at most.
        taken: told how many those were.
    """

    def __init__(self, executor: Executor, workers: int, batch: int, taken: Callable[[int], object]):
        self._executor, self._free, self._batch, self._taken = executor, workers, batch, taken
        self._waiting: collections.deque[Ticket] = collections.deque()
        self._running: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._waiting)

    async def run(self, work: Work, given: Any, key: Hashable = None) -> Any:
        """The result for this request. Raises what the work raised or returned for it. May be cancelled."""
        ticket = Ticket(key, work, given, asyncio.get_running_loop().create_future())
        self._waiting.append(ticket)
        self._start()
        return await ticket.result

    def _start(self) -> None:
        while self._free and (batch := self._next()):
            self._free -= 1
            task = asyncio.create_task(self._carry_out(batch))
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        self._free += 1
        self._start()

    def _next(self) -> list[Ticket]:
        """The first that still waits, and those after it that go with it."""
        self._waiting = collections.deque(ticket for ticket in self._waiting if not ticket.result.done())
        if not self._waiting:
            return []
        first = self._waiting[0]
        together = [ticket for ticket in self._waiting if ticket.key == first.key] if first.key is not None else [first]
        batch = together[: self._batch]
        for ticket in batch:
            self._waiting.remove(ticket)
        return batch

    async def _carry_out(self, batch: list[Ticket]) -> None:
        if batch[0].key is not None:
            self._taken(len(batch))
        given = [ticket.given for ticket in batch]

        def alive() -> bool:
            return any(not ticket.result.done() for ticket in batch)

        try:
            loop = asyncio.get_running_loop()
            results = await loop.run_in_executor(self._executor, batch[0].work, given, alive)
        except Exception as error:
            results = [error] * len(batch)
        for ticket, result in zip(batch, results, strict=True):
            if ticket.result.done():
                continue
            if isinstance(result, Exception):
                ticket.result.set_exception(result)
            else:
                ticket.result.set_result(result)
