"""Gradient-boosted decision trees, grown by scikit-learn and kept as plain arrays.

They tell band edges apart better than a network does: an edge is a limit in one band and not in the next.
"""

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from flowvocoder.progress import progress

if TYPE_CHECKING:
    from sklearn.tree._tree import Tree

Array = npt.NDArray[np.float64]

DEPTH, BLOCKS, BLOCK, RATE, ROWS, COLUMNS = 5, 12, 50, 0.03, 0.5, 16
"""Of a tree; blocks of trees, trees of each; learning rate; the share of rows and the columns that a split sees.
Chosen on the speakers held out."""

EVERYTHING = 1e30
"""A limit that no column is above."""


@dataclasses.dataclass(frozen=True)
class Trees:
    """N binary trees of D levels, whose leaves are summed: log-odds (Friedman 2001).

    Attributes:
        start: what is added to the sum, (1,).
        columns, limits: of each inner node, (N, 2**D - 1). Below node i, a row goes to node 2 i + 1 where its column
            is at most the limit, and else to node 2 i + 2.
        leaves: (N, 2**D).
    """

    start: Array
    columns: Array
    limits: Array
    leaves: Array

    def __call__(self, x: Array) -> Array:
        """Rows (R, V) -> (R,)."""
        trees, inner = np.arange(len(self.leaves)), self.columns.shape[1]
        at = np.zeros((len(x), len(trees)), np.int64)
        while (at < inner).all():
            column = self.columns[trees, at].astype(np.int64)
            at = 2 * at + 1 + (np.take_along_axis(x, column, 1) > self.limits[trees, at])
        return np.asarray(self.start[0] + self.leaves[trees, at - inner].sum(1))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the arrays, by the number of trees and of their leaves."""
        trees, leaves = self.leaves.shape
        return {"start": (1,), "columns": (trees, leaves - 1), "limits": (trees, leaves - 1), "leaves": (trees, leaves)}

    def fits(self, columns: int) -> bool:
        """Whether the trees are whole and judge rows of so many columns."""
        leaves, own = self.leaves.shape[1], self.columns
        return leaves.bit_count() == 1 and bool(((own >= 0) & (own < columns) & (own % 1 == 0)).all())


def grow(name: str, x: npt.NDArray[Any], found: npt.NDArray[np.bool_], seed: int) -> Trees:
    """Trees that tell rows (R, V) of both kinds apart."""
    from sklearn.ensemble import GradientBoostingClassifier

    model = GradientBoostingClassifier(
        max_depth=DEPTH, learning_rate=RATE, subsample=ROWS, max_features=min(COLUMNS, x.shape[1]), warm_start=True,
        random_state=np.random.RandomState(seed),
    )  # fmt: skip
    for block in progress(range(BLOCKS), "fit", name):
        model.set_params(n_estimators=(block + 1) * BLOCK).fit(x.astype(np.float32), found)
    whole = [_whole(tree.tree_, model.learning_rate) for tree in model.estimators_[:, 0]]
    share = float(np.mean(found))
    return Trees(np.array([np.log(share / (1.0 - share))]), *map(np.array, zip(*whole, strict=True)))


def _whole(tree: "Tree", rate: float) -> tuple[Array, Array, Array]:
    """Columns, limits and leaves, where leaves above the last level have only themselves below."""
    count = 2**DEPTH - 1
    columns, limits, nodes = np.zeros(count), np.full(count, EVERYTHING), np.zeros(2 * count + 1, np.int64)
    for i in range(count):
        node = nodes[i]
        below = tree.children_left[node], tree.children_right[node]
        if below[0] < 0:
            below = node, node
        else:
            columns[i], limits[i] = tree.feature[node], tree.threshold[node]
        nodes[2 * i + 1], nodes[2 * i + 2] = below
    return columns, limits, rate * tree.value[nodes[count:], 0, 0]
