"""Makes the pictures of docs/flows.md: python docs/scripts/flows_gallery.py [--steps N] [NAME ...]

A picture for each set: the data, the fitted density, samples, the latent, and a grid's way from the noise to the data.
One more has the same set by every family, and one has digits.
"""

import argparse
import time
from pathlib import Path
from typing import Any

from PIL import Image

from flowvocoder.demo import panels
from flowvocoder.demo.canvas import Look, Pixels
from flowvocoder.demo.fitting import SHOWN, Fitted
from flowvocoder.demo.panels import Panel
from flowvocoder.density import FAMILIES, FlowDensity
from flowvocoder.density.sets import data_set

OUT = Path(__file__).parents[1] / "flows"
FAMILY = "nsf-c"
FAMILIES_SET = "pinwheel"
ROWS = 4000
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
    """Digits, samples of a multi-scale Glow, and its latent."""
    fitted = _fit("glow", "digits", steps, shape=(1, 8, 8), layers=4, hidden=32, batch=128, dequantise=1.0)
    samples = fitted.density.sample(panels.TILES**2, random_state=0)
    return panels.squares([panels.data_panel(fitted), *panels.latent_image_panels(fitted, samples)], Look(), columns=5)


def _fit(family: str, name: str, steps: int, **settings: Any) -> Fitted:
    data = data_set(name, ROWS)
    started = time.process_time()
    density = FlowDensity(family, steps=steps, **settings).fit(data.fit)
    fitted = Fitted(density, data, time.process_time() - started, "")
    done = f"{fitted.last.step} steps, {fitted.seconds:.0f} s"
    print(f"{name}, {family}: {fitted.best:.3f} nats held out, {done}", flush=True)
    return fitted


def _density(fitted: Fitted, name: str = "density: ") -> Panel:
    return panels.density_panel(fitted, f"{name}{fitted.best:.2f} nats")


def main() -> None:
    names = (*SHOWN, "families")
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
