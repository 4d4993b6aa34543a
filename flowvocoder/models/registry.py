"""Where architectures and presets declare themselves. Plain data: imports no torch."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from flowvocoder.config import Experiment, ModelConfig

Kind = TypeVar("Kind", bound=type[ModelConfig])

ARCHITECTURES: dict[str, type[ModelConfig]] = {}
PRESETS: dict[str, Experiment] = {}


def register_architecture(name: str) -> Callable[[Kind], Kind]:
    """Decorator: makes a configuration known by the name that checkpoints give it."""

    def register(kind: Kind) -> Kind:
        kind.architecture = name
        ARCHITECTURES[name] = kind
        return kind

    return register


def register_presets(presets: Mapping[str, Experiment]) -> None:
    """Adds named experiments, in their order."""
    PRESETS.update(presets)
