"""Measures that need to know where a recording is voiced: pitch, pulses, and the cepstrum of its WORLD envelope."""

import numpy as np

from flowvocoder.evaluation.pitch import (
    F0_RANGE,
    FEWEST_FRAMES,
    FRAME,
    PitchTrack,
    frame_starts,
    pitch_errors,
    track_pitch,
)
from flowvocoder.evaluation.signals import RATE, SPEECH_DB, Pair, Values
from flowvocoder.evaluation.spectral import cepstral_distance
from flowvocoder.extras import library

PULSE_BANDS = ((1000, 2000), (2000, 3500), (3500, 6000))  # Hz
PULSE_WINDOW = int(0.03 * RATE)  # samples
ENVELOPE_CUTOFF = 900  # Hz
FRAMES_AT_ONCE = 2048
LAG_SEARCH = (-2, -1, 0, 1, 2)  # samples around the tracked period

WARP = 0.455
"""Of the all-pass that stands for the mel scale at 22.05 kHz (SPTK's table)."""


def voicing(pair: Pair) -> dict[str, float]:
    """What `pitch_errors`, `pulse_errors` and `mel_cepstral_distortion` say of a pair."""
    reference, generated = track_pitch(pair.reference), track_pitch(pair.generated)
    return {
        **pitch_errors(reference, generated),
        **pulse_errors(pair, reference),
        "mcd": mel_cepstral_distortion(pair, reference),
    }


def pulse_errors(pair: Pair, track: PitchTrack) -> dict[str, float]:
    """`pulse`, RMSE of the envelope's pitch periodicity in voiced frames, and `pulse_bias`, its mean error.

    Voiced speech excites 1-6 kHz once a glottal pulse. A wrong phase smears the pulses (a negative bias) and leaves the
    magnitudes, hence every mel-like distance, in place.
    """
    if track.voiced.sum() < FEWEST_FRAMES:
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


def mel_cepstral_distortion(pair: Pair, track: PitchTrack) -> float:
    """MCD in dB, c1 to c13, of WORLD's envelopes (CheapTrick, Morise 2015), speech frames, no time warping.

    Both envelopes are taken with the recording's F0, so that an error of pitch is not counted twice.
    """
    cheaptrick = library("pyworld", "evaluate").cheaptrick
    time = np.arange(len(track.f0)) * FRAME
    cepstra = []
    for samples in (pair.reference, pair.generated):
        power = cheaptrick(np.ascontiguousarray(samples), track.f0, time, RATE, f0_floor=71.0)
        cepstra.append(np.log(np.maximum(power, 1e-10)) @ warped_cosines(power.shape[1]))
    speech = track.level > np.percentile(track.level, 95) - SPEECH_DB
    return float(cepstral_distance(cepstra[0] - cepstra[1])[speech].mean())


def warped_cosines(bins: int, order: int = 13) -> Values:
    """(bins, order): log power spectrum @ this = mel-cepstrum c_1 to c_order.

    c_m = 2 / pi * integral of log|H| cos(m v) dv over the warped axis v, and log power is twice log|H|.
    """
    plain = np.linspace(0.0, np.pi, bins)
    warped = plain + 2.0 * np.arctan2(WARP * np.sin(plain), 1.0 - WARP * np.cos(plain))
    width = np.gradient(warped)
    width[[0, -1]] *= 0.5
    return np.asarray(np.cos(np.outer(warped, np.arange(1, order + 1))) * (width / np.pi)[:, None])


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
