"""The triangular filters of a mel spectrogram, in NumPy."""

import math

import numpy as np
import numpy.typing as npt

from flowvocoder.mel.spec import MelSpec

Doubles = npt.NDArray[np.float64]

_BREAK_HZ, _BREAK_MEL, _STEP = 1000.0, 15.0, math.log(6.4) / 27.0  # of Slaney's scale: linear below, logarithmic above


def filterbank(spec: MelSpec) -> Doubles:
    """What `mel.frontend.mel_filterbank` gives, to float32's rounding: (n_mels, n_fft / 2 + 1).

    Triangles between points that are evenly spaced on the mel scale: of HTK (O'Shaughnessy 1987) or Slaney's Auditory
    Toolbox (1998), with Slaney's norm of equal areas.

    Example:
        >>> filterbank(MelSpec()).shape
        (80, 513)
    """
    hz = np.linspace(0.0, spec.sample_rate // 2, spec.n_fft // 2 + 1)
    ends = _mel(np.array([spec.fmin, spec.fmax]), spec.mel_scale)
    points = _hz(np.linspace(ends[0], ends[1], spec.n_mels + 2), spec.mel_scale)
    widths = np.diff(points)
    slopes = points[:, None] - hz
    rising, falling = -slopes[:-2] / widths[:-1, None], slopes[2:] / widths[1:, None]
    filters = np.maximum(0.0, np.minimum(rising, falling))
    if spec.norm == "slaney":
        filters *= (2.0 / (points[2:] - points[:-2]))[:, None]
    return filters


def _mel(hz: Doubles, scale: str) -> Doubles:
    if scale == "htk":
        return np.asarray(2595.0 * np.log10(1.0 + hz / 700.0))
    above = _BREAK_MEL + np.log(np.maximum(hz, 1e-9) / _BREAK_HZ) / _STEP
    return np.where(hz < _BREAK_HZ, hz * 3.0 / 200.0, above)


def _hz(mel: Doubles, scale: str) -> Doubles:
    if scale == "htk":
        return np.asarray(700.0 * (10.0 ** (mel / 2595.0) - 1.0))
    return np.where(mel < _BREAK_MEL, mel * 200.0 / 3.0, _BREAK_HZ * np.exp(_STEP * (mel - _BREAK_MEL)))
