"""Smeared pitch pulses: the periodicity of envelopes, which no magnitude shows.

The autocorrelation here is the evaluation's own, not `audio.periodicity`: what judges a model must not share code with
the losses that train it.
"""

import numpy as np

from flowvocoder.evaluation.measures.registry import measure
from flowvocoder.evaluation.pitch import F0_RANGE, FEWEST_VOICED, frame_starts, pitch_tracks
from flowvocoder.evaluation.signals import RATE, Pair, Values

PULSE_BANDS = ((1000, 2000), (2000, 3500), (3500, 6000))  # Hz
PULSE_WINDOW = int(0.03 * RATE)  # samples
ENVELOPE_CUTOFF = 900  # Hz
FRAMES_AT_ONCE = 2048
LAG_SEARCH = (-2, -1, 0, 1, 2)  # samples around the tracked period


@measure("pulse", "pulse error", 3, "lower", charted=True)
@measure("pulse_bias", "pulse bias", 3, "zero")
def pulse_errors(pair: Pair) -> dict[str, float]:
    """`pulse`, RMSE of the envelope's pitch periodicity in voiced frames, and `pulse_bias`, its mean error.

    Voiced speech excites 1-6 kHz once a glottal pulse. A wrong phase smears the pulses (a negative bias) and leaves the
    magnitudes, hence every mel-like distance, in place.
    """
    track, _ = pitch_tracks(pair)
    if track.voiced.sum() < FEWEST_VOICED:
        return {"pulse": float("nan"), "pulse_bias": float("nan")}
    error = (pulse_periodicity(pair.generated, track.f0) - pulse_periodicity(pair.reference, track.f0))[:, track.voiced]
    return {"pulse": float(np.sqrt(np.square(error).mean(axis=1)).mean()), "pulse_bias": float(error.mean())}


def pulse_periodicity(samples: Values, f0: Values) -> Values:
    """Correlation of the envelope of each of PULSE_BANDS with itself one pitch period later, (bands, frames)."""
    from scipy.signal import butter, hilbert, sosfiltfilt

    reach = int(RATE / F0_RANGE[0]) + 4
    starts = np.minimum(frame_starts(len(samples))[: len(f0)], len(samples) - 1)
    periods = np.round(RATE / np.maximum(f0, F0_RANGE[0])).astype(int)
    smooth = butter(2, ENVELOPE_CUTOFF, fs=RATE, output="sos")
    result = []
    for band in PULSE_BANDS:
        part = sosfiltfilt(butter(4, band, "bandpass", fs=RATE, output="sos"), samples)
        envelope = sosfiltfilt(smooth, np.abs(hilbert(part)))
        padded = np.pad(envelope, (PULSE_WINDOW // 2, PULSE_WINDOW + reach))
        windows = np.lib.stride_tricks.sliding_window_view(padded, PULSE_WINDOW)
        pieces = [slice(first, first + FRAMES_AT_ONCE) for first in range(0, len(f0), FRAMES_AT_ONCE)]
        result.append(np.concatenate([_one_period_later(windows, starts[p], periods[p]) for p in pieces]))
    return np.array(result)


def _one_period_later(windows: Values, starts: np.ndarray, periods: np.ndarray) -> Values:
    """Correlation (frames,) of the window at each start with the one a period later, or a few samples beside."""
    here = _centred(windows[starts])
    best = np.full(len(starts), -1.0)
    for step in LAG_SEARCH:
        later = _centred(windows[starts + periods + step])
        energy = np.square(here).sum(axis=1) * np.square(later).sum(axis=1)
        best = np.maximum(best, (here * later).sum(axis=1) / np.sqrt(energy + 1e-12))
    return best


def _centred(rows: Values) -> Values:
    return np.asarray(rows - rows.mean(axis=1, keepdims=True))
