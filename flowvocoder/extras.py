"""Libraries that only some commands need: imported when used, and named where they are missing."""

import importlib
import importlib.util
from typing import Any

from flowvocoder.errors import ConfigError


def library(name: str, extra: str) -> Any:
    """The module `name`. Raises ConfigError that says which extra of flowvocoder installs it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(f"this needs {name}, which is not installed: pip install 'flowvocoder[{extra}]'") from error


def torchaudio() -> Any:
    """The library. Raises ConfigError where it cannot be imported: its CUDA build beside a CPU-only torch."""
    try:
        return importlib.import_module("torchaudio")
    except (ImportError, OSError) as error:
        raise ConfigError(f"this needs torchaudio, built for the torch that is installed ({error})") from error


def torch_is_there() -> bool:
    """Whether PyTorch is installed; without it there is `flowvocoder.runtime`."""
    return importlib.util.find_spec("torch") is not None
