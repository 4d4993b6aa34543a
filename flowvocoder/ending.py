"""What has to happen before a process ends, also when SIGTERM ends it.

`docker stop`, kubectl and batch systems send SIGTERM, and SIGKILL some seconds later. The handler itself carries out
what is due. It raises no exception: one that is raised in a callback from C is lost.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

_DUE: dict[object, Callable[[], object]] = {}


@contextlib.contextmanager
def surely(action: Callable[[], object]) -> Iterator[None]:
    """Carries out `action` at the end of the block, or in `leave` if the process ends within it."""
    key = object()
    _DUE[key] = action
    try:
        yield
    finally:
        action()
        del _DUE[key]


def leave(code: int) -> NoReturn:
    """End the process at once, from any thread, after what is due: the latest first."""
    for action in reversed(list(_DUE.values())):
        with contextlib.suppress(Exception):
            action()
    os._exit(code)


def leave_at_signals() -> list[int]:
    """From now on, SIGTERM and SIGHUP end the process by `leave` with 128 + their number, as a shell reports them.

    A signal that somebody ignores (nohup) or handles stays so. Returns the others.
    """
    if threading.current_thread() is not threading.main_thread():  # which alone may set handlers
        return []
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    ours = [number for number in numbers if signal.getsignal(number) == signal.SIG_DFL]
    for number in ours:
        signal.signal(number, _leave)
    return ours


@contextlib.contextmanager
def leaving_at_signals() -> Iterator[None]:
    """The same within a block."""
    ours = leave_at_signals()
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    leave(128 + number)
