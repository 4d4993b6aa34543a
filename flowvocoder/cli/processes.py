"""Files shared among processes: what --threads means where there are several, and --cluster."""

import argparse
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from flowvocoder.cli.common import check_threads
from flowvocoder.cluster import cluster_map, in_order
from flowvocoder.parallel import Crashed, ordered_map

Item = TypeVar("Item")
Result = TypeVar("Result")

Start: TypeAlias = Callable[[argparse.Namespace], Callable[[Item], Result]]
"""Makes ready, and gives what works on an item. Other processes import it: a function of a module."""


def each(
    arguments: argparse.Namespace, start: Start[Item, Result], items: Sequence[Item], inputs: Sequence[Path]
) -> Iterator[Result | str]:
    """What `start(arguments)` gives of each item, in order; a sentence where the process died twice over its input.

    On a CPU, --threads is the number of processes that share the items, each on one thread. With --cluster, they are
    the workers of a Ray cluster. Results are those of one process, and no operation waits for another.

    Raises:
        ConfigError: Ray is not installed, or there is no cluster at the address.
    """
    threads, on_gpu = check_threads(arguments), arguments.device != "cpu"
    address = getattr(arguments, "cluster", None)
    alone = argparse.Namespace(**{**vars(arguments), "threads": 1, "cluster": None})
    work = functools.partial(_in_process, start, alone)
    processes = min(threads, len(items))
    if address is not None:
        results: Iterator[Result | Crashed[Item]] = in_order(cluster_map(work, items, address, threads, on_gpu))
    elif processes == 1 or on_gpu:
        results = map(start(arguments), items)
    else:
        results = ordered_map(work, items, processes)
    for path, result in zip(inputs, results, strict=True):
        yield f"{path}: needs more memory than there is" if isinstance(result, Crashed) else result


_STARTED: list[tuple[argparse.Namespace, Callable[[Any], Any]]] = []


def _in_process(start: Start[Item, Result], arguments: argparse.Namespace, item: Item) -> Result:
    """In a process of `each`, which starts once for all of its items."""
    if not _STARTED or _STARTED[0][0] != arguments:
        _STARTED[:] = [(arguments, start(arguments))]
    result: Result = _STARTED[0][1](item)
    return result
