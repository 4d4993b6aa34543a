"""Libraries that only some commands need: imported when used, and named where they are missing."""

import functools
import importlib
import importlib.util
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flowvocoder.errors import ConfigError
from flowvocoder.unfinished import alone

# Of librosa: what numba compiles when it is imported, and keeps on the disk.
COMPILED_ON_IMPORT = "librosa.util", "librosa.core.audio", "librosa.core.pitch"

_IMPORTING = threading.RLock()
"""The filters of warnings are the whole process's: one thread after the other changes them."""


def library(name: str, extra: str) -> Any:
    """The module `name`. Raises ConfigError that says which extra of flowvocoder installs it."""
    try:
        if name in sys.modules:
            return importlib.import_module(name)  # waits, where another thread is still importing it
        with _IMPORTING, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a library imports is nothing that our users could mend
            return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(f"this needs {name}, which is not installed: pip install 'flowvocoder[{extra}]'") from error


def torchaudio() -> Any:
    """The library. Raises ConfigError where it cannot be imported: its CUDA build beside a CPU-only torch."""
    try:
        return importlib.import_module("torchaudio")
    except (ImportError, OSError) as error:
        raise ConfigError(f"this needs torchaudio, built for the torch that is installed ({error})") from error


@functools.cache
def librosa() -> Any:
    """The library, with what it compiles on import: by one process after the other.

    Processes that compile it at the same time mix their files and crash (https://github.com/numba/numba/issues/10128).
    """
    found: Any = importlib.import_module("librosa")
    with alone(Path(found.__file__)):
        for name in COMPILED_ON_IMPORT:
            importlib.import_module(name)
    return found


class _Compiling(threading.local):
    """The files of which this thread compiles a function."""

    def __init__(self) -> None:
        self.places: set[Path] = set()


_compiling = _Compiling()


def machine_code(function: Callable[..., Any], **options: Any) -> Any:
    """`function` compiled by numba for the types of each call, and kept beside its file.

    Processes that compile it for different types at the same time would mix their files: hence one after the other.

    Raises:
        ConfigError: numba is not installed.
    """
    compiled = library("numba", "fast").njit(cache=True, **options)(function)
    compile_for = compiled.compile

    def compile_alone(types: Any) -> Any:
        place = Path(function.__code__.co_filename)
        if place in _compiling.places:  # for another function of the same file, which calls this one
            return compile_for(types)
        _compiling.places.add(place)
        try:
            with alone(place):
                return compile_for(types)
        finally:
            _compiling.places.remove(place)

    compiled.compile = compile_alone
    return compiled


def torch_is_there() -> bool:
    """Whether PyTorch is installed; without it there is `flowvocoder.runtime`."""
    return importlib.util.find_spec("torch") is not None
