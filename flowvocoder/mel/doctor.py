"""Which convention a mel is in: by its numbers alone, or beside a recording of the same utterance."""

import dataclasses
import math
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch

from flowvocoder.errors import AudioError
from flowvocoder.mel.diagnose import implausible
from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.mel.spec import CONVENTIONS, MelSpec
from flowvocoder.mel.statistics import MelStatistics

Doubles = npt.NDArray[np.float64]

SHIFTS = range(-2, 3)
"""Frames by which a mel may be moved against its recording: programs pad in several ways."""

EXACT = 0.02
"""Mean distance in nats below which two mels are one: rounding, dither and a resampler's edge remain."""

SMALLEST = 1e-10
"""Magnitude that stands for zero."""

UNITS = {"ln": 1.0, "log10": math.log(10.0), "decibels": math.log(10.0) / 20.0}
"""Nats of one unit."""


def plausible_as(mel: npt.NDArray[np.generic]) -> dict[str, str | None]:
    """By convention with as many bands as (n_mels, F) has: None if it can be such a mel, else why not."""
    return {name: implausible(mel, spec) for name, spec in CONVENTIONS.items() if spec.n_mels == mel.shape[0]}


@dataclasses.dataclass(frozen=True)
class Fit:
    """A mel beside its recording's, in one convention. Distances are mean absolute differences in nats.

    Attributes:
        spec: the convention, with the logarithm that fits.
        logarithms: whether its numbers are logarithms; False: magnitudes.
        before: distance as it stands; of all values times `factor` plus `shift`; by_band: of an affine map a band.
        statistics: the map a band, from the mel's numbers (or the logarithm of magnitudes) to `spec`.
    """

    name: str
    spec: MelSpec
    logarithms: bool
    before: float
    factor: float
    shift: float
    scaled: float
    by_band: float
    statistics: MelStatistics

    def numbers(self) -> str:
        """What its numbers are, in words."""
        if not self.logarithms:
            return "magnitudes, not their logarithm" if self.before < 2 * EXACT else "scaled magnitudes"
        for name, unit in UNITS.items():
            near = abs(self.factor / unit - 1.0) < 0.02 and abs(self.shift) < 0.1
            if near and self.scaled < max(EXACT, 1.5 * self.by_band):
                return name
        if self.by_band < 0.5 * self.scaled and self.scaled > EXACT:
            return "normalised band by band"
        return f"scaled: ln of the mel = {self.factor:.4g} x value {self.shift:+.4g}"


def fits(mel: npt.NDArray[np.generic], read: Callable[[MelSpec], npt.NDArray[np.float32]]) -> list[Fit]:
    """The conventions with as many bands and frames, the nearest first.

    Args:
        mel: (n_mels, F).
        read: gives the recording's samples at a convention's rate.
    """
    found = [fit for name, spec in CONVENTIONS.items() if spec.n_mels == mel.shape[0]
             for fit in _fits(name, spec, mel.astype(np.float64), read(spec))]  # fmt: skip
    return sorted(found, key=lambda fit: (fit.by_band, fit.scaled))


def _fits(name: str, spec: MelSpec, mel: Doubles, samples: npt.NDArray[np.float32]) -> Iterator[Fit]:
    try:
        reference = MelFrontEnd(spec)(torch.from_numpy(samples)).double().numpy() * UNITS[spec.log]
    except AudioError:
        return
    if abs(reference.shape[1] - mel.shape[1]) > len(SHIFTS) // 2:
        return
    readings = [(True, mel)]
    if mel.min() >= 0.0:
        readings.append((False, np.log(np.maximum(mel, SMALLEST))))
    for logarithms, values in readings:
        yield min((_fit(name, spec, logarithms, *pair) for pair in _shifted(values, reference)),
                  key=lambda fit: fit.scaled)  # fmt: skip


def _shifted(values: Doubles, reference: Doubles) -> Iterator[tuple[Doubles, Doubles]]:
    for shift in SHIFTS:
        moved = values[:, max(0, shift) :]
        other = reference[:, max(0, -shift) :]
        count = min(moved.shape[1], other.shape[1])
        if count:
            yield moved[:, :count], other[:, :count]


def _fit(name: str, spec: MelSpec, logarithms: bool, values: Doubles, reference: Doubles) -> Fit:
    unit = UNITS[spec.log] if logarithms else 1.0
    factor, shift = _affine(values.ravel(), reference.ravel())
    bands = np.array([_affine(*band) for band in zip(values, reference, strict=True)])
    fitted = bands[:, :1] * values + bands[:, 1:]
    return Fit(
        name, spec, logarithms, float(np.abs(unit * values - reference).mean()), factor, shift,
        float(np.abs(factor * values + shift - reference).mean()), float(np.abs(fitted - reference).mean()),
        MelStatistics(bands[:, 1] / UNITS[spec.log], np.maximum(bands[:, 0], 1e-6) / UNITS[spec.log]),
    )  # fmt: skip


def _affine(x: Doubles, y: Doubles) -> tuple[float, float]:
    """Factor and shift that take x nearest to y, in the least squares."""
    spread = float(np.mean((x - x.mean()) ** 2))
    factor = float(np.mean((x - x.mean()) * (y - y.mean()))) / spread if spread > 1e-12 else 0.0
    return factor, float(y.mean() - factor * x.mean())
