"""All measures of one pair."""

import dataclasses
import math
from collections.abc import Collection

import numpy.typing as npt

from flowvocoder.evaluation.measures import functions
from flowvocoder.evaluation.signals import RATE, make_pair, to_rate


@dataclasses.dataclass(frozen=True)
class Measured:
    """Values by name, NaN where one is not defined for this pair, and for people why."""

    values: dict[str, float]
    notes: list[str]


def evaluate_pair(
    reference: npt.ArrayLike, generated: npt.ArrayLike, sample_rate: int, lag: int = 0, groups: Collection[str] = ()
) -> dict[str, float]:
    """Every measure of generated speech (T,) against its recording (T',): `docs/reference/measures.md`.

    The pair is brought to 22 050 Hz, cut to what it has in common, and to one RMS level.

    Args:
        sample_rate: Hz, of both.
        lag: samples at `sample_rate` by which `generated` is late.
        groups: of slow measures to take as well: "pyin".

    Returns:
        Value by name; NaN where it is not defined, such as the F0 error of a whisper or the PESQ of silence.

    Raises:
        AudioError: less than 0.1 s in common.
        ConfigError: a library of the extra `evaluate` is missing.
    """
    return measure_pair(reference, generated, sample_rate, lag, groups).values


def measure_pair(
    reference: npt.ArrayLike, generated: npt.ArrayLike, sample_rate: int, lag: int = 0, groups: Collection[str] = ()
) -> Measured:
    """`evaluate_pair`, with notes on what could not be measured."""
    pair = make_pair(to_rate(reference, sample_rate), to_rate(generated, sample_rate), round(lag * RATE / sample_rate))
    values: dict[str, float] = {}
    for function in functions("pair", groups):
        values.update(function(pair))
    for function in functions("values"):
        values.update(function(values))
    defined = {name: value if math.isfinite(value) else math.nan for name, value in values.items()}
    return Measured(defined, pair.notes)
