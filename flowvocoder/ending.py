"""What has to happen before a process ends, also when SIGTERM ends it.

`docker stop`, kubectl and batch systems send SIGTERM, and SIGKILL some seconds later. The handler itself carries out
what is due. It raises no exception: one that is raised in a callback from C is lost.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

_DUE: dict[object, Callable[[], object]] = {}
_UNDISTURBED: set[int] = set()
"""Threads within such a block."""
_LEAVING: set[int] = set()
"""Threads that end the process."""
_POSTPONED: list[int] = []
"""Exit codes."""

PATIENCE = 2.0
"""Seconds that other threads have to come to the end of undisturbed blocks."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_UNDISTURBED.clear)  # other threads do not live on there
    os.register_at_fork(after_in_child=_LEAVING.clear)


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


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """A short block in which the process does not end: something is made there, and its removal becomes due."""
    _UNDISTURBED.add(thread := threading.get_ident())
    while _LEAVING - {thread}:
        _UNDISTURBED.discard(thread)
        time.sleep(1.0)
    try:
        yield
    finally:
        _UNDISTURBED.discard(thread)
        if _POSTPONED:
            leave(_POSTPONED[0])


def leave(code: int) -> None:
    """End the process at once, from any thread, after what is due: the latest first.

    Returns only within an undisturbed block of this thread, whose end is the process's.
    """
    if threading.get_ident() in _UNDISTURBED:
        _POSTPONED.append(code)
        return
    _LEAVING.add(threading.get_ident())
    deadline = time.monotonic() + PATIENCE
    while _UNDISTURBED and time.monotonic() < deadline:
        time.sleep(0.001)
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


def _leave(number: int, frame: FrameType | None) -> None:
    leave(128 + number)
