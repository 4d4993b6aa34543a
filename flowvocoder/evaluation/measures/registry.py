"""Where measures declare themselves: a decorator on the function that computes them."""

import dataclasses
from collections.abc import Callable, Collection
from typing import Any, Literal, TypeVar

Better = Literal["higher", "lower", "zero"] | None
"""Where good values lie; "zero": near 0; None: the value is not judged."""

Source = Literal["model", "values", "pair", "speech", "run"]
"""What a function takes; the order is that of tables.

- model: what only a model knows, such as a likelihood.
- values: the values of all pair measures, by name.
- pair: a `Pair`, recording and copy at one rate.
- speech: samples, sample rate and block size.
- run: what only the run knows, such as the time it took.

Functions of `model` and `run` are called where that is known. All others are called wherever speech is measured.
"""

SOURCES: tuple[Source, ...] = ("model", "values", "pair", "speech", "run")

Function = TypeVar("Function", bound=Callable[..., dict[str, float]])


@dataclasses.dataclass(frozen=True)
class Measure:
    """How one measure is shown.

    Attributes:
        digits: after the decimal point.
        charted: it has a panel in the chart.
        per_sample: it counts by the sample, and so does not compare between sample rates.
    """

    name: str
    label: str
    digits: int
    better: Better
    charted: bool = False
    per_sample: bool = False

    @property
    def heading(self) -> str:
        """Label with an arrow."""
        arrow = {"higher": " ↑", "lower": " ↓", "zero": " → 0"}.get(self.better or "", "")
        return self.label + arrow


@dataclasses.dataclass
class Registered:
    """A function, what it takes, the optional group it is in, and what it measures, in the order of its decorators."""

    function: Callable[..., dict[str, float]]
    of: Source
    group: str | None
    measures: list[Measure]


_REGISTERED: dict[Callable[..., Any], Registered] = {}


def measure(
    name: str,
    label: str,
    digits: int,
    better: Better,
    *,
    of: Source = "pair",
    group: str | None = None,
    charted: bool = False,
    per_sample: bool = False,
) -> Callable[[Function], Function]:
    """Decorator: the function returns a dict with a value called `name`. One decorator for each value it returns.

    Args:
        name, label: in JSON, and in tables.
        of: what the function takes.
        group: measured only where this group is requested, because it is slow.
        digits, better, charted, per_sample: as `Measure`.

    Example:
        ```python
        @measure("peak_db", "peak level, dB", 1, "zero")
        def peak(pair: Pair) -> dict[str, float]:
            return {"peak_db": 20 * np.log10(np.abs(pair.generated).max() / np.abs(pair.reference).max())}
        ```
    """

    def register(function: Function) -> Function:
        entry = _REGISTERED.setdefault(function, Registered(function, of, group, []))
        entry.measures.insert(0, Measure(name, label, digits, better, charted, per_sample))  # decorators run upwards
        return function

    return register


def functions(of: Source, groups: Collection[str] = ()) -> list[Callable[..., dict[str, float]]]:
    """The functions that take `of`, those of optional groups only where they are requested."""
    return [e.function for e in _REGISTERED.values() if e.of == of and (e.group is None or e.group in groups)]


def registered() -> dict[str, Measure]:
    """All measures by name, in the order of tables."""
    ordered = sorted(_REGISTERED.values(), key=lambda entry: SOURCES.index(entry.of))
    return {measure.name: measure for entry in ordered for measure in entry.measures}


def names_in(group: str | None) -> set[str]:
    """Names of the measures of an optional group, or of those that are always taken."""
    return {measure.name for e in _REGISTERED.values() if e.group == group for measure in e.measures}
