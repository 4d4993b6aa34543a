"""Plots of densities, made of square panels: data, density, samples, the latent, and a grid on its way."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flowvocoder.analysis.plane import Box, Stage, box_around, density_on_grid, grid_through_layers
from flowvocoder.audio.plots import LEVELS
from flowvocoder.demo.canvas import Colours, Look, Pixels, Squares
from flowvocoder.demo.fitting import Fitted
from flowvocoder.density.estimator import FlowDensity

Panel = Callable[[Squares, int], None]
"""Draws into the panel of an index."""

BRIGHTEST = 0.995
"""Share of the pixels of a density that are not brighter than white."""

LATENT: Box = (-4.0, 4.0, -4.0, 4.0)
TILES = 8
"""Images each way in a panel."""

COOLER = 0.7
"""Of the noise of images: a little less is a little clearer (Kingma and Dhariwal 2018, arXiv:1807.03039)."""

ROLL = "viridis"


def fit_plot(fitted: Fitted, look: Look) -> Pixels:
    """The data, the density as far as it is fitted, and the nats over the steps; of images samples for the density."""
    if fitted.data.shape is None:
        return squares([data_panel(fitted), density_panel(fitted), curve_panel(fitted)], look)
    samples = fitted.density.sample(TILES**2, random_state=0)  # of the same noise at every look
    return squares([data_panel(fitted), image_panel("samples", samples, fitted), curve_panel(fitted)], look)


def sample_plot(fitted: Fitted, samples: np.ndarray, look: Look) -> Pixels:
    """Samples (N, D), the latent of the data, and the way of a grid from the noise to the data.

    Of images the first samples, also of less noise, and the way from one to another.
    """
    if fitted.data.shape is not None:
        return squares(latent_image_panels(fitted, samples), look, columns=4)
    return squares([sample_panel(fitted, samples), latent_panel(fitted), *grid_panels(fitted)], look)


def squares(panels: Sequence[Panel], look: Look, columns: int = 3) -> Pixels:
    """Panels in rows of `columns`, on a phone of two."""
    canvas = Squares(len(panels), 2 if look.narrow else columns, look)
    for index, panel in enumerate(panels):
        panel(canvas, index)
    return canvas.pixels()


def data_panel(fitted: Fitted) -> Panel:
    draw = _points_panel if fitted.data.shape is None else image_panel
    return draw(f"data: {len(fitted.rows)} rows", fitted.rows, fitted)


def sample_panel(fitted: Fitted, samples: np.ndarray) -> Panel:
    return _points_panel(f"samples: {len(samples)} rows", samples, fitted)


def density_panel(fitted: Fitted, title: str = "") -> Panel:
    """Of rows of three numbers a slice through the middle."""
    columns, rows = _columns(fitted.rows), fitted.rows
    box = box_around(rows[:, columns])
    values = density_on_grid(fitted.density, box, rows.mean(0), 120, columns)

    def draw(canvas: Squares, index: int) -> None:
        canvas.axes[index].imshow(values, origin="lower", extent=box, cmap=LEVELS, vmax=np.quantile(values, BRIGHTEST))
        canvas.title(index, title or ("density" if rows.shape[1] == 2 else "density in the middle"))

    return draw


def latent_panel(fitted: Fitted) -> Panel:
    """Coloured by the place on the roll, if there is one."""
    z = fitted.density.transform(fitted.rows)

    def draw(canvas: Squares, index: int) -> None:
        axes = canvas.axes[index]
        _scatter(axes, z[:, :2], _along(fitted.rows), canvas.colours)
        _frame(axes, LATENT)
        canvas.title(index, "the latent of the data")

    return draw


def curve_panel(fitted: Fitted) -> Panel:
    """Nats over the steps: grey of the rows it is fitted to, coloured of those held out."""

    def draw(canvas: Squares, index: int) -> None:
        axes, colours, states = canvas.with_scale(index), canvas.colours, fitted.density.history_
        steps = [state.step for state in states]
        for name, colour in (("nats", colours.faint), ("held_out", colours.accent)):
            axes.plot(steps, [getattr(state, name) for state in states], ".-", color=colour, linewidth=1.2)
        if fitted.data.truth is not None:
            axes.axhline(fitted.data.truth, color=colours.warm, linewidth=1, linestyle="--")
        axes.set_xlim(0, 1.02 * states[-1].steps)
        axes.grid(color=colours.grid, linewidth=0.6)
        canvas.title(index, "nats over the steps" + (", dashed the truth" if fitted.data.truth is not None else ""))

    return draw


def grid_panels(fitted: Fitted) -> list[Panel]:
    """In the plane only."""
    if fitted.rows.shape[1] != 2:
        return []
    stages = grid_through_layers(fitted.density)
    return [_grid_panel(stage, box_around(fitted.rows) if stage.done == stage.layers else None) for stage in stages]


def image_panel(title: str, images: np.ndarray, fitted: Fitted, most: float | None = None) -> Panel:
    """The first of some images (N, D), tiled, in ink on the ground; empty where there are fewer.

    Args:
        most: the values from -most to most are shown; None: those of the data.
    """
    assert fitted.data.shape is not None
    low, high = (fitted.rows.min(), fitted.rows.max()) if most is None else (-most, most)
    some = np.full((TILES**2, images.shape[1]), low)
    some[: len(images)] = images[: TILES**2]
    tiles = some.reshape(TILES, TILES, *fitted.data.shape[1:])
    whole = np.pad(tiles, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=low)

    def draw(canvas: Squares, index: int) -> None:
        canvas.image(index, np.block([list(row) for row in whole]), low, high)
        canvas.title(index, title)

    return draw


def latent_image_panels(fitted: Fitted, samples: np.ndarray) -> list[Panel]:
    """The first of samples (N, D) and what less of their noise gives, and the data's latent and ways through it."""
    density = fitted.density
    cooler = density.inverse_transform(COOLER * density.transform(samples[: TILES**2]))
    some, others = fitted.rows[:TILES], fitted.rows[TILES : 2 * TILES]
    return [
        image_panel("samples", samples, fitted),
        image_panel(f"the same, noise x {COOLER}", cooler, fitted),
        image_panel("the latent of the data", density.transform(fitted.rows[: TILES**2]), fitted, most=3.0),
        image_panel("through the latent", between(density, some, others), fitted),
    ]


def between(density: FlowDensity, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Ways through the latent from rows (N, D) to others, `TILES` rows (N * TILES, D) for each.

    They turn instead of going straight, so that in between the latent is as far from 0 as noise is.
    """
    angle = np.linspace(0, np.pi / 2, TILES)[:, None]
    ways = np.cos(angle) * density.transform(starts)[:, None] + np.sin(angle) * density.transform(ends)[:, None]
    return density.inverse_transform(ways.reshape(-1, starts.shape[1]))


def _grid_panel(stage: Stage, box: Box | None) -> Panel:
    def draw(canvas: Squares, index: int) -> None:
        axes = canvas.axes[index]
        axes.plot(*stage.lines, linewidth=0.5, color=canvas.colours.accent)
        _frame(axes, box or box_around(stage.lines.reshape(2, -1).T, 1.05))
        canvas.title(index, f"after {stage.done} of {stage.layers} layers" if stage.done else "a grid in the noise")

    return draw


def _points_panel(title: str, points: np.ndarray, fitted: Fitted) -> Panel:
    def draw(canvas: Squares, index: int) -> None:
        if points.shape[1] == 2:
            _scatter(canvas.axes[index], points, None, canvas.colours)
            _frame(canvas.axes[index], box_around(fitted.rows))
        else:
            axes = canvas.in_space(index)
            axes.scatter(*points.T, s=1.6, linewidths=0, c=_along(points), cmap=ROLL)
            axes.view_init(12, -75)
            axes.set_box_aspect(None, zoom=1.4)
        canvas.title(index, title)

    return draw


def _scatter(axes: Any, points: np.ndarray, values: np.ndarray | None, colours: Colours) -> None:
    colour = {"color": colours.accent} if values is None else {"c": values, "cmap": ROLL}
    axes.scatter(*points.T, s=1.6, linewidths=0, **colour)


def _frame(axes: Any, box: Box) -> None:
    axes.axis(box)
    axes.set_aspect("equal")


def _along(rows: np.ndarray) -> np.ndarray | None:
    """How far out on the roll."""
    return None if rows.shape[1] == 2 else np.hypot(rows[:, 0], rows[:, 2])


def _columns(rows: np.ndarray) -> tuple[int, int]:
    """Those across the roll, which lies along the second."""
    return (0, 1) if rows.shape[1] == 2 else (0, 2)
