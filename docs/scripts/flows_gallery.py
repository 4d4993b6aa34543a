"""Makes the pictures of docs/flows.md: python docs/scripts/flows_gallery.py [--steps N] [NAME ...]

A picture for each set: the data, the fitted density, samples, the latent, and a grid's way from the noise to the data.
One more has the same set by every family, and one has digits.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from flowvocoder.demo import panels
from flowvocoder.demo.canvas import Look, Pixels, Squares
from flowvocoder.demo.fitting import SHOWN, Fitted
from flowvocoder.demo.panels import Panel
from flowvocoder.density import FAMILIES, FlowDensity
from flowvocoder.density.sets import data_set

OUT = Path(__file__).parents[1] / "flows"
FAMILY = "nsf-c"
FAMILIES_SET = "pinwheel"
ROWS = 4000
TILES = 8  # digits each way in a panel
QUALITY = 60  # of WebP


def shape(name: str, steps: int) -> Pixels:
    """A set in the plane, or a roll in space."""
    fitted = _fit(FAMILY, name, steps)
    samples = fitted.density.sample(ROWS, random_state=0)
    first = (panels.data_panel(fitted), _density(fitted), panels.sample_panel(fitted, samples))
    return panels.squares([*first, panels.latent_panel(fitted), *panels.grid_panels(fitted)], Look(), columns=4)


def families(steps: int) -> Pixels:
    """One set by every family."""
    fits = {name: _fit(name, FAMILIES_SET, steps) for name in FAMILIES}
    drawn = [_density(fitted, f"{name}: ") for name, fitted in fits.items()]
    return panels.squares([panels.data_panel(fits[FAMILY]), *drawn], Look(), columns=4)


def digits(steps: int) -> Pixels:
    """Digits and their latent, and digits of a multi-scale Glow at two temperatures."""
    pixels = load_digits().data
    started = time.process_time()
    glow = FlowDensity("glow", shape=(1, 8, 8), batch=128, dequantise=1.0, steps=steps).fit(pixels)
    _tell("glow", "digits", glow, started)
    some = pixels[: TILES**2]
    noise = np.random.default_rng(0).standard_normal(some.shape)
    drawn = {
        "data": some / 16,
        "the latent of the data": glow.transform(some) / 8 + 0.5,
        "samples": glow.inverse_transform(noise) / 16,
        "samples, temperature 0.7": glow.inverse_transform(0.7 * noise) / 16,
    }
    return panels.squares([_tiles(*item) for item in drawn.items()], Look(), columns=4)


def _fit(family: str, name: str, steps: int) -> Fitted:
    data = data_set(name, ROWS)
    started = time.process_time()
    density = FlowDensity(family, steps=steps).fit(data.fit)
    _tell(family, name, density, started)
    return Fitted(density, data.fit, data.truth, time.process_time() - started, "")


def _tell(family: str, name: str, density: FlowDensity, started: float) -> None:
    best, last = max(state.held_out for state in density.history_), density.history_[-1].step
    seconds = time.process_time() - started
    print(f"{name}, {family}: {best:.3f} nats held out, {last} steps, {seconds:.0f} s", flush=True)


def _density(fitted: Fitted, name: str = "density: ") -> Panel:
    return panels.density_panel(fitted, f"{name}{fitted.best:.2f} nats")


def _tiles(title: str, images: np.ndarray) -> Panel:
    """Images (TILES^2, 64) of values from 0 to 1, dark on light."""
    tiles = np.pad(images.reshape(TILES, TILES, 8, 8), ((0, 0), (0, 0), (1, 1), (1, 1)))

    def draw(canvas: Squares, index: int) -> None:
        canvas.axes[index].imshow(
            tiles.transpose(0, 2, 1, 3).reshape(10 * TILES, 10 * TILES), cmap="gray_r", vmin=0, vmax=1
        )
        canvas.title(index, title)

    return draw


def main() -> None:
    names = (*SHOWN, "families", "digits")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=names, metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--steps", type=int, default=1000, help="of training (default 1000)")
    arguments = parser.parse_args()
    others = {"families": families, "digits": digits}
    for name in arguments.names:
        pixels = others[name](arguments.steps) if name in others else shape(name, arguments.steps)
        Image.fromarray(pixels).save(OUT / f"{name}.webp", quality=QUALITY)
    print(sum(path.stat().st_size for path in OUT.glob("*.webp")) // 1000, "kB")


if __name__ == "__main__":
    main()
