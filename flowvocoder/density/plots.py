"""Plots of tables: what a density was fitted to, and what it draws."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from flowvocoder.audio.plots import new_figure
from flowvocoder.files import writing

MOST_COLUMNS = 6
"""Columns that are plotted; further ones are left out."""

MOST_POINTS = 2000


def save_pairs(path: Path, sets: Mapping[str, np.ndarray], names: Sequence[str]) -> None:
    """Writes a PNG of scatter plots of every pair of columns, and histograms of each, of several sets of rows (N, D).

    Raises:
        OutputError: it cannot be written.
    """
    shown = min(len(names), MOST_COLUMNS)
    figure = new_figure(2.2 * shown + 1.6, 2.2 * shown)
    axes = figure.subplots(shown, shown, squeeze=False)
    for below in range(shown):
        for left in range(shown):
            axis = axes[below, left]
            if left > below:
                axis.set_axis_off()
                continue
            for label, rows in sets.items():
                if left == below:
                    axis.hist(rows[:, left], bins=_bins(sets, left), density=True, histtype="step", label=label)
                else:
                    axis.plot(*rows[:MOST_POINTS, [left, below]].T, ".", markersize=2, alpha=0.4)
            axis.set_xlabel(names[left])
            axis.set_ylabel("density" if left == below else names[below])
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="upper right")
    with writing(path) as temporary:
        figure.savefig(temporary, format="png")


def _bins(sets: Mapping[str, np.ndarray], column: int) -> np.ndarray:
    """Forty bins over all but the outermost thousandths of the first set."""
    low, high = np.quantile(next(iter(sets.values()))[:, column], [0.001, 0.999])
    return np.linspace(low, high, 41)
