"""From features to evidence: a logistic regression for each damage, and the lines of signal evidence.

A regression that cannot tell a damage from clean speech says nothing: its odds are those that held-out examples had
(Platt 1999). A line says how rare its highest value is in clean speech.
"""

import dataclasses
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from flowvocoder.anomaly.features import NAMES
from flowvocoder.progress import progress

if TYPE_CHECKING:
    from flowvocoder.anomaly.examples import Example

FURTHEST = 8.0
"""Deviations that a feature counts; beyond, it is as far away as anything."""

STRENGTH = 0.3
"""Inverse strength of the ridge penalty."""

FOLDS = 4
"""Parts of the examples, each of which is judged by regressions on the others, to know their odds."""

MOST_STEPS = 200
"""Of the optimiser."""

MOST = 20.0
"""Log-odds are no further from 0."""

RARE = 0.02
"""The share of clean pieces in which evidence of 1 or more is seen, and of 0 or more in half of them."""

LEAST = (0.5, 0.5, 2.0, 1.8, 3.0)
"""How much more than usual is rare, at least, for each line. Speech in quiet studios copies itself more closely than
that of the speakers held out, and its peaks have less noise on them."""

SLOPE = 2.0
"""How much faster lines fall off in clean speech than exponentially: chosen on the speakers held out."""

Array = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Evidence:
    """Weights of all regressions, for N damages and D features; and what is usual of K lines.

    Attributes:
        middle, scale: of the features, (D,).
        whole: weights (N, 4 D + 1), the constant last.
        odds: slope and constant of the log-odds, (N, 2).
        usual: the highest of a line in a clean piece, (K, 2): its median, and how far above that `RARE` ones are.
    """

    middle: Array
    scale: Array
    whole: Array
    odds: Array
    usual: Array

    def of_piece(self, x: Array) -> Array:
        """Features and lines (F, D + K) to log-odds (N + K,) of each damage and line; even where a line is rare."""
        whole = self.odds[:, 0] * _apply(self.whole, pooled(self.scaled(x))) + self.odds[:, 1]
        lines = SLOPE * (self.of_frames(x).max(0) - 1.0) * np.log(0.5 / RARE)
        return np.concatenate([whole, lines]).clip(-MOST, MOST)

    def of_frames(self, x: Array) -> Array:
        """Features and lines (F, D + K) to what each line says of each frame, (F, K): 1 is rare in clean speech."""
        return (x[:, len(self.middle) :] - self.usual[:, 0]) / self.usual[:, 1]

    def scaled(self, x: Array) -> Array:
        return FURTHEST * np.tanh((x[:, : len(self.middle)] - self.middle) / (FURTHEST * self.scale))

    def calibrated(self, clean: "Sequence[Example]") -> "Evidence":
        """With what is usual of clean examples."""
        tops = np.array([e.features[:, len(self.middle) :].max(0) for e in clean], np.float64)
        middle = np.median(tops, 0)
        spread = np.maximum(np.quantile(tops, 1.0 - RARE, axis=0) - middle, LEAST)
        return dataclasses.replace(self, usual=np.stack([middle, spread], 1))


def _apply(weights: Array, x: Array) -> Array:
    return np.asarray(x @ weights[:, :-1].T + weights[:, -1])


def pooled(x: Array) -> Array:
    """Mean, both ends and deviation of all frames: (F, D) -> (4 D,)."""
    return np.concatenate([x.mean(0), x.max(0), x.min(0), x.std(0)])


def train(examples: "Sequence[Example]", clean: "Sequence[Example]", damages: int) -> Evidence:
    """Fits all regressions.

    Args:
        examples: to learn from.
        clean: of other speakers, which tell what is usual.
        damages: N.
    """
    rows = np.concatenate([e.features[::7, : len(NAMES)].astype(np.float64) for e in examples])
    nothing = np.zeros((0, 0))
    scale = Evidence(np.median(rows, 0), rows.std(0) + 1e-2, nothing, nothing, nothing)
    whole, quiet = (
        np.array([pooled(scale.scaled(e.features.astype(np.float64))) for e in some]) for some in (examples, clean)
    )
    found, fold = np.array([e.damage for e in examples]), np.arange(len(examples)) // FOLDS % FOLDS
    fits = [_whole(whole, found, k, fold, quiet) for k in progress(range(damages), "fit", "damage")]
    weights, odds = (np.array(part) for part in zip(*fits, strict=True))
    return dataclasses.replace(scale, whole=weights, odds=odds).calibrated(clean)


def _whole(
    x: Array, found: npt.NDArray[np.int64], damage: int, fold: npt.NDArray[np.int64], clean: Array
) -> tuple[Array, Array]:
    """Weights for one damage, and what turns their sums into log-odds."""
    mine, use = found == damage, (found == damage) | (found == -1)
    sums = np.zeros(len(x))
    for k in range(FOLDS):
        here = use & (fold == k)
        sums[here] = _apply(_regression(x, mine, use & (fold != k), STRENGTH)[None], x[here])[:, 0]
    weights = _regression(x, mine, use, STRENGTH)
    all_sums = np.concatenate([sums[mine], _apply(weights[None], clean)[:, 0]])
    odds = _regression(all_sums[:, None], np.arange(len(all_sums)) < mine.sum(), np.ones(len(all_sums), bool), 1.0)
    return weights, odds


def _regression(x: Array, broken: npt.NDArray[np.bool_], use: npt.NDArray[np.bool_], strength: float) -> Array:
    """Weights and constant of a logistic regression by which broken and sound ones count the same."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    if len(set(broken[use].tolist())) < 2:
        return np.zeros(x.shape[1] + 1)
    regression = LogisticRegression(C=strength, max_iter=MOST_STEPS, class_weight="balanced")
    with warnings.catch_warnings():  # it is stopped early, and near enough by then
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = regression.fit(x[use], broken[use])
    return np.append(fitted.coef_[0], fitted.intercept_[0])
