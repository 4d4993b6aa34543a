"""What nobody has thought of: how unlikely the features are under a flow that has seen clean speech only."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flowvocoder.anomaly.features import NAMES, Features
from flowvocoder.density import FlowDensity

Array = npt.NDArray[np.float64]

COLUMNS = tuple(i for i, name in enumerate(NAMES) if not name.startswith(("mel", "highest", "floor", "level", "top")))
"""Those that do not follow from who speaks, and what, and where."""

ROW = 9
"""Frames, a tenth of a second, whose mean is a row."""

STEPS = 3000
"""Of the flow's training."""

FURTHEST = 6.0
"""Standard deviations that a column counts."""


class Novelty:
    """Nats by which a stretch is less likely than clean speech usually is.

    Args:
        density: of rows.
        middle, scale: (D,), of the columns.
    """

    def __init__(self, density: FlowDensity, middle: Array, scale: Array):
        self.density, self.middle, self.scale = density, middle, scale

    @classmethod
    def fit(cls, clean: Iterable[Features], seed: int, **options: Any) -> "Novelty":
        """Of clean stretches (F, D)."""
        rows = np.concatenate([_rows(features) for features in clean])
        middle, scale = np.median(rows, 0), rows.std(0) + 1e-2
        scaled = FURTHEST * np.tanh((rows - middle) / (FURTHEST * scale))
        density = FlowDensity("realnvp", **{"steps": STEPS, "seed": seed, "progress": False, **options})
        scaled += 0.03 * np.random.default_rng(seed).standard_normal(scaled.shape)  # some columns hardly ever change
        return cls(density.fit(scaled), middle, scale)

    def __call__(self, features: Features) -> Array:
        """Minus the log-density (R,) of each tenth of a second of features (F, D), in nats a column."""
        scaled = FURTHEST * np.tanh((_rows(features) - self.middle) / (FURTHEST * self.scale))
        return -self.density.score_samples(scaled) / len(COLUMNS)

    def save(self, folder: Path) -> None:
        """Raises OutputError as `FlowDensity.save`."""
        self.density.save(folder)


def _rows(features: Features) -> Array:
    chosen = features[:, COLUMNS].astype(np.float64)
    whole = len(chosen) // ROW * ROW
    return chosen[:whole].reshape(-1, ROW, len(COLUMNS)).mean(1) if whole else chosen.mean(0, keepdims=True)
