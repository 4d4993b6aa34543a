"""Reading what a stranger may have made; writing so that a file is either whole or not there."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from flowvocoder.ending import surely
from flowvocoder.errors import FlowVocoderError, OutputError
from flowvocoder.unfinished import sweep_unfinished, unfinished

MOST_JSON = 64 * 2**20
"""Bytes of a JSON file: a shard's, of a million utterances, has 10 MB."""


@contextlib.contextmanager
def reading(path: Path, kind: type[FlowVocoderError], problem: str) -> Iterator[None]:
    """Around a reader of bytes from anywhere, and nothing else: whatever it raises becomes one sentence.

    Readers fail in ways that nobody lists: a damaged `.npy` header alone raises seven kinds of exception.

    Args:
        problem: what to say of the file where the system says nothing: "not a .npy file of numbers".
    """
    try:
        yield
    except FlowVocoderError:
        raise
    except Exception as error:
        known = isinstance(error, OSError) and error.errno is not None
        raise kind(f"{path}: {'cannot be read' if known else problem} ({reason(error)[:120]})") from error


def read_json(path: Path, kind: type[FlowVocoderError], problem: str = "is damaged (not JSON)") -> Any:
    """JSON values, of any kind. Raises `kind`: unreadable, not JSON, or more than `MOST_JSON` bytes."""
    with reading(path, kind, problem):
        if not path.is_file():
            raise kind(f"{path}: {'not a regular file' if path.exists() else 'no such file'}")
        with path.open("rb") as file:
            content = file.read(MOST_JSON + 1)
        if len(content) > MOST_JSON:
            raise kind(f"{path}: has more than the {MOST_JSON} bytes of JSON that are read")
        values = json.loads(content.decode("utf-8"))
        _check_depth([values])
        return values


def write_json(path: Path, values: dict[str, Any]) -> None:
    """JSON with a line for each value. Raises OutputError if it cannot be written."""
    with writing(path) as temporary:
        temporary.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _check_depth(values: Any, left: int = 64) -> None:
    """Raises ValueError for containers within each other that nobody walks through any more."""
    if not left:
        raise ValueError("nested too deep")
    for inner in values.values() if isinstance(values, dict) else values:
        if isinstance(inner, dict | list):
            _check_depth(inner, left - 1)


def check_folder(path: Path) -> None:
    """Before the work, not after it: raises OutputError where a folder cannot be, because a file is in its way."""
    for place in (path, *path.parents):
        if place.exists():
            if not place.is_dir():
                raise OutputError(f"{path}: {'is' if place == path else f'{place} is'} a file, not a folder")
            return


def files_below(folder: Path, suffixes: Collection[str] = ()) -> list[Path]:
    """The regular files in a folder and all below it, sorted; those that end so, in lower case, if suffixes are given.

    Links are followed. A folder that several ways lead to is entered once, by a way without links if there is one.
    What is hidden is left out.
    """
    found, entered, ways = [], set(), [folder]
    for way in ways:  # grows
        for place, folders, names in os.walk(way):
            status = (here := Path(place)).stat()
            if (status.st_dev, status.st_ino) in entered:
                folders.clear()
                continue
            entered.add((status.st_dev, status.st_ino))
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            ways += [here / name for name in folders if (here / name).is_symlink()]
            found += [here / name for name in names if not name.startswith(".")]
    kept = (path for path in found if not suffixes or path.suffix.lower() in suffixes)
    return sorted(path for path in kept if path.is_file())


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, renamed to it at the end; nothing is left behind on failure.

    Raises:
        OutputError: the folder cannot be made or written to, or the disk is full.
    """
    path = path.resolve() if path.is_symlink() else path  # write where a link points, do not replace the link
    with _output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished(path) as temporary:
            yield temporary
            temporary.replace(path)


@contextlib.contextmanager
def writing_folder(path: Path) -> Iterator[Path]:
    """The same for a folder; one that stands there already is replaced as a whole.

    Raises:
        OutputError: as `writing`.
    """
    path = _named(path)
    with _output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished(path, folder=True) as temporary:
            yield temporary
            for made in temporary.iterdir():
                _usual_permissions(made)
            # A folder cannot be renamed over another. Between the two renames the old one has a hidden name, and
            # `recover_folder` brings it back if the program ends there.
            with surely(partial(recover_folder, path)):
                if path.exists():
                    shutil.rmtree(_aside(path), ignore_errors=True)
                    path.replace(_aside(path))
                temporary.replace(path)


@contextlib.contextmanager
def claiming(path: Path) -> Iterator[None]:
    """For other programs, `path` is being written from now on, although its writing begins within the block.

    Raises:
        OutputError: the folder cannot be made or written to.
    """
    with contextlib.ExitStack() as claimed:
        with _output_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            claimed.enter_context(unfinished(path))
        yield


@contextlib.contextmanager
def _output_errors(path: Path) -> Iterator[None]:
    """Turns what the system says into an OutputError that names `path`."""
    try:
        yield
    except Exception as error:
        # safetensors reports a full disk through a class of its own.
        if isinstance(error, OSError) or type(error).__name__ == "SafetensorError":
            raise OutputError(f"{path}: cannot be written ({reason(error)})") from error
        raise


def readable_folder(path: Path) -> Path:
    """Where to read a folder from: `path`, or its last whole state if the program that replaced it was killed.

    Renames nothing, so that reading beside a running program does not disturb it.
    """
    old = _aside(path)
    return old if old.exists() and not path.exists() else path


def recover_folder(path: Path) -> None:
    """End what a killed program began in `writing_folder`; only for the one program that writes this folder."""
    old = _aside(path)
    if old.exists() and not path.exists():
        old.replace(path)
    shutil.rmtree(old, ignore_errors=True)
    sweep_unfinished(path)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_json(values: dict[str, Any]) -> str:
    """SHA-256 of JSON values, hexadecimal; the order of keys does not count."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def reason(error: BaseException) -> str:
    """The first line of what the system or a library says, without the path that it repeats."""
    said = getattr(error, "strerror", None) or getattr(error, "error_string", None) or str(error)
    return (said.strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _usual_permissions(path: Path) -> None:
    """What `open` and `mkdir` would have given: safetensors lets only the owner read."""
    umask = os.umask(0)
    os.umask(umask)
    path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)


def _aside(path: Path) -> Path:
    path = _named(path)
    return path.parent / f".{path.name}.old"


def _named(path: Path) -> Path:
    """`.` and `..` have no name to put another beside."""
    return path.resolve() if path.name in ("", "..") else path
