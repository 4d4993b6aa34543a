"""Data sets by name: shapes in the plane, mixtures of known entropy, and real ones that come with scikit-learn."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from flowvocoder.density.tables import SUFFIXES, read_whole
from flowvocoder.errors import DensityError
from flowvocoder.files import files_below

Draw = Callable[[int, np.random.Generator], np.ndarray]
LogProb = Callable[[np.ndarray], np.ndarray]

SHARE = 0.25
"""Of the rows of a set of limited size: those that are compared on and never fitted to."""


class DataSet(NamedTuple):
    """Rows to fit to and rows to compare on.

    Attributes:
        fit, test: (N, D) and (M, D).
        truth: mean log-density of `test` in nats, where it is known.
        centres: of the modes (K, D), where they are counted.
        radius: around a centre, what is of its mode.
        dequantise: as of `FlowDensity`.
        shape: (channels, height, width), where rows are images.
    """

    fit: np.ndarray
    test: np.ndarray
    truth: float | None = None
    centres: np.ndarray | None = None
    radius: float = 0.0
    dequantise: float = 0.0
    shape: tuple[int, int, int] | None = None

    @property
    def scale(self) -> np.ndarray:
        """(D,) standard deviations of the columns of `fit`, the noise of `dequantise` included."""
        return np.asarray(np.hypot(self.fit.std(0), self.dequantise / math.sqrt(12)))


def data_set(name: str, rows: int = 4000, seed: int = 0) -> DataSet:
    """The set of a name.

    Args:
        name: of `SETS`, `digits`, `wine`, `mel:DIR` for mel frames of the recordings in a folder, or a table's path.
        rows: of each part, where any number can be drawn; otherwise at most this many are fitted to.
        seed: of the drawing and of the division into parts.

    Raises:
        DensityError: no such set, no recordings in the folder, or as `read_whole`.
    """
    generator = np.random.default_rng(seed)
    if name in SETS:
        shape = SETS[name]
        fit, test = (shape.draw(rows, generator) for _ in range(2))
        truth = None if shape.log_prob is None else float(shape.log_prob(test).mean())
        return DataSet(fit, test, truth, shape.centres, shape.radius)
    if name in ("digits", "wine"):
        from sklearn import datasets

        if name == "wine":
            return divided(datasets.load_wine().data, rows, generator)
        return divided(datasets.load_digits().data, rows, generator, dequantise=1.0)._replace(shape=(1, 8, 8))
    if name.startswith("mel:"):
        return divided(_mel_frames(Path(name[4:])), rows, generator)
    if Path(name).suffix.lower() in SUFFIXES:
        return divided(read_whole(Path(name)).values, rows, generator)
    known = (*SETS, "digits", "wine", "mel:DIR", *(f"FILE{suffix}" for suffix in SUFFIXES))
    raise DensityError(f"no data set {name!r}: one of {', '.join(known)}")


def divided(values: np.ndarray, rows: int, generator: np.random.Generator, dequantise: float = 0.0) -> DataSet:
    """A set of rows (N, D) in two parts, drawn; quantised ones have noise added where they are compared on."""
    order = generator.permutation(len(values))
    held_out = min(round(SHARE * len(values)), rows)
    fit, test = values[order[held_out:]][:rows], values[order[:held_out]]
    return DataSet(fit, test + dequantise * generator.random(test.shape), dequantise=dequantise)


class Shape(NamedTuple):
    """A density that can be drawn from; `log_prob`, `centres` and `radius` where they are known."""

    draw: Draw
    log_prob: LogProb | None = None
    centres: np.ndarray | None = None
    radius: float = 0.0


def two_moons(n: int, generator: np.random.Generator) -> np.ndarray:
    """Two half circles that reach into each other."""
    upper = generator.random(n) < 0.5
    angle = np.pi * generator.random(n)
    x = np.where(upper, np.cos(angle), 1 - np.cos(angle))
    y = np.where(upper, np.sin(angle), 0.5 - np.sin(angle))
    return np.stack([x, y], 1) + 0.1 * generator.standard_normal((n, 2))


def rings(n: int, generator: np.random.Generator) -> np.ndarray:
    """Three circles around the origin."""
    radius = generator.integers(1, 4, n) + 0.08 * generator.standard_normal(n)
    return _polar(radius, 2 * np.pi * generator.random(n))


def checkerboard(n: int, generator: np.random.Generator) -> np.ndarray:
    """Uniform on the eight dark squares of sixteen, each one wide."""
    column, pair = generator.integers(0, 4, n), generator.integers(0, 2, n)
    corner = np.stack([column, 2 * pair + column % 2], 1)
    return corner + generator.random((n, 2)) - 2.0


def pinwheel(n: int, generator: np.random.Generator) -> np.ndarray:
    """Five blades, bent."""
    radius = 1.0 + 0.3 * generator.standard_normal(n)
    across = 0.1 * generator.standard_normal(n)
    angle = 2 * np.pi / 5 * generator.integers(0, 5, n) + 0.25 * np.exp(radius)
    return 2 * np.stack([radius * np.cos(angle) - across * np.sin(angle),
                         radius * np.sin(angle) + across * np.cos(angle)], 1)  # fmt: skip


def spiral(n: int, generator: np.random.Generator) -> np.ndarray:
    """Two arms that wind one and a half times."""
    angle = 3 * np.pi * np.sqrt(generator.random(n))
    arm = np.where(generator.random(n) < 0.5, 1.0, -1.0)
    return _polar(arm * angle / 3, angle) + 0.1 * generator.standard_normal((n, 2))


def swiss_roll(n: int, generator: np.random.Generator) -> np.ndarray:
    """A rolled sheet in three dimensions."""
    angle = 1.5 * np.pi * (1 + 2 * generator.random(n))
    roll = np.stack([angle * np.cos(angle), 21 * generator.random(n), angle * np.sin(angle)], 1)
    return roll + 0.3 * generator.standard_normal((n, 3))


class Mixture(NamedTuple):
    """Normals with means (K, D) and lower triangular factors (K, D, D) of their covariances, all as frequent."""

    means: np.ndarray
    factors: np.ndarray

    @classmethod
    def of(cls, features: int, components: int = 6) -> "Mixture":
        """Correlated ones of different widths, in D dimensions, always the same."""
        generator = np.random.default_rng(features)
        means = 2.0 * generator.standard_normal((components, features))
        factors = np.tril(0.6 * generator.standard_normal((components, features, features)) / math.sqrt(features), -1)
        widths = generator.uniform(0.3, 1.0, (components, features))
        return cls(means, factors + widths[:, :, None] * np.eye(features))

    @classmethod
    def ring(cls, components: int = 8, radius: float = 2.0, width: float = 0.1) -> "Mixture":
        """Round ones on a circle."""
        angle = 2 * np.pi * np.arange(components) / components
        return cls(_polar(np.full(components, radius), angle), width * np.tile(np.eye(2), (components, 1, 1)))

    def draw(self, n: int, generator: np.random.Generator) -> np.ndarray:
        """(n, D)."""
        which = generator.integers(0, len(self.means), n)
        noise = generator.standard_normal((n, self.means.shape[1]))
        return self.means[which] + np.einsum("nij,nj->ni", self.factors[which], noise)

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        """(N,) in nats of (N, D)."""
        from scipy.special import logsumexp

        each = []
        for mean, factor in zip(self.means, self.factors, strict=True):
            z = np.linalg.solve(factor, (x - mean).T)
            log_det = np.log(np.diag(factor)).sum() + 0.5 * len(mean) * math.log(2 * math.pi)
            each.append(-0.5 * np.square(z).sum(0) - log_det)
        return np.asarray(logsumexp(each, 0)) - math.log(len(each))

    def shape(self, radius: float = 0.0) -> Shape:
        return Shape(self.draw, self.log_prob, self.means if radius else None, radius)


def _uniform(x: np.ndarray) -> np.ndarray:
    """Log-density of the checkerboard on its dark squares, which have an area of eight."""
    return np.full(len(x), -math.log(8.0))


def _polar(radius: np.ndarray, angle: np.ndarray) -> np.ndarray:
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)


SETS: dict[str, Shape] = {
    "two-moons": Shape(two_moons),
    "rings": Shape(rings),
    "checkerboard": Shape(checkerboard, _uniform),
    "pinwheel": Shape(pinwheel),
    "spiral": Shape(spiral),
    "ring-of-eight": Mixture.ring().shape(radius=0.5),
    "swiss-roll": Shape(swiss_roll),
    **{f"mixture-{d}": Mixture.of(d).shape() for d in (2, 8, 32)},
}
"""Those that any number of rows can be drawn of."""


def _mel_frames(folder: Path) -> np.ndarray:
    """All mel frames (N, n_mels) of the recordings in a folder, in the package's own convention."""
    import torch

    from flowvocoder.audio.files import EXTENSIONS, read_audio
    from flowvocoder.mel.frontend import MelFrontEnd
    from flowvocoder.mel.spec import MelSpec

    spec = MelSpec()
    front_end = MelFrontEnd(spec)
    frames = [
        front_end(torch.from_numpy(read_audio(path, spec.sample_rate).samples)[None])[0].T.numpy()
        for path in files_below(folder, EXTENSIONS)
    ]
    if not frames:
        raise DensityError(f"{folder}: no recordings ({', '.join(EXTENSIONS)})")
    return np.concatenate(frames)
