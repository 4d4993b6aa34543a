"""Progress bars on standard error, shown only on a terminal."""

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def progress(items: Iterable[T], what: str, unit: str, total: int | None = None) -> Iterator[T]:
    """Iterate with a bar; silent when standard error is no terminal. `total` for items that have no length."""
    from tqdm import tqdm

    yield from tqdm(
        items, desc=what, unit=unit, total=total, leave=False, disable=not sys.stderr.isatty(), dynamic_ncols=True
    )


@contextlib.contextmanager
def progress_bytes(what: str, total: int | None, done: int = 0) -> Iterator[Callable[[int], object]]:
    """A bar in bytes; call what it gives with the bytes that came. `total` may be unknown."""
    from tqdm import tqdm

    with tqdm(
        desc=what, total=total, initial=done, unit="B", unit_scale=True, unit_divisor=1024,
        leave=False, disable=not sys.stderr.isatty(), dynamic_ncols=True,
    ) as bar:  # fmt: skip
        yield bar.update
