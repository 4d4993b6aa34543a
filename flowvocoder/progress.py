"""Progress on standard error: a bar on a terminal, and elsewhere a line a minute."""

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

EVERY = 60.0
"""Seconds between two lines."""


def progress(items: Iterable[T], what: str, unit: str, total: int | None = None) -> Iterator[T]:
    """Iterate, and show how far it is. `total` for items that have no length."""
    from tqdm import tqdm

    yield from tqdm(items, desc=what, unit=unit, total=total, leave=False, **_place())


@contextlib.contextmanager
def progress_bytes(what: str, total: int | None, done: int = 0) -> Iterator[Callable[[int], object]]:
    """The same in bytes; call what it gives with the bytes that came. `total` may be unknown."""
    from tqdm import tqdm

    with tqdm(
        desc=what, total=total, initial=done, unit="B", unit_scale=True, unit_divisor=1024, leave=False, **_place()
    ) as bar:
        yield bar.update


def say(text: str) -> None:
    """A line on standard error, above what shows progress there; windowed programs have none."""
    from tqdm import tqdm

    if sys.stderr is not None:
        tqdm.write(text, file=sys.stderr)
        sys.stderr.flush()


def is_terminal() -> bool:
    """Whether standard error is one. Windowed programs have none at all."""
    return sys.stderr is not None and sys.stderr.isatty()


def _place() -> dict[str, Any]:
    if is_terminal():
        return {"dynamic_ncols": True}
    form = "{desc}: {n_fmt} of {total_fmt} in {elapsed}, {remaining} left"
    return {"file": _Lines(), "bar_format": form, "mininterval": EVERY, "miniters": 1, "delay": EVERY}


class _Lines:
    """What tqdm overwrites on a terminal, line after line."""

    def write(self, text: str) -> None:
        if text.strip() and sys.stderr is not None:
            print(text.strip(), file=sys.stderr, flush=True)

    def flush(self) -> None:
        """Each line is flushed."""
