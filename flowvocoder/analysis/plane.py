"""A density in the plane: its values on a grid, and the way of a grid through the layers of its flow."""

from typing import Any, NamedTuple

import numpy as np
import torch

from flowvocoder.density.estimator import FlowDensity
from flowvocoder.flows.base import Chain

Box = tuple[float, float, float, float]
"""Left, right, bottom and top."""

LINES, POINTS, REACH = 16, 150, 2.5
"""Of the grid in the noise: lines each way, points along each, and how many deviations it spans each way."""


class Stage(NamedTuple):
    """The grid in the noise after some layers of the way to the data.

    Attributes:
        done, layers: how many of how many.
        lines: (2, points, lines), x and y along each line; the data's own where all layers are done.
    """

    done: int
    layers: int
    lines: np.ndarray


def box_around(points: np.ndarray, margin: float = 1.15) -> Box:
    """A square around all points (N, 2)."""
    middle = points.mean(0)
    reach = margin * float(np.abs(points - middle).max())
    return middle[0] - reach, middle[0] + reach, middle[1] - reach, middle[1] + reach


def density_on_grid(density: FlowDensity, box: Box, middle: np.ndarray, pixels: int = 150,
                    columns: tuple[int, int] = (0, 1)) -> np.ndarray:  # fmt: skip
    """Densities (pixels, pixels) over a box of two columns, from its bottom up.

    Args:
        middle: (D,), where the other columns are held.
    """
    across, up = np.linspace(*box[:2], pixels), np.linspace(*box[2:], pixels)
    rows = np.tile(middle, (pixels * pixels, 1))
    rows[:, columns] = np.stack(np.meshgrid(across, up), 2).reshape(-1, 2)
    return np.exp(density.score_samples(rows)).reshape(pixels, pixels)


def grid_through_layers(density: FlowDensity, stages: int = 4) -> list[Stage]:
    """A grid in the noise of a density of two columns, and at most so many stages of it, the last one in the data."""
    ticks, along = np.linspace(-REACH, REACH, LINES), np.linspace(-REACH, REACH, POINTS)
    still, moving = (m.ravel() for m in np.meshgrid(ticks, along, indexing="ij"))
    model = density.model_
    x = model.numbers(np.stack([np.r_[still, moving], np.r_[moving, still]], 1)).unsqueeze(2)
    context = x.new_zeros(len(x), 0, 1)
    assert isinstance(model.flow, Chain)
    layers: list[Any] = list(reversed(model.flow.layers))
    shown = set(np.linspace(0, len(layers), stages).round())
    found = []
    with torch.inference_mode():
        for done in range(len(layers) + 1):
            x = layers[done - 1].inverse(x, context) if done else x
            if done in shown:
                at = x[:, :, 0].double().cpu().numpy() if done < len(layers) else model.rows(x).cpu().numpy()
                found.append(Stage(done, len(layers), at.reshape(2 * LINES, POINTS, 2).transpose(2, 1, 0)))
    return found
