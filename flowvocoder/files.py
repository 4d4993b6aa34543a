"""Writing so that a file is either whole or not there."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from flowvocoder.ending import surely
from flowvocoder.errors import OutputError
from flowvocoder.unfinished import sweep_unfinished, unfinished


def check_folder(path: Path) -> None:
    """Before the work, not after it: raises OutputError where a folder cannot be, because a file is in its way."""
    for place in (path, *path.parents):
        if place.exists():
            if not place.is_dir():
                raise OutputError(f"{path}: {'is' if place == path else f'{place} is'} a file, not a folder")
            return


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
    """The system's words for an OSError, without the path it repeats."""
    return str(getattr(error, "strerror", None) or error)


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
