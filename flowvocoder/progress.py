"""Progress bars, on standard error and only where a person watches or asked for lines."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def progress(items: Iterable[T], what: str, unit: str, total: int | None = None) -> Iterator[T]:
    """Iterate with a bar; silent when standard error is no terminal. `total` for items that have no length."""
    from tqdm import tqdm

    yield from tqdm(
        items, desc=what, unit=unit, total=total, leave=False, disable=not sys.stderr.isatty(), dynamic_ncols=True
    )
