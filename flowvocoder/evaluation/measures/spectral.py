"""Distances between spectra, and levels."""

import numpy as np

from flowvocoder.audio.stft import RESOLUTIONS
from flowvocoder.evaluation.measures.registry import measure
from flowvocoder.evaluation.signals import RATE, Pair, Values, cepstral_distance, log_mel, magnitudes, speech_frames

BANDS = (0, 250, 1000, 2000, 4000, 6000, 8000, 9500)
"""Lower edges in Hz; the last band ends at RATE / 2."""

HIGH = 8000
"""Hz; above it lies what an 8 kHz mel does not describe."""

PAUSE_FRAMES = 5
"""Fewer pause frames than this say nothing about the level in pauses."""


@measure("mrstft", "multi-resolution STFT distance", 3, "lower", charted=True)
@measure("sc", "spectral convergence", 3, "lower")
@measure("logmag", "log-magnitude distance", 3, "lower", charted=True)
def stft_distance(pair: Pair) -> dict[str, float]:
    """Multi-resolution STFT: spectral convergence `sc`, mean |ln magnitude difference| `logmag`, and their sum."""
    convergence, log_magnitude = [], []
    for resolution in RESOLUTIONS:
        a, b = magnitudes(pair.reference, *resolution), magnitudes(pair.generated, *resolution)
        convergence.append(np.linalg.norm(a - b) / (np.linalg.norm(a) + 1e-12))
        log_magnitude.append(np.abs(np.log(np.maximum(a, 3e-4)) - np.log(np.maximum(b, 3e-4))).mean())
    sc, logmag = float(np.mean(convergence)), float(np.mean(log_magnitude))
    return {"sc": sc, "logmag": logmag, "mrstft": sc + logmag}


@measure("lsd", "LSD, dB", 2, "lower")
@measure("lsd_a", "LSD of speech, dB", 2, "lower", charted=True)
@measure("hf_lsd", "LSD of speech above 8 kHz, dB", 2, "lower")
@measure("band_db", "band level error, dB", 2, "lower", charted=True)
@measure("hf_db", "level above 8 kHz, dB", 1, "zero")
@measure("pause_db", "level in pauses, dB", 1, "zero")
def log_spectral_distance(pair: Pair) -> dict[str, float]:
    """LSD in dB: all frames `lsd`, speech `lsd_a`, speech above 8 kHz `hf_lsd`; and the level of bands.

    `band_db` is the mean absolute error of the level of BANDS in speech. `hf_db` is the signed error above 8 kHz in
    speech, `pause_db` the signed error in pauses (NaN where there is none). A level is free of the speckle of noise, of
    which an LSD is full.
    """
    a, b = magnitudes(pair.reference, 1024, 256, 1024), magnitudes(pair.generated, 1024, 256, 1024)
    difference = 20.0 * (np.log10(np.maximum(a, 1e-3)) - np.log10(np.maximum(b, 1e-3)))
    speech = speech_frames(a)
    per_frame = np.sqrt(np.square(difference).mean(axis=1))
    high = np.sqrt(np.square(difference[:, _bin(HIGH) :]).mean(axis=1))
    error = _band_levels(b) - _band_levels(a)
    pauses = error[~speech]
    return {
        "lsd": float(per_frame.mean()),
        "lsd_a": float(per_frame[speech].mean()),
        "hf_lsd": float(high[speech].mean()),
        "band_db": float(np.abs(error[speech].mean(axis=0)).mean()),
        "hf_db": float(error[speech][:, [low >= HIGH for low in BANDS]].mean()),
        "pause_db": float(pauses.mean()) if len(pauses) >= PAUSE_FRAMES else float("nan"),
    }


@measure("level_db", "level, dB", 2, "zero")
def level(pair: Pair) -> dict[str, float]:
    """`level_db`: by how much the copy was louder than the recording before both were brought to one level."""
    return {"level_db": -pair.gain_db}


@measure("mel_l1", "mel distance", 3, "lower", charted=True)
@measure("mcd_fb", "MCD of mel bands, dB", 2, "lower")
def mel_distance(pair: Pair) -> dict[str, float]:
    """Mean |log-mel difference| `mel_l1`, and `mcd_fb`: MCD in dB from those 80 bands, c1 to c13, speech frames."""
    from scipy.fft import dct

    a, b = log_mel(pair.reference), log_mel(pair.generated)
    speech = speech_frames(np.exp(a))
    # c_m as in log|H| = c_0 + sum c_m cos(m w): 2 / K of the plain cosine sum, and scipy's DCT-II carries the 2.
    cepstrum = dct(a - b, type=2, axis=1)[:, 1:14] / a.shape[1]
    return {
        "mel_l1": float(np.abs(a - b).mean()),
        "mcd_fb": float(cepstral_distance(cepstrum)[speech].mean()),
    }


def _bin(hz: float) -> int:
    return int(np.ceil(hz * 1024 / RATE))


def _band_levels(magnitude: Values) -> Values:
    """Level in dB of each of BANDS, (frames, bands)."""
    edges = np.array([_bin(hz) for hz in BANDS])
    widths = np.diff(np.append(edges, magnitude.shape[1]))
    power = np.add.reduceat(np.square(magnitude), edges, axis=1) / widths
    return np.asarray(10.0 * np.log10(power + 1e-7))
