"""Which convention a mel is in: by its numbers alone, or beside a recording of the same utterance."""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch

from flowvocoder.errors import AudioError
from flowvocoder.mel.diagnose import implausible
from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.mel.numbers import POWERS, UNITS, log_magnitudes
from flowvocoder.mel.spec import CONVENTIONS, MelSpec
from flowvocoder.mel.statistics import MelStatistics
from flowvocoder.mel.toolkits import TOOLKITS, Toolkit

Doubles = npt.NDArray[np.float64]

SHIFTS = range(-2, 3)
"""Frames by which a mel may be moved against its recording: programs pad in several ways."""

EXACT = 0.02
"""Mean distance in nats below which two mels are one: rounding, dither and a resampler's edge remain."""

NEAR = 0.2
"""Distance within which a mel is one of another kind, changed no more than that makes it: of powers, or cut off."""

FAR = 0.3
"""Distance of an affine map a band beyond which a mel is of another convention, or of another recording."""


def plausible_as(mel: npt.NDArray[np.generic]) -> dict[str, str | None]:
    """By convention and toolkit with as many bands as (n_mels, F): None if it can be such a mel, else why not."""
    return {name: implausible(of.undo(np.asarray(mel, np.float64)), of.spec) for name, of in _sources(mel.shape[0])}


def _sources(bands: int) -> list[tuple[str, Toolkit]]:
    """Conventions with so many bands, and toolkits whose numbers are none of a convention's."""
    plain = [(name, Toolkit(spec)) for name, spec in CONVENTIONS.items()]
    known = [toolkit.spec for _, toolkit in plain]
    others = [(name, of) for name, of in TOOLKITS.items() if of.changes or of.spec not in known]
    return [(name, of) for name, of in (*plain, *others) if of.spec.n_mels == bands]


@dataclasses.dataclass(frozen=True)
class Fit:
    """A mel beside its recording's, in one convention. Distances are mean absolute differences in nats.

    Attributes:
        spec: the convention, with the logarithm that fits.
        reading: what its numbers were taken for: "logarithms", "magnitudes", or one of `POWERS`.
        before: distance as it stands; of all values times `factor` plus `shift`; by_band: of an affine map a band.
        statistics: the map a band, from the mel's numbers (or the logarithm of magnitudes) to `spec`.
    """

    name: str
    spec: MelSpec
    reading: str
    before: float
    factor: float
    shift: float
    scaled: float
    by_band: float
    statistics: MelStatistics

    def numbers(self) -> str:
        """What its numbers are, in words."""
        if self.reading == "magnitudes":
            return "magnitudes, not their logarithm" if self.before < 2 * EXACT else "scaled magnitudes"
        if self.reading != "logarithms":
            return self.reading
        if self.before < EXACT:
            return self.spec.log
        for name, unit in UNITS.items():
            near = abs(self.factor / unit - 1.0) < 0.02 and abs(self.shift) < 0.1
            if near and self.scaled < max(EXACT, 1.5 * self.by_band):
                return name
        if self.by_band < 0.5 * self.scaled and self.scaled > EXACT:
            return "normalised band by band"
        return f"scaled: ln of the mel = {self.factor:.4g} x value {self.shift:+.4g}"


def fits(mel: npt.NDArray[np.generic], read: Callable[[int], npt.NDArray[np.float32]]) -> list[Fit]:
    """The conventions with as many bands and frames, the nearest first.

    Args:
        mel: (n_mels, F).
        read: gives the recording's samples at a rate in Hz.
    """
    found = [fit for name, of in _sources(mel.shape[0])
             for fit in _fits(name, of, mel.astype(np.float64), read(of.spec.sample_rate))]  # fmt: skip
    return sorted(found, key=lambda fit: (fit.before >= EXACT, round(fit.by_band, 2), fit.before >= NEAR, fit.scaled))


def _fits(name: str, source: Toolkit, mel: Doubles, samples: npt.NDArray[np.float32]) -> Iterator[Fit]:
    spec = source.spec
    try:
        reference = MelFrontEnd(spec)(torch.from_numpy(samples)).double().numpy() * UNITS[spec.log]
    except AudioError:
        return
    if abs(reference.shape[1] - mel.shape[1]) > len(SHIFTS) // 2:
        return
    readings = {"logarithms": source.undo(mel)}
    if not source.source:
        kinds = ("magnitudes", *POWERS) if mel.min() >= 0.0 else ("power-decibels",)
        readings |= {kind: log_magnitudes(mel, kind, spec) for kind in kinds}
    for reading, values in readings.items():
        moved = [_fit(name, spec, reading, *pair) for pair in _shifted(values, reference)]
        fit = min(moved, key=lambda fit: fit.scaled)
        if fit.before < NEAR or (reading in ("logarithms", "magnitudes") and not source.source):
            yield fit


def _shifted(values: Doubles, reference: Doubles) -> Iterator[tuple[Doubles, Doubles]]:
    for shift in SHIFTS:
        moved = values[:, max(0, shift) :]
        other = reference[:, max(0, -shift) :]
        count = min(moved.shape[1], other.shape[1])
        if count:
            yield moved[:, :count], other[:, :count]


def _fit(name: str, spec: MelSpec, reading: str, values: Doubles, reference: Doubles) -> Fit:
    unit = UNITS[spec.log] if reading == "logarithms" else 1.0
    factor, shift = _affine(values.ravel(), reference.ravel())
    bands = np.array([_affine(*band) for band in zip(values, reference, strict=True)])
    fitted = bands[:, :1] * values + bands[:, 1:]
    return Fit(
        name, spec, reading, float(np.abs(unit * values - reference).mean()), factor, shift,
        float(np.abs(factor * values + shift - reference).mean()), float(np.abs(fitted - reference).mean()),
        MelStatistics(bands[:, 1] / UNITS[spec.log], np.maximum(bands[:, 0], 1e-6) / UNITS[spec.log]),
    )  # fmt: skip


def _affine(x: Doubles, y: Doubles) -> tuple[float, float]:
    """Factor and shift that take x nearest to y, in the least squares."""
    spread = float(np.mean((x - x.mean()) ** 2))
    factor = float(np.mean((x - x.mean()) * (y - y.mean()))) / spread if spread > 1e-12 else 0.0
    return factor, float(y.mean() - factor * x.mean())
