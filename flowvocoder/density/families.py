"""The families of flows with their papers and default sizes, and the settings of a fit. Imports no torch."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from flowvocoder.errors import ConfigError, DensityError
from flowvocoder.settings import check_limits, limited, typed


class Family(NamedTuple):
    """What a family is, and the sizes it has where none are given.

    Attributes:
        title, paper: for people.
        layers, hidden: default sizes.
        lr: default learning rate.
        images: whether it can be given a `shape`.
    """

    title: str
    paper: str
    layers: int
    hidden: int
    lr: float
    images: bool = False


FAMILIES: dict[str, Family] = {
    "planar": Family("planar", "arXiv:1505.05770", 32, 32, 1e-2),
    "radial": Family("radial", "arXiv:1505.05770", 32, 32, 1e-2),
    "sylvester": Family("Sylvester", "arXiv:1803.05649", 16, 32, 1e-2),
    "nice": Family("NICE: additive coupling", "arXiv:1410.8516", 8, 64, 3e-3),
    "realnvp": Family("Real NVP: affine coupling", "arXiv:1605.08803", 8, 64, 3e-3, images=True),
    "glow": Family("Glow: 1x1 convolutions and affine coupling", "arXiv:1807.03039", 8, 64, 3e-3, images=True),
    "maf": Family("masked autoregressive", "arXiv:1705.07057", 5, 64, 3e-3),
    "iaf": Family("inverse autoregressive", "arXiv:1606.04934", 5, 64, 3e-3),
    "nsf-c": Family("rational-quadratic spline coupling", "arXiv:1906.04032", 4, 64, 6e-3),
    "nsf-ar": Family("rational-quadratic spline autoregression", "arXiv:1906.04032", 3, 128, 6e-3),
    "cnf": Family("continuous", "arXiv:1806.07366", 1, 64, 3e-3),
}
"""All families by name."""

MODELS: dict[str, Family] = {
    "vae": Family("variational autoencoder", "arXiv:1312.6114", 2, 64, 3e-3),
    "gan": Family("generative adversarial network", "arXiv:1406.2661", 2, 64, 1e-3),
    "autoregressive": Family("masked autoregressive model", "arXiv:1502.03509", 2, 64, 3e-3),
    "invertible-ae": Family("invertible autoencoder", "arXiv:2003.13913", 8, 64, 3e-3),
}
"""All models of `GenerativeModel` by name."""

PASSES = 18
"""How often a fit shows every row, where it may go on for long enough."""


class Sizes(NamedTuple):
    """What a chain is built for.

    Attributes:
        features: D.
        context: K; 0 for none.
        layers, hidden: as in `FlowDensity`.
        shape: (channels, height, width) of images; empty for vectors.
    """

    features: int
    context: int
    layers: int
    hidden: int
    shape: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Settings:
    """The sizes of a flow and how it is fitted, checked."""

    family: str = "nice"
    layers: int = limited(1, 1, 1024)
    hidden: int = limited(1, 1, 4096)
    shape: tuple[int, ...] = ()  # channels, height, width of images
    latent: int = limited(0, 0, 4096)  # numbers in the latent of what is no flow; 0: by the columns
    steps: int = limited(0, 0, 10_000_000)  # 0: by the number of rows
    batch: int = limited(1, 1, 1_000_000)
    lr: float = limited(1.0, 1e-8, 1.0)
    patience: int = limited(1, 1, 10_000)
    held_out: float = limited(0.1, 0.01, 0.9)
    dequantise: float = limited(0.0, 0.0, math.inf)
    objective: Literal["likelihood", "flow-matching"] = "likelihood"
    trace: Literal["exact", "hutchinson"] = "exact"
    dtype: Literal["float32", "float64"] = "float32"
    device: str = "cpu"
    progress: bool = True
    seed: int = limited(0, 0, 2**63 - 1)

    def steps_for(self, rows: int) -> int:
        """Most steps of a fit to N rows: by default 800, or more where that shows no row `PASSES` times, up to 5000."""
        return self.steps or min(max(800, PASSES * rows // self.batch), 5000)

    def event(self, features: int) -> tuple[int, int]:
        """The shape (C, T) that a row of D features has in the flow.

        Raises:
            DensityError: it has not as many features as the images have pixels.
        """
        if not self.shape:
            return features, 1
        if features != math.prod(self.shape):
            raise DensityError(f"X has {features} features, but shape {self.shape} makes {math.prod(self.shape)}")
        return self.shape[0], self.shape[1] * self.shape[2]


def settings_of(parameters: Mapping[str, Any], families: Mapping[str, Family] = FAMILIES) -> Settings:
    """The settings that an estimator's parameters stand for: None is the family's default, numpy numbers are numbers.

    Raises:
        ConfigError: an unknown family, a value of another type, out of its limits, or that does not go with the family.
    """
    name = parameters["family"]
    if name not in families:
        raise ConfigError(f"family must be one of {', '.join(families)}, not {name!r}")
    family = families[name]
    values: dict[str, Any] = {"layers": family.layers, "hidden": family.hidden, "lr": family.lr}
    for key, value in parameters.items():
        if value is not None:
            values[key] = value.item() if hasattr(value, "item") else value
    if values.get("shape"):
        values["shape"] = _shape(name, values["shape"])
    try:
        settings = typed(Settings, values)
    except TypeError as error:
        raise ConfigError(f"{name}: not a value of the right type: {error}") from error
    check_limits("", settings)
    _check_continuous(settings)
    return settings


def _check_continuous(settings: Settings) -> None:
    """What only a continuous flow can be trained by."""
    matched, estimated = settings.objective != "likelihood", settings.trace != "exact"
    if settings.family != "cnf" and (matched or estimated):
        raise ConfigError(f"objective and trace are settings of cnf: {settings.family} has its likelihood by a formula")
    if matched and settings.layers != 1:
        raise ConfigError(f"flow-matching trains one layer of cnf, not {settings.layers}")
    if matched and estimated:
        raise ConfigError("flow-matching needs no divergence: leave trace at exact")


def _shape(family: str, shape: Any) -> tuple[int, int, int]:
    if not (isinstance(shape, tuple | list) and len(shape) == 3 and all(type(n) is int and n > 0 for n in shape)):
        raise ConfigError(f"shape must be (channels, height, width), not {shape!r}")
    if not FAMILIES[family].images:
        images = ", ".join(name for name, family in FAMILIES.items() if family.images)
        raise ConfigError(f"shape is for images, which {family} cannot fit: {images} can")
    return shape[0], shape[1], shape[2]
