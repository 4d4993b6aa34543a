"""The order in which tests begin: no process of a run is left alone with a long one at its end."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import pytest


def arranged(items: Sequence[pytest.Item], served: Callable[[pytest.Item], bool]) -> list[pytest.Item]:
    """Tests in the shares of the run's processes, which `--dist worksteal` cuts from one list and ends last.

    The first begins with those that are served, so that no other process needs a server and a browser as well. The
    others begin with the files that hold a `long` test: whole files, whose tests may share fixtures.
    """
    demo = [item for item in items if served(item)]
    others = [item for item in items if not served(item)]
    files = sorted({item.path for item in others if item.get_closest_marker("long")})
    firsts = [demo, *([] for _ in range(_processes(items) - 1))]
    rest: list[pytest.Item] = []
    for item in others:
        if item.path in files:
            firsts[1 + files.index(item.path) % (len(firsts) - 1) if len(firsts) > 1 else 0].append(item)
        else:
            rest.append(item)
    return list(_dealt(firsts, rest))


def _processes(items: Sequence[pytest.Item]) -> int:
    """Of the run; 1 without xdist."""
    given = getattr(items[0].config, "workerinput", {}) if items else {}
    return int(given.get("workercount", 1))


def _dealt(firsts: list[list[pytest.Item]], rest: Sequence[pytest.Item]) -> Iterator[pytest.Item]:
    """Equal shares one after the other, each of which begins with its own of `firsts`."""
    left, others = len(rest) + sum(map(len, firsts)), iter(rest)
    for place, first in enumerate(firsts):
        share = max(len(first), left // (len(firsts) - place))
        yield from first
        yield from islice(others, share - len(first))
        left -= share
    yield from others
