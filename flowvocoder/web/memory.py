"""Memory of a server that many threads pass through."""

import contextlib
import ctypes

_ARENA_MAX, _MMAP_THRESHOLD = -8, -3  # names of glibc's mallopt(3)


def give_back_freed_memory() -> None:
    """Make glibc return large blocks to the system when they are freed; on other systems nothing.

    By default each new thread may get an arena of its own, which keeps what it once held. Every large block that is
    freed also raises the size from which blocks are returned. A server's memory then grows for hours.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(_ARENA_MAX, 2)
        mallopt(_MMAP_THRESHOLD, 1 << 20)
