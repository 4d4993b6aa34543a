"""Files shared among processes: what --threads means where there are several."""

import argparse
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from flowvocoder.cli.common import check_threads
from flowvocoder.parallel import Crashed, ordered_map

Item = TypeVar("Item")
Result = TypeVar("Result")

Start: TypeAlias = Callable[[argparse.Namespace], Callable[[Item], Result]]
"""Makes ready, and gives what works on an item. Other processes import it: a function of a module."""


def each(
    arguments: argparse.Namespace, start: Start[Item, Result], items: Sequence[Item], inputs: Sequence[Path]
) -> Iterator[Result | str]:
    """What `start(arguments)` gives of each item, in order; a sentence where the process died twice over its input.

    On a CPU, --threads is the number of processes that share the items, each on one thread. Results are those of one
    process, and no operation waits for another.
    """
    processes = min(check_threads(arguments), len(items))
    if processes == 1 or arguments.device != "cpu":
        yield from map(start(arguments), items)
        return
    alone = argparse.Namespace(**{**vars(arguments), "threads": 1})
    results = ordered_map(functools.partial(_in_process, start, alone), items, processes)
    for path, result in zip(inputs, results, strict=True):
        yield f"{path}: needs more memory than there is" if isinstance(result, Crashed) else result


_STARTED: list[Callable[[Any], Any]] = []


def _in_process(start: Start[Item, Result], arguments: argparse.Namespace, item: Item) -> Result:
    """In a process of `each`, which starts once for all of its items."""
    if not _STARTED:
        _STARTED.append(start(arguments))
    result: Result = _STARTED[0](item)
    return result
