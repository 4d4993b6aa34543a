"""What the numbers of a mel may be, and how they become the logarithm of magnitudes."""

import math

import numpy as np
import numpy.typing as npt

from flowvocoder.errors import MelError
from flowvocoder.mel.filterbank import filterbank
from flowvocoder.mel.spec import MelSpec

Doubles = npt.NDArray[np.float64]

UNITS = {"ln": 1.0, "log10": math.log(10.0), "decibels": math.log(10.0) / 20.0}
"""Nats of one unit of logarithms of magnitudes."""

POWERS = {"powers": None, "power-decibels": math.log(10.0) / 20.0}
"""Mels of powers: as they are, and as ten times log10 of them, in nats of a magnitude."""

SMALLEST = 1e-10
"""Magnitude that stands for zero."""

NOISE = 0.5 * math.log(math.pi / 4.0)
"""Nats by which the mean magnitude of noise is below the root of its mean power."""


def log_magnitudes(values: Doubles, numbers: str, spec: MelSpec) -> Doubles:
    """Nats (n_mels, F) of numbers that are "magnitudes", or in one of `UNITS` or `POWERS`.

    A mel of powers adds up |X|^2 where one of magnitudes adds up |X|: the same for flat bands. For speech the result
    is .07 nats from the mel of magnitudes (mean over seven recordings, three conventions).

    >>> import numpy as np
    >>> log_magnitudes(np.array([[20.0]]), "decibels", MelSpec()).round(3)
    array([[2.303]])

    Raises:
        MelError: magnitudes or powers below 0.
    """
    if numbers in UNITS:
        return values * UNITS[numbers]
    if numbers != "power-decibels" and values.min() < 0:
        raise MelError(f"{numbers} cannot be below 0, the lowest is {values.min():.3g}")
    if numbers == "magnitudes":
        return np.asarray(np.log(np.maximum(values, SMALLEST)))
    unit = POWERS[numbers]
    halves = 0.5 * np.log(np.maximum(values, SMALLEST**2)) if unit is None else unit * values
    weights = np.maximum(filterbank(spec).sum(1), SMALLEST)
    return np.asarray(halves + (0.5 * np.log(weights) + NOISE)[:, None])
