"""Makes pictures of flows, one of which docs/results/generative.md shows.

Run: python docs/scripts/flows_gallery.py [--steps N] [SET ...]

A picture for each set: the data, the fitted density, samples, the latent, and a grid's way from the noise to the data.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from sklearn.datasets import load_digits

from flowvocoder.audio.plots import new_figure
from flowvocoder.density import FlowDensity
from flowvocoder.density.sets import data_set

OUT = Path(__file__).parents[1] / "gallery"
PLANE = ("two-moons", "rings", "checkerboard", "pinwheel", "spiral", "ring-of-eight", "mixture-2")
ALL = (*PLANE, "swiss-roll", "digits")
FAMILY = "nsf-c"
ROWS = 3000
QUALITY = 55  # of WebP
STAGES = 4


def plane(name: str, steps: int) -> Figure:
    """Two rows of panels for a set in the plane."""
    rows = data_set(name, ROWS).fit
    flow = FlowDensity(FAMILY, steps=steps).fit(rows)
    figure, panels = _panels(2, STAGES)
    reach = 1.15 * np.abs(rows - rows.mean(0)).max()
    box = [v for m in rows.mean(0) for v in (m - reach, m + reach)]
    _points(panels[0], rows, "data", box)
    _density(panels[1], flow, box)
    _points(panels[2], flow.sample(ROWS, random_state=0), "samples", box)
    _points(panels[3], flow.transform(rows), "latent", [-4, 4, -4, 4])
    for axes, (done, lines) in zip(panels[4:], _grid(flow), strict=True):
        axes.plot(*lines, linewidth=0.5, color="C0")
        axes.set_aspect("equal")
        axes.set_title(f"grid, {done} layers on its way" if done else "grid in the noise", fontsize=9)
    return figure


def swiss_roll(steps: int) -> Figure:
    """Data and samples in three dimensions, and two columns of the latent."""
    rows = data_set("swiss-roll", ROWS).fit
    flow = FlowDensity(FAMILY, steps=steps).fit(rows)
    figure = new_figure(9, 3)
    along = np.hypot(rows[:, 0], rows[:, 2])
    samples = flow.sample(ROWS, random_state=0)
    for place, (points, title) in enumerate(((rows, "data"), (samples, "samples")), 1):
        axes: Any = figure.add_subplot(1, 3, place, projection="3d")
        axes.scatter(*points.T, s=0.7, c=np.hypot(points[:, 0], points[:, 2]), cmap="viridis")
        axes.view_init(12, -75)
        axes.set_title(title, fontsize=9)
        axes.set_axis_off()
    axes = figure.add_subplot(1, 3, 3)
    axes.scatter(*flow.transform(rows)[:, :2].T, s=0.7, c=along, cmap="viridis")
    axes.set_title("latent, coloured by the place on the roll", fontsize=9)
    axes.set(xticks=[], yticks=[], aspect="equal")
    return figure


def digits(steps: int) -> Figure:
    """Digits of the data above digits of a multi-scale Glow."""
    pixels = load_digits().data
    glow = FlowDensity("glow", shape=(1, 8, 8), dequantise=1.0, steps=steps).fit(pixels)
    figure, panels = _panels(2, 1, size=(9, 3.2))
    drawn = glow.sample(48, random_state=0)
    for axes, images, title in zip(panels, (pixels[:48], drawn), ("data", "samples of Glow"), strict=True):
        tiles = np.pad(images.reshape(2, 24, 8, 8), ((0, 0), (0, 0), (1, 1), (1, 1)))
        axes.imshow(tiles.transpose(0, 2, 1, 3).reshape(20, 240), cmap="gray_r", vmin=0, vmax=16)
        axes.set_title(title, fontsize=9)
    return figure


def _grid(flow: FlowDensity) -> list[tuple[int, tuple[np.ndarray, np.ndarray]]]:
    """Lines of a grid in the noise after 0 layers, then on their way to the data: columns of x and of y."""
    ticks, along = np.linspace(-2.5, 2.5, 16), np.linspace(-2.5, 2.5, 150)
    still, moving = (m.ravel() for m in np.meshgrid(ticks, along, indexing="ij"))
    z = torch.from_numpy(np.stack([np.concatenate([still, moving]), np.concatenate([moving, still])], 1))
    x, layers = z.float()[:, :, None], list(reversed(flow.model_.flow.layers))
    stages, context = [], x.new_zeros(len(x), 0, 1)
    at = np.linspace(0, len(layers), STAGES).round()
    for done in range(len(layers) + 1):
        if done in at:
            lines = x[:, :, 0].reshape(2 * len(ticks), len(along), 2).permute(2, 1, 0).numpy()
            stages.append((done, (lines[0], lines[1])))
        if done < len(layers):
            with torch.inference_mode():
                x = layers[done].inverse(x, context)
    return stages


def _points(axes: Any, points: np.ndarray, title: str, box: list[float]) -> None:
    axes.scatter(*points.T, s=1.0, linewidths=0, color="C0")
    axes.axis(box)
    axes.set_aspect("equal")
    axes.set_title(title, fontsize=9)


def _density(axes: Any, flow: FlowDensity, box: list[float]) -> None:
    across, up = np.linspace(*box[:2], 150), np.linspace(*box[2:], 150)
    nats = flow.score_samples(np.stack(np.meshgrid(across, up), 2).reshape(-1, 2)).reshape(150, 150)
    axes.imshow(np.exp(nats), origin="lower", extent=box, cmap="magma", vmax=np.quantile(np.exp(nats), 0.995))
    axes.set_title("density", fontsize=9)


def _panels(rows: int, columns: int, size: tuple[float, float] = (9, 4.6)) -> tuple[Figure, list[Any]]:
    figure = new_figure(*size)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels:
        axes.set(xticks=[], yticks=[])
    return figure, panels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", default=ALL, metavar="SET", help=f"of {', '.join(ALL)}")
    parser.add_argument("--steps", type=int, default=1000, help="of training (default 1000)")
    arguments = parser.parse_args()
    others = {"swiss-roll": swiss_roll, "digits": digits}
    for name in arguments.sets:
        figure = others[name](arguments.steps) if name in others else plane(name, arguments.steps)
        figure.canvas.draw()
        picture = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3])
        picture.save(OUT / f"flow-{name}.webp", quality=QUALITY)
    print(sum(path.stat().st_size for path in OUT.glob("flow-*.webp")) // 1000, "kB")


if __name__ == "__main__":
    main()
