"""Densities that the demo fits while a visitor watches. Knows nothing of the page."""

import copy
import dataclasses
import time
from collections.abc import Iterator

import numpy as np

from flowvocoder.demo import inputs
from flowvocoder.density.estimator import FlowDensity
from flowvocoder.density.families import FAMILIES
from flowvocoder.density.sets import DataSet, data_set
from flowvocoder.density.training import EVERY, FitState
from flowvocoder.errors import ConfigError

SHOWN = ("two-moons", "rings", "checkerboard", "pinwheel", "spiral", "ring-of-eight", "swiss-roll", "digits")
"""Of the sets, those with a shape to see."""

IMAGES = tuple(name for name, family in FAMILIES.items() if family.images)
"""Families that see images where the set has some; the others see their pixels as numbers."""

QUICK = {"layers": 2, "hidden": 32}
"""Of those, so that the first look comes within seconds."""

FEWEST_ROWS, MOST_ROWS = 200, 5000
FEWEST_STEPS, MOST_STEPS = 50, 2000
MOST_SECONDS = 60.0
"""Of one fit, drawing included; it ends at the first look after that."""

ENOUGH = 20_000
"""Rows that the truth is the mean of."""


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A density as far as it is fitted.

    Attributes:
        density: a copy, with the best weights so far; `history_` holds the looks.
        data: the set, with the rows it is fitted to.
        seconds: since the start.
        ending: why the fit is over; empty while it goes on.
    """

    density: FlowDensity
    data: DataSet
    seconds: float
    ending: str

    @property
    def rows(self) -> np.ndarray:
        """(N, D), what it is fitted to."""
        return self.data.fit

    @property
    def last(self) -> FitState:
        return self.density.history_[-1]

    @property
    def best(self) -> float:
        """Held-out nats of the weights that are kept."""
        return max(state.held_out for state in self.density.history_)


def fit(family: str, name: str, rows: float, steps: float, seed: float) -> Iterator[Fitted]:
    """Fits a family to rows of a set; a state every 50 steps, until it is over or nobody asks for a further one.

    Raises:
        ConfigError: an unknown family or set, or a number out of its limits.
        TrainingError: the fit diverged.
    """
    if name not in SHOWN:
        raise ConfigError(f"there is no set {name!r}: choose from {', '.join(SHOWN)}")
    rows = inputs.whole("the number of rows", rows, MOST_ROWS, FEWEST_ROWS)
    steps = inputs.whole("the number of steps", steps, MOST_STEPS, FEWEST_STEPS)
    started = time.perf_counter()
    data = data_set(name, rows, inputs.seed(seed))._replace(truth=data_set(name, ENOUGH).truth)
    density = FlowDensity(family, steps=steps, seed=inputs.seed(seed), progress=False, dequantise=data.dequantise)
    if data.shape is not None:
        density.set_params(batch=128, **({"shape": data.shape, **QUICK} if family in IMAGES else {}))
    for state in density.fit_steps(data.fit):
        seconds = time.perf_counter() - started
        ending = _ending(density, state, seconds)
        # A copy: this one goes on being fitted while the visitor draws samples.
        yield Fitted(copy.deepcopy(density), data, seconds, ending)
        if ending:
            return


def _ending(density: FlowDensity, state: FitState, seconds: float) -> str:
    if state.step >= state.steps:
        return f"All {state.steps} steps are done."
    if not any(look.best for look in density.history_[-density.patience :]):
        return f"No gain on the held-out rows for {density.patience * EVERY} steps."
    if seconds > MOST_SECONDS:
        return f"{MOST_SECONDS:.0f} seconds are over."
    return ""
