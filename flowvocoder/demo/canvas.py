"""Figures of the demo: one set of margins, fonts and colours, in a wide and a narrow form for phones."""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from flowvocoder.audio.files import Samples
from flowvocoder.audio.plots import DIFFERENCES, LEVELS, MOST_DIFFERENCE_DB, RANGE_DB, spectrogram_db
from flowvocoder.units import ceil_div

Pixels = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Look:
    """What a plot is drawn for.

    Attributes:
        narrow: a phone: half as wide, so that letters are as large there as on a desk.
        dark: a page of light letters on a dark ground.
    """

    narrow: bool = False
    dark: bool = False


@dataclasses.dataclass(frozen=True)
class Colours:
    """Of a plot: its ground, letters, lines, and differences from blue for less to red for more."""

    ground: str
    ink: str
    faint: str
    grid: str
    accent: str
    warm: str
    fall: str
    rise: str
    differences: str | tuple[str, ...]


LIGHT = Colours("#ffffff", "#1f2937", "#6b7280", "#e5e7eb", "#0f766e", "#b45309", "#dc2626", "#2563eb", DIFFERENCES)
DARK = Colours("#1f2937", "#f3f4f6", "#b6bcc6", "#374151", "#2dd4bf", "#fbbf24", "#f87171", "#60a5fa",
               ("#bfdbfe", "#3b82f6", "#1f2937", "#ef4444", "#fecaca"))  # fmt: skip


class Drawing:
    """A figure with a look.

    Args:
        height: in inches; the look gives the width.
        look: what for.

    Attributes:
        axes: its panels.
    """

    def __init__(self, height: float, look: Look):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.colours = DARK if look.dark else LIGHT
        self.width, self.height = _width(look), height
        size, dpi = (self.width, height), 180 if look.narrow else 130
        self.figure: Any = Figure(figsize=size, dpi=dpi, facecolor=self.colours.ground)
        FigureCanvasAgg(self.figure)
        self.axes: list[Any] = []

    def plain(self, axis: Any) -> Any:
        """The same panel with small faint ticks and no frame."""
        axis.set_facecolor(self.colours.ground)
        axis.tick_params(labelsize=7.5, colors=self.colours.faint, length=2)
        for side in axis.spines.values():
            side.set_visible(False)
        return axis

    def title(self, axis: int | Any, text: str) -> None:
        """Of a panel, or of one by its index."""
        axis = self.axes[axis] if isinstance(axis, int) else axis
        axis.set_title(text, loc="left", fontsize=9.5, color=self.colours.ink, pad=5)

    def pixels(self) -> Pixels:
        self.figure.canvas.draw()
        return np.asarray(self.figure.canvas.buffer_rgba())[..., :3].copy()

    def _box(self, left: float, bottom: float, width: float, height: float) -> tuple[float, float, float, float]:
        return left / self.width, bottom / self.height, width / self.width, height / self.height


def _width(look: Look) -> float:
    return 4.3 if look.narrow else 9.6


class Canvas(Drawing):
    """Panels of the same width one below the other, each with a title above it and room for a scale at its right.

    Args:
        heights: of the panels, in inches.
        look: what for.
    """

    def __init__(self, heights: list[float], look: Look):
        self.left, self.right = 0.52, 0.68
        title, gap, bottom = 0.3, 0.22, 0.42
        super().__init__(sum(heights) + len(heights) * title + (len(heights) - 1) * gap + bottom, look)
        self._scales: list[tuple[float, float]] = []
        top = self.height
        for height in heights:
            top -= title + height
            box = self._box(self.left, top, self.width - self.left - self.right, height)
            self._scales.append((top, height))
            self.axes.append(self.plain(self.figure.add_axes(box)))
            top -= gap

    def labels(self, index: int, x: str = "", y: str = "") -> None:
        self.axes[index].set_xlabel(x, fontsize=8, color=self.colours.faint, labelpad=1)
        self.axes[index].set_ylabel(y, fontsize=8, color=self.colours.faint, labelpad=2)

    def colour_scale(self, index: int, image: Any, label: str) -> None:
        bottom, height = self._scales[index]
        axis = self.figure.add_axes(self._box(self.width - self.right + 0.1, bottom, 0.11, height))
        bar = self.figure.colorbar(image, cax=axis)
        bar.outline.set_visible(False)
        axis.tick_params(labelsize=7.5, colors=self.colours.faint, length=2)
        axis.set_title(label, fontsize=7.5, color=self.colours.faint, pad=5)

    def spectrogram(self, index: int, db: Array, seconds: float, sample_rate: int, top: float, title: str) -> None:
        """Levels in dB from `top` down to black."""
        image = self._shades(index, db, seconds, sample_rate / 2000, top - RANGE_DB, top, LEVELS)
        self.title(index, title)
        self.colour_scale(index, image, "dB")

    def difference(self, index: int, db: Array, seconds: float, sample_rate: int, title: str) -> None:
        """Differences in dB: blue is less, red is more."""
        most = MOST_DIFFERENCE_DB
        image = self._shades(index, db, seconds, sample_rate / 2000, -most, most, self._differences())
        self.title(index, title)
        self.colour_scale(index, image, "dB")

    def grid(self, index: int, values: Array, seconds: float, khz: float, most: float, title: str) -> None:
        """Signed values around 0 over time and frequency."""
        image = self._shades(index, values, seconds, khz, -most, most, self._differences())
        self.title(index, title)
        self.colour_scale(index, image, "σ")

    def _shades(
        self, index: int, values: Array, seconds: float, khz: float, low: float, high: float, colours: Any
    ) -> Any:
        self.labels(index, "s" if index == len(self.axes) - 1 else "", "kHz")
        extent = (0.0, seconds, 0.0, khz)
        style = {"origin": "lower", "aspect": "auto", "extent": extent}
        return self.axes[index].imshow(values, vmin=low, vmax=high, cmap=colours, **style)

    def _differences(self) -> Any:
        from matplotlib.colors import LinearSegmentedColormap

        colours = self.colours.differences
        return colours if isinstance(colours, str) else LinearSegmentedColormap.from_list("differences", colours)


class Squares(Drawing):
    """Square panels without ticks in rows, each with a title above it.

    Args:
        number: of panels.
        columns: panels in a row.
        look: what for.
    """

    def __init__(self, number: int, columns: int, look: Look):
        title, self.gap, bottom = 0.3, 0.14, 0.22
        side = (_width(look) - (columns + 1) * self.gap) / columns
        super().__init__(ceil_div(number, columns) * (title + side) + bottom, look)
        for index in range(number):
            row, column = divmod(index, columns)
            top = self.height - (row + 1) * (title + side)
            box = self._box(self.gap + column * (side + self.gap), top, side, side)
            axis = self.plain(self.figure.add_axes(box))
            axis.set(xticks=[], yticks=[])
            self.axes.append(axis)

    def image(self, index: int, values: Array, low: float, high: float) -> None:
        """Shows an image, from `low` as the ground to `high` as ink."""
        from matplotlib.colors import LinearSegmentedColormap

        shades = LinearSegmentedColormap.from_list("ink", (self.colours.ground, self.colours.ink))
        self.axes[index].imshow(values, cmap=shades, vmin=low, vmax=high)

    def in_space(self, index: int) -> Any:
        """Makes a panel one of three dimensions."""
        flat = self.axes[index]
        self.axes[index] = self.figure.add_axes(flat.get_position(), projection="3d", facecolor=self.colours.ground)
        flat.remove()
        self.axes[index].set_axis_off()
        return self.axes[index]

    def with_scale(self, index: int) -> Any:
        """Gives the last panel the rest of its row, with room at its right for ticks."""
        from matplotlib.ticker import AutoLocator

        axis = self.axes[index]
        left, bottom, _, height = axis.get_position().bounds
        axis.set_position((left, bottom, 1.0 - left - 0.6 / self.width, height))
        axis.yaxis.tick_right()
        for ticks in (axis.xaxis, axis.yaxis):
            ticks.set_major_locator(AutoLocator())
        return axis


def common_spectrograms(*recordings: Samples) -> tuple[list[Array], float]:
    """Spectrograms of recordings in dB, cut to the shortest, and the level of the loudest point of all."""
    length = min(map(len, recordings))
    spectrograms = [spectrogram_db(samples[:length]) for samples in recordings]
    return spectrograms, max(float(s.max()) for s in spectrograms)
