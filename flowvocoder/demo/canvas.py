"""Figures of the demo: one set of margins, fonts and colours, in a wide and a narrow form for phones."""

from typing import Any

import numpy as np
import numpy.typing as npt

from flowvocoder.audio.files import Samples
from flowvocoder.audio.plots import DIFFERENCES, LEVELS, MOST_DIFFERENCE_DB, RANGE_DB, spectrogram_db

Pixels = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float64]

INK, FAINT, GRID = "#1f2937", "#6b7280", "#e5e7eb"
ACCENT, WARM, FALL, RISE = "#0f766e", "#b45309", "#dc2626", "#2563eb"
TITLE: dict[str, Any] = {"loc": "left", "fontsize": 9.5, "color": INK, "pad": 5}


class Canvas:
    """Panels of the same width one below the other, each with a title above it and room for a scale at its right.

    Args:
        heights: of the panels, in inches.
        narrow: for a phone: half as wide, so that letters are as large there as on a desk.
        scale: leave room for a colour scale at the right.
    """

    def __init__(self, heights: list[float], narrow: bool, scale: bool = True):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.width = 4.3 if narrow else 9.6
        self.left, self.right = 0.52, 0.68 if scale else 0.15
        title, gap, bottom = 0.3, 0.22, 0.42
        total = sum(heights) + len(heights) * title + (len(heights) - 1) * gap + bottom
        self.figure: Any = Figure(figsize=(self.width, total), dpi=180 if narrow else 130, facecolor="white")
        FigureCanvasAgg(self.figure)
        self.total = total
        self.axes: list[Any] = []
        self._scales: list[tuple[float, float]] = []
        top = total
        for height in heights:
            top -= title + height
            box = self._box(self.left, top, self.width - self.left - self.right, height)
            axis = self.figure.add_axes(box)
            self._scales.append((top, height))
            plain(axis)
            self.axes.append(axis)
            top -= gap

    def title(self, index: int, text: str) -> None:
        self.axes[index].set_title(text, **TITLE)

    def labels(self, index: int, x: str = "", y: str = "") -> None:
        self.axes[index].set_xlabel(x, fontsize=8, color=FAINT, labelpad=1)
        self.axes[index].set_ylabel(y, fontsize=8, color=FAINT, labelpad=2)

    def colour_scale(self, index: int, image: Any, label: str) -> None:
        bottom, height = self._scales[index]
        axis = self.figure.add_axes(self._box(self.width - self.right + 0.1, bottom, 0.11, height))
        bar = self.figure.colorbar(image, cax=axis)
        bar.outline.set_visible(False)
        axis.tick_params(labelsize=7.5, colors=FAINT, length=2)
        axis.set_title(label, fontsize=7.5, color=FAINT, pad=5)

    def spectrogram(self, index: int, db: Array, seconds: float, sample_rate: int, top: float, title: str) -> None:
        """Levels in dB from `top` down to black."""
        image = self._shades(index, db, seconds, sample_rate / 2000, top - RANGE_DB, top, LEVELS)
        self.title(index, title)
        self.colour_scale(index, image, "dB")

    def difference(self, index: int, db: Array, seconds: float, sample_rate: int, title: str) -> None:
        """Differences in dB: blue is less, red is more."""
        most = MOST_DIFFERENCE_DB
        image = self._shades(index, db, seconds, sample_rate / 2000, -most, most, DIFFERENCES)
        self.title(index, title)
        self.colour_scale(index, image, "dB")

    def grid(self, index: int, values: Array, seconds: float, khz: float, most: float, title: str) -> None:
        """Signed values around 0 over time and frequency."""
        image = self._shades(index, values, seconds, khz, -most, most, DIFFERENCES)
        self.title(index, title)
        self.colour_scale(index, image, "σ")

    def pixels(self) -> Pixels:
        self.figure.canvas.draw()
        return np.asarray(self.figure.canvas.buffer_rgba())[..., :3].copy()

    def _shades(
        self, index: int, values: Array, seconds: float, khz: float, low: float, high: float, colours: str
    ) -> Any:
        self.labels(index, "s" if index == len(self.axes) - 1 else "", "kHz")
        extent = (0.0, seconds, 0.0, khz)
        style = {"origin": "lower", "aspect": "auto", "extent": extent}
        return self.axes[index].imshow(values, vmin=low, vmax=high, cmap=colours, **style)

    def _box(self, left: float, bottom: float, width: float, height: float) -> tuple[float, float, float, float]:
        return left / self.width, bottom / self.total, width / self.width, height / self.total


def plain(axis: Any) -> None:
    """Small faint ticks and no frame."""
    axis.tick_params(labelsize=7.5, colors=FAINT, length=2)
    for side in axis.spines.values():
        side.set_visible(False)


def common_spectrograms(*recordings: Samples) -> tuple[list[Array], float]:
    """Spectrograms of recordings in dB, cut to the shortest, and the level of the loudest point of all."""
    length = min(map(len, recordings))
    spectrograms = [spectrogram_db(samples[:length]) for samples in recordings]
    return spectrograms, max(float(s.max()) for s in spectrograms)
