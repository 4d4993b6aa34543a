"""How many CPU threads an operation gets: one, unless more are asked for.

A flow is thousands of small operations. On two threads each would wait for the slower one, and where other programs
run, that one often waits for a core: PyTorch's choice is then many times slower than one thread.
"""

import _thread
import contextlib
from collections.abc import Iterator

import torch

_number = 1


def set_threads(number: int) -> None:
    """Threads of each operation from now on, of this package's methods as of PyTorch."""
    global _number
    _number = number
    torch.set_num_threads(number)


def number_of_threads() -> int:
    """That of `set_threads`."""
    return _number


@contextlib.contextmanager
def own_threads(number: int | None = None) -> Iterator[None]:
    """Within the block, operations of this thread get so many threads (None: those of `set_threads`).

    The caller's number is there again afterwards. Other threads keep theirs.
    """
    before, number = torch.get_num_threads(), number or _number
    if before == number:
        yield
        return
    # PyTorch keeps a number for each thread, and the last one that anybody set for threads to come. The latter must
    # remain the caller's, and only another thread can say so. Nobody waits for it.
    inside = [before]
    torch.set_num_threads(number)
    _thread.start_new_thread(_restore_for_threads_to_come, (inside,))
    try:
        yield
    finally:
        inside.clear()
        torch.set_num_threads(before)


def _restore_for_threads_to_come(inside: list[int]) -> None:
    for number in inside:
        torch.set_num_threads(number)
