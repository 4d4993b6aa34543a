"""A recording, the evidence against it over time, and the spans that were found."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flowvocoder.anomaly.framing import FRAMES
from flowvocoder.anomaly.spans import Verdict
from flowvocoder.audio.files import Samples
from flowvocoder.audio.plots import LEVELS, MOST_FRAMES, N_FFT, RANGE_DB, new_figure, spectrogram_db
from flowvocoder.files import writing
from flowvocoder.units import ceil_div

Array = npt.NDArray[np.float64]


def save_verdict(path: Path, samples: Samples, rate: int, verdict: Verdict, evidence: Array, title: str) -> None:
    """Write it as a PNG. Raises OutputError if it cannot be written."""
    with writing(path) as temporary:
        _figure(samples, rate, verdict, evidence, title).savefig(temporary, format="png")


def draw_verdict(samples: Samples, rate: int, verdict: Verdict, evidence: Array, title: str) -> npt.NDArray[np.uint8]:
    """The same as pixels (height, width, 3)."""
    figure = _figure(samples, rate, verdict, evidence, title)
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3]


def _figure(samples: Samples, rate: int, verdict: Verdict, evidence: Array, title: str) -> Any:
    figure = new_figure(11, 5.5)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    hop, length = max(256, ceil_div(len(samples), MOST_FRAMES)), len(samples) / rate
    levels = spectrogram_db(samples, hop=hop)
    top = float(levels.max())
    above.imshow(levels, aspect="auto", origin="lower", cmap=LEVELS, vmin=top - RANGE_DB, vmax=top,
                 extent=(0.0, length, 0.0, rate / 2000.0))  # fmt: skip
    above.set_ylabel("kHz")
    above.set_title(f"{title}: score {verdict.score:.2f}, p = {verdict.p_value:.4f}", loc="left")
    below.plot((np.arange(len(evidence)) + 0.5) / FRAMES, evidence.max(1), color="#3b6ea5", linewidth=0.9)
    below.axhline(1.0, color="grey", linewidth=0.5)
    below.set_ylabel("evidence")
    below.set_xlabel(f"seconds (windows of {N_FFT} samples)")
    below.set_xlim(0.0, length)
    _mark((above, below), verdict)
    return figure


def _mark(axes: Sequence[Any], verdict: Verdict) -> None:
    for place, span in enumerate(verdict.spans):
        for axis in axes:
            axis.axvspan(span.start, span.end, facecolor="none", edgecolor="#39ff9f", linewidth=1.2)
        axes[0].annotate(span.kind, (span.start, 0.97 - 0.08 * (place % 3)), xycoords=("data", "axes fraction"),
                         color="#39ff9f", fontsize=9, va="top")  # fmt: skip
