"""Files and folders while they are made: under a hidden name beside their own, locked by the process that makes them.

The lock tells what is still being written from what a killed process left. The next writing of the same file or folder
removes the latter. Systems without `flock` have no such lock: nothing is removed there.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from flowvocoder.ending import surely, undisturbed

NO_LOCK = -1
"""In place of a handle, where the system or the file system has no locks."""

_LONGEST = 200  # bytes of a name that are kept; file systems allow 255


@contextlib.contextmanager
def unfinished(path: Path, folder: bool = False) -> Iterator[Path]:
    """A new file or folder under a hidden name beside `path`; gone after the block, unless it was renamed."""
    with contextlib.ExitStack() as due:
        with undisturbed():
            temporary, handle = _claim(path, folder)
            due.enter_context(surely(partial(_drop, temporary, handle)))
        yield temporary


@contextlib.contextmanager
def scratch(name: str) -> Iterator[Path]:
    """A folder of our own where the system keeps temporary files; gone after the block, as are those of killed ones."""
    start = f"flowvocoder-{name}-"
    for left in Path(tempfile.gettempdir()).glob(f"{start}*"):
        sweep(left)
    with contextlib.ExitStack() as due:
        with undisturbed():
            while (handle := _locked(folder := Path(tempfile.mkdtemp(prefix=start)))) is None:
                pass
            due.enter_context(surely(partial(_drop, folder, handle)))
        yield folder


def is_being_written(path: Path) -> bool:
    """Whether a process is at it now."""
    try:
        release(hold(_hidden(path, 0)))
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def hold(place: Path) -> int:
    """Lock a file or folder, and return the open handle that keeps the lock.

    Raises:
        BlockingIOError: another process, or another handle of this one, has it.
        OSError: it is not there, or a link.
    """
    try:
        from fcntl import LOCK_EX, LOCK_NB, flock
    except ImportError:  # Windows
        return NO_LOCK
    handle = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        flock(handle, LOCK_EX | LOCK_NB)
    except OSError as error:
        os.close(handle)
        if isinstance(error, BlockingIOError):
            raise
        return NO_LOCK
    return handle


@contextlib.contextmanager
def alone(place: Path) -> Iterator[None]:
    """A block that processes which name the same file enter one after the other. Without `flock` none waits."""
    handle = os.open(place, os.O_RDONLY)
    try:
        with contextlib.suppress(ImportError, OSError):
            from fcntl import LOCK_EX, flock

            flock(handle, LOCK_EX)
        yield
    finally:
        os.close(handle)


def sweep(left: Path) -> None:
    """Remove what is there, if no process holds it and we may."""
    with contextlib.suppress(OSError):
        handle = hold(left)
        if handle != NO_LOCK:
            _drop(left, handle)


def sweep_unfinished(path: Path) -> None:
    """Remove what a killed process left of this file or folder."""
    sweep(_hidden(path, 0))


def _claim(path: Path, folder: bool) -> tuple[Path, int]:
    number = 0
    while (handle := _make(temporary := _hidden(path, number), folder)) is None:
        number += 1
    return temporary, handle


def _make(temporary: Path, folder: bool) -> int | None:
    """Make and lock it; None where somebody else is writing there."""
    sweep(temporary)
    try:
        temporary.mkdir() if folder else temporary.touch(exist_ok=False)
    except FileExistsError:
        return None
    return _locked(temporary)


def _locked(made: Path) -> int | None:
    """Lock what was just made; None where somebody swept it before it was locked."""
    try:
        handle = hold(made)
    except (BlockingIOError, FileNotFoundError):
        return None
    if _is_there(made, handle):
        return handle
    release(handle)
    return None


def _hidden(path: Path, number: int) -> Path:
    stem = os.fsencode(path.stem)[:_LONGEST].decode(errors="ignore")
    return path.with_name(f".{stem}.{number}.unfinished{path.suffix}")


def _drop(place: Path, handle: int) -> None:
    """Remove it, unless it was renamed and something else is there by now, and let go of it."""
    if _is_there(place, handle):
        if place.is_dir():
            shutil.rmtree(place, ignore_errors=True)
        else:
            place.unlink(missing_ok=True)
    release(handle)


def _is_there(place: Path, handle: int) -> bool:
    return place.exists() and (handle == NO_LOCK or os.path.samestat(os.fstat(handle), place.stat()))


def release(handle: int) -> None:
    """Give up a lock."""
    if handle != NO_LOCK:
        os.close(handle)
