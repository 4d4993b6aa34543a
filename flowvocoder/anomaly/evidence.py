"""From features to evidence: for each damage a logistic regression on a piece, and for local ones another on a frame.

A recording has one damage or none. So the odds that a piece has any are the mean of its odds for each. A regression
that cannot tell a damage from clean speech says nothing: its odds are those that held-out examples had (Platt 1999).
"""

import dataclasses
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from flowvocoder.progress import progress

if TYPE_CHECKING:
    from flowvocoder.anomaly.examples import Example

FURTHEST = 8.0
"""Deviations that a feature counts; beyond, it is as far away as anything."""

NEAR = 2
"""Frames to each side that belong to what is said of a frame."""

STRENGTH, FRAME_STRENGTH = 0.3, 0.01
"""Inverse strength of the ridge penalty of both kinds of regressions."""

FOLDS = 4
"""Parts of the examples, each of which is judged by regressions on the others, to know their odds."""

DRAWN = 8
"""Frames of an example that are learned from."""

MOST_STEPS = 200
"""Of the optimiser."""

MOST = 20.0
"""Log-odds are no further from 0."""

Array = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Evidence:
    """Weights of all regressions, for N damages, M of them local, and D features.

    Attributes:
        middle, scale: of the features, (D,).
        whole: weights (N, 4 D + 1), the constant last.
        odds: slope and constant of the log-odds, (N, 2).
        frame: weights (M, 3 D + 1), the constant last.
        usual: the highest of a clean piece's frames, (M, 2): its median, and how far above that one in fifty is.
    """

    middle: Array
    scale: Array
    whole: Array
    odds: Array
    frame: Array
    usual: Array

    def of_piece(self, x: Array) -> Array:
        """Features (F, D) to the log-odds of each damage (N,), as likely as none of them before."""
        return np.clip(self.odds[:, 0] * _apply(self.whole, pooled(self.scaled(x))) + self.odds[:, 1], -MOST, MOST)

    def of_frames(self, x: Array) -> Array:
        """Features (F, D) to what speaks for each local damage in each frame, (F, M): 1 is rare in clean speech."""
        return (_apply(self.frame, around(self.scaled(x))) - self.usual[:, 0]) / self.usual[:, 1]

    def scaled(self, x: Array) -> Array:
        return FURTHEST * np.tanh((x - self.middle) / (FURTHEST * self.scale))


def _apply(weights: Array, x: Array) -> Array:
    return np.asarray(x @ weights[:, :-1].T + weights[:, -1])


def pooled(x: Array) -> Array:
    """Mean, both ends and deviation of all frames: (F, D) -> (4 D,)."""
    return np.concatenate([x.mean(0), x.max(0), x.min(0), x.std(0)])


def around(x: Array) -> Array:
    """Each frame, and both ends of what lies around it: (F, D) -> (F, 3 D)."""
    from scipy import ndimage

    size = 2 * NEAR + 1
    ends = [f(x, size, axis=0, mode="nearest") for f in (ndimage.maximum_filter1d, ndimage.minimum_filter1d)]
    return np.concatenate([x, *ends], 1)


def train(
    examples: "Sequence[Example]", clean: "Sequence[Example]", damages: int, local: Sequence[int], seed: int
) -> Evidence:
    """Fits all regressions.

    Args:
        examples: to learn from.
        clean: of other speakers, which tell what is usual.
        damages: N.
        local: which of them are local.
    """
    rng = np.random.default_rng(seed)
    rows = np.concatenate([e.features[::7].astype(np.float64) for e in examples])
    nothing = np.zeros((0, 0))
    scale = Evidence(np.median(rows, 0), rows.std(0) + 1e-2, nothing, nothing, nothing, nothing)
    found = np.array([e.damage for e in examples])
    wholes, frames, broken = [], [], []
    for example in progress(examples, "look", "example"):
        x = scale.scaled(example.features.astype(np.float64))
        wholes.append(pooled(x))
        some = rng.choice(len(x), DRAWN)
        if example.damage in local and example.targets.any():
            some = rng.choice(np.flatnonzero(example.targets.any(1)), DRAWN)
        frames.append(around(x)[some])
        broken.append(example.targets[some].any(1))
    whole, quiet = np.array(wholes), np.array([pooled(scale.scaled(e.features.astype(np.float64))) for e in clean])
    fold = np.arange(len(examples)) // FOLDS % FOLDS
    fits = [_whole(whole, found, k, fold, quiet) for k in progress(range(damages), "fit", "damage")]
    weights, odds = (np.array(part) for part in zip(*fits, strict=True))
    which, each, marks = np.repeat(found, DRAWN), np.concatenate(frames), np.concatenate(broken)
    rare = [_regression(each, (which == k) & marks, (which == -1) | ((which == k) & marks), FRAME_STRENGTH)
            for k in progress(local, "fit frames", "damage")]  # fmt: skip
    fitted = dataclasses.replace(
        scale, whole=weights, odds=odds, frame=np.array(rare), usual=np.tile([0.0, 1.0], (len(rare), 1))
    )
    tops = np.array([fitted.of_frames(e.features.astype(np.float64)).max(0) for e in clean])
    middle = np.median(tops, 0)
    return dataclasses.replace(fitted, usual=np.stack([middle, np.quantile(tops, 0.98, axis=0) - middle + 1e-3], 1))


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
