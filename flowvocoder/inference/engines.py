"""What can run synthesis."""

from collections.abc import Callable
from typing import Literal

from flowvocoder.errors import ConfigError
from flowvocoder.flows.recursion import solve
from flowvocoder.inference import compiled
from flowvocoder.inference.lapglow import Solver

Engine = Literal["eager", "numba"]


def solver_of(engine: str) -> Solver:
    """How an engine undoes the pitch prediction.

    Raises:
        ConfigError: there is no such engine, or it is not installed.
    """
    solvers: dict[str, Callable[[], Solver]] = {"eager": lambda: solve, "numba": compiled.solver}
    if engine not in solvers:
        raise ConfigError(f"unknown engine {engine!r}: there are {', '.join(solvers)}")
    return solvers[engine]()
