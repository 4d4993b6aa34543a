"""An evaluation as a chart: every utterance a dot, beside them their mean and its interval, a panel a measure."""

from typing import TYPE_CHECKING, Any

import numpy as np

from flowvocoder.evaluation.measures import MEASURES, Measure
from flowvocoder.evaluation.results import EVERYTHING, Evaluation
from flowvocoder.units import ceil_div

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 4
WIDTH, HEIGHT = 3.4, 2.7  # of a panel, inches
JITTER = 0.09  # of the distance between two systems


def draw_chart(evaluation: Evaluation) -> "Figure":
    """The chart as a figure of matplotlib."""
    from matplotlib.figure import Figure

    everyone = evaluation.groups[-1]
    charted = [m for m in MEASURES.values()
               if m.charted and any(evaluation.summary(everyone, s, m.name) for s in evaluation.systems)]  # fmt: skip
    rows = ceil_div(len(charted), COLUMNS)
    figure = Figure(figsize=(WIDTH * COLUMNS, HEIGHT * rows + 0.9), dpi=100, layout="constrained")
    axes = np.atleast_1d(figure.subplots(rows, COLUMNS)).ravel()
    for axis, measure in zip(axes, charted, strict=False):
        _panel(axis, evaluation, measure)
    for axis in axes[len(charted) :]:
        axis.set_axis_off()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=len(labels), frameon=False)
    figure.supxlabel("a dot: one utterance; a bar: mean and its 95 % bootstrap interval; arrow: where better is",
                     fontsize=9)  # fmt: skip
    return figure


def _panel(axis: Any, evaluation: Evaluation, measure: Measure) -> None:
    corpora = [group for group in evaluation.groups if group != EVERYTHING]
    shift = np.linspace(-0.2, 0.2, len(corpora)) if len(corpora) > 1 else np.zeros(1)
    for index, corpus in enumerate(corpora):
        colour = f"C{index}"
        for column, system in enumerate(evaluation.systems):
            values = np.array(evaluation.values(corpus, system, measure.name))
            jitter = np.random.default_rng(0).uniform(-JITTER, JITTER, len(values))
            label = f"{corpus} ({len(values)})" if column == 0 else None
            axis.scatter(
                column + shift[index] + jitter, values, s=16, color=colour, alpha=0.6, linewidths=0, label=label
            )
            summary = evaluation.summary(corpus, system, measure.name)
            if summary is not None:
                ends = [[summary.mean - summary.low], [summary.high - summary.mean]]
                axis.errorbar(column + shift[index], [summary.mean], yerr=ends, fmt="_", markersize=16, capsize=4,
                              color="black", elinewidth=1.4, markeredgewidth=1.6, zorder=3)  # fmt: skip
    axis.set_title(measure.heading, fontsize=10, loc="left")
    axis.set_xticks(range(len(evaluation.systems)), [_wrapped(s) for s in evaluation.systems], fontsize=8)
    axis.set_xlim(-0.5, len(evaluation.systems) - 0.5)
    axis.tick_params(axis="y", labelsize=8)
    axis.grid(axis="y", alpha=0.3)
    if measure.better == "zero":
        axis.axhline(0, color="grey", linewidth=0.8)


def _wrapped(name: str) -> str:
    return name.replace("/", "/\n")
