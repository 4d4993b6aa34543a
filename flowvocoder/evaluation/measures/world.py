"""Mel-cepstral distortion of WORLD's envelope."""

import numpy as np

from flowvocoder.evaluation.measures.registry import measure
from flowvocoder.evaluation.pitch import FRAME, pitch_tracks
from flowvocoder.evaluation.signals import RATE, SPEECH_DB, Pair, Values, cepstral_distance
from flowvocoder.extras import library

WARP = 0.455
"""Of the all-pass that stands for the mel scale at 22.05 kHz (SPTK's table)."""


@measure("mcd", "MCD, dB", 2, "lower", charted=True)
def mel_cepstral_distortion(pair: Pair) -> dict[str, float]:
    """`mcd` in dB, c1 to c13, of WORLD's envelopes (CheapTrick, Morise 2015), speech frames, no time warping.

    Both envelopes are taken with the recording's F0, so that an error of pitch is not counted twice.
    """
    cheaptrick = library("pyworld", "evaluate").cheaptrick
    track, _ = pitch_tracks(pair)
    time = np.arange(len(track.f0)) * FRAME
    cepstra = []
    for samples in (pair.reference, pair.generated):
        power = cheaptrick(np.ascontiguousarray(samples), track.f0, time, RATE, f0_floor=71.0)
        cepstra.append(np.log(np.maximum(power, 1e-10)) @ warped_cosines(power.shape[1]))
    speech = track.level > np.percentile(track.level, 95) - SPEECH_DB
    return {"mcd": float(cepstral_distance(cepstra[0] - cepstra[1])[speech].mean())}


def warped_cosines(bins: int, order: int = 13) -> Values:
    """(bins, order): log power spectrum @ this = mel-cepstrum c_1 to c_order.

    c_m = 2 / pi * integral of log|H| cos(m v) dv over the warped axis v, and log power is twice log|H|.
    """
    plain = np.linspace(0.0, np.pi, bins)
    warped = plain + 2.0 * np.arctan2(WARP * np.sin(plain), 1.0 - WARP * np.cos(plain))
    width = np.gradient(warped)
    width[[0, -1]] *= 0.5
    return np.asarray(np.cos(np.outer(warped, np.arange(1, order + 1))) * (width / np.pi)[:, None])
