"""All measures of one pair, and the one figure they are drawn together in."""

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from flowvocoder.evaluation.perceptual import perceptual
from flowvocoder.evaluation.signals import RATE, make_pair, to_rate
from flowvocoder.evaluation.spectral import log_spectral_distance, mel_distance, stft_distance
from flowvocoder.evaluation.voicing import voicing

SCORE = {"pesq": (1.04, 4.64), "logmag": (1.5, 0.0), "mcd": (12.0, 0.0), "band_db": (5.0, 0.0), "pulse": (0.6, 0.0)}
"""Each measure's value at 0 and at 1; between them a straight line, beyond them clipped, all of equal weight."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """Values by name, NaN where one is not defined for this pair, and for people why."""

    values: dict[str, float]
    notes: list[str]


def evaluate_pair(
    reference: npt.ArrayLike, generated: npt.ArrayLike, sample_rate: int, lag: int = 0
) -> dict[str, float]:
    """Every measure of generated speech (T,) against its recording (T',): `docs/reference/measures.md`.

    The pair is brought to 22 050 Hz, cut to what it has in common, and to one RMS level.

    Args:
        sample_rate: Hz, of both.
        lag: samples at `sample_rate` by which `generated` is late.

    Returns:
        Value by name; NaN where it is not defined, such as the F0 error of a whisper or the PESQ of silence.

    Raises:
        AudioError: less than 0.1 s in common.
        ConfigError: a library of the extra `evaluate` is missing.
    """
    return measure_pair(reference, generated, sample_rate, lag).values


def measure_pair(reference: npt.ArrayLike, generated: npt.ArrayLike, sample_rate: int, lag: int = 0) -> Measured:
    """`evaluate_pair`, with notes on what could not be measured."""
    pair = make_pair(to_rate(reference, sample_rate), to_rate(generated, sample_rate), round(lag * RATE / sample_rate))
    values, notes = perceptual(pair)
    for measure in (stft_distance, log_spectral_distance, mel_distance, voicing):
        values.update(measure(pair))
    values["score"] = quality_score(values)
    values["level_db"] = -pair.gain_db
    return Measured({name: value if math.isfinite(value) else math.nan for name, value in values.items()}, notes)


def quality_score(values: dict[str, float]) -> float:
    """0 to 1: the mean of the five terms of SCORE; NaN if one is missing."""
    terms = [np.clip((values[name] - at0) / (at1 - at0), 0.0, 1.0) for name, (at0, at1) in SCORE.items()]
    return float(np.mean(terms))
