"""Means, and how sure they are."""

import dataclasses
from collections.abc import Sequence

import numpy as np

RESAMPLES = 4000
COVERAGE = 0.95


@dataclasses.dataclass(frozen=True)
class Summary:
    """Of `n` values: mean, standard deviation (None of one value), 95 % bootstrap interval of the mean."""

    n: int
    mean: float
    sd: float | None
    low: float
    high: float


def summarise(values: Sequence[float]) -> Summary | None:
    """Of the values that are not NaN; None if there are none.

    The interval is the percentile bootstrap over utterances (Efron 1979) with a fixed seed: same values, same interval.
    """
    from scipy import stats

    finite = np.array([v for v in values if np.isfinite(v)], dtype=np.float64)
    if not len(finite):
        return None
    mean = float(finite.mean())
    if len(finite) == 1:
        return Summary(1, mean, None, mean, mean)
    interval = stats.bootstrap(
        (finite,), np.mean, n_resamples=RESAMPLES, confidence_level=COVERAGE, method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    return Summary(len(finite), mean, float(finite.std(ddof=1)), float(interval.low), float(interval.high))


def paired_difference(a: Sequence[float], b: Sequence[float]) -> Summary | None:
    """Of a[i] - b[i] where both are defined: the spread of the utterances themselves cancels."""
    return summarise([x - y for x, y in zip(a, b, strict=True)])
