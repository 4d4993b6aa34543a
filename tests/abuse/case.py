"""What a fuzzed input is, and where families of them register."""

import dataclasses
import random
from collections.abc import Callable
from pathlib import Path

GB = 10**9


@dataclasses.dataclass(frozen=True)
class Case:
    """One command, run in a folder of its own: its input lies below `in`, its output goes below `out`."""

    arguments: tuple[str, ...]
    program: str = "flowvocoder"  # or recipes
    stdin: bytes | None = None
    codes: tuple[int, ...] = (0, 2)  # exit codes that are no fault
    keeps: bool = False  # a refusal may come after work that is kept, such as a run's folder


Maker = Callable[[random.Random, int, Path], Case]
"""Makes input in a folder from a random generator and the input's number."""


@dataclasses.dataclass(frozen=True)
class Family:
    """Inputs of one kind, their share of all, and the most memory that a command may take for one."""

    name: str
    make: Maker
    share: float
    most: int  # bytes
    count: int = 0  # inputs, where there are only so many


FAMILIES: dict[str, Family] = {}


def family(share: float, most: float = 3.0, count: int = 0) -> Callable[[Maker], Maker]:
    """Decorator: a function of this name makes the inputs of a family.

    Args:
        share: of all inputs, relative to the other families'.
        most: memory, in GB.
        count: of inputs, where there are only so many.
    """

    def register(make: Maker) -> Maker:
        FAMILIES[make.__name__] = Family(make.__name__, make, share, int(most * GB), count)
        return make

    return register
