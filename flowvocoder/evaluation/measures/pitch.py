"""Errors of F0, voicing and periodicity, by the project's tracker and, where requested, by pYIN."""

import functools
from pathlib import Path
from typing import Any

import numpy as np

from flowvocoder.evaluation.measures.registry import measure
from flowvocoder.evaluation.pitch import F0_RANGE, FEWEST_VOICED, PitchTrack, pitch_tracks
from flowvocoder.evaluation.signals import RATE, SPEECH_DB, Pair, Values
from flowvocoder.extras import librosa
from flowvocoder.unfinished import alone

GROSS_CENTS = 200.0
"""A larger error is a wrong choice of period, not an error of pitch."""

PYIN_FRAME, PYIN_HOP = 2048, 220
"""Samples of pYIN's window, which holds five of the longest periods, and from one frame to the next (10 ms)."""


@measure("f0_cents", "F0 RMSE, cents", 1, "lower", charted=True)
@measure("f0_fine", "F0 RMSE without gross errors, cents", 1, "lower")
@measure("f0_gross", "gross F0 errors, %", 2, "lower")
@measure("vuv", "V/UV error, %", 2, "lower", charted=True)
@measure("per_rmse", "periodicity error", 3, "lower", charted=True)
@measure("voiced_ref", "voiced frames of the recording, %", 1, None)
def pitch_errors(pair: Pair) -> dict[str, float]:
    """`f0_cents`, `f0_fine` (without gross errors): RMSE in cents where both are voiced; `f0_gross`, `vuv`,
    `voiced_ref`: % of frames; `per_rmse`: of the periodicity in speech. NaN where too few frames are voiced."""
    a, b = pitch_tracks(pair)
    speech = a.level > np.percentile(a.level, 95) - SPEECH_DB
    return {
        **f0_errors(a, b),
        "vuv": float(100.0 * (a.voiced != b.voiced).mean()),
        "per_rmse": float(np.sqrt(np.square(a.periodicity - b.periodicity)[speech].mean())),
        "voiced_ref": float(100.0 * a.voiced.mean()),
    }


def f0_errors(a: PitchTrack, b: PitchTrack) -> dict[str, float]:
    """The errors of F0 of a copy's track `b` against its recording's `a`, both of the same number of frames."""
    cents = cents_apart(a.f0, b.f0)
    if len(cents) < FEWEST_VOICED:
        return dict.fromkeys(("f0_cents", "f0_fine", "f0_gross"), float("nan"))
    fine = np.abs(cents) <= GROSS_CENTS
    return {
        "f0_cents": _rms(cents),
        "f0_fine": _rms(cents[fine]) if fine.any() else float("nan"),
        "f0_gross": float(100.0 * (~fine).mean()),
    }


@measure("f0_pyin_cents", "F0 RMSE by pYIN, cents", 1, "lower", group="pyin")
@measure("vuv_pyin", "V/UV error by pYIN, %", 2, "lower", group="pyin")
def pyin_errors(pair: Pair) -> dict[str, float]:
    """`f0_pyin_cents`, `vuv_pyin`: the same two errors by a tracker that this project did not write.

    It is librosa's probabilistic YIN (Mauch and Dixon 2014). A second of audio takes half a second, three times as long
    as all other measures of a pair together; hence the group.
    """
    a, b = (_pyin(samples) for samples in (pair.reference, pair.generated))
    cents = cents_apart(a, b)
    return {
        "f0_pyin_cents": _rms(cents) if len(cents) >= FEWEST_VOICED else float("nan"),
        "vuv_pyin": float(100.0 * ((a > 0) != (b > 0)).mean()),
    }


def cents_apart(a: Values, b: Values) -> Values:
    """By how many cents b is above a where both, (frames,) in Hz, are voiced (above 0)."""
    both = (a > 0) & (b > 0)
    return np.asarray(1200.0 * np.log2(b[both] / a[both]))


def _pyin(samples: Values) -> Values:
    """F0 in Hz, 0 where unvoiced, a frame every PYIN_HOP samples."""
    low, high = F0_RANGE
    f0, _, _ = _pyin_library().pyin(
        samples, fmin=low, fmax=high, sr=RATE, frame_length=PYIN_FRAME, hop_length=PYIN_HOP, fill_na=0.0
    )
    return np.asarray(f0)


@functools.cache
def _pyin_library() -> Any:
    """The library, with its pYIN compiled.

    numba compiles it at the first call: in one process after the other, as in `extras.librosa`.
    """
    found = librosa()
    with alone(Path(found.__file__)):
        found.pyin(np.zeros(2 * PYIN_FRAME), fmin=F0_RANGE[0], fmax=F0_RANGE[1], sr=RATE, frame_length=PYIN_FRAME)
    return found


def _rms(values: Values) -> float:
    return float(np.sqrt(np.square(values).mean()))
