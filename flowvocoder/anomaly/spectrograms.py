"""Logarithmic spectrograms, which a network looks at as at a picture: fine below 2.8 kHz, in mel bands, and at the top.

Every second frame has a spectrum of its own.
"""

import functools

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from flowvocoder.anomaly.framing import FRAMES, HOP, RATE, padded
from flowvocoder.audio.files import Samples
from flowvocoder.audio.stft import power, stft
from flowvocoder.extras import librosa

EVERY = 2
"""Frames from one spectrum to the next."""

FINE, FINE_WINDOW = 256, 2048
"""Bins, of 11 Hz, and samples of their window: harmonics of two voices, hum, tones."""

BANDS, BANDS_WINDOW = 64, 512
"""Mel bands, and samples of their window: what dies away, and what is sudden."""

TOP, TOP_WINDOW, TOP_FROM = 32, 2048, 0.75
"""Bands below half of the recording's own rate, samples of their window, and the share that they begin at."""

SPECTROGRAM = (
    *(f"fine {i}" for i in range(FINE)),
    *(f"band {i}" for i in range(BANDS)),
    *(f"top {i}" for i in range(TOP)),
)
"""Names of the columns."""

_LEAST = 1e-7


def fine_spectra(audio: Tensor, count: int) -> Tensor:
    """Power spectra (bins, ceil(count / `EVERY`)) of the first frames of audio (T,) at `RATE`."""
    return _spectra(audio, count, FINE_WINDOW)


def spectrogram(fine: Tensor, audio: Tensor, samples: Samples, rate: int, count: int) -> npt.NDArray[np.float32]:
    """Log power (count, `len(SPECTROGRAM)`) of the first frames of audio (T,) at `RATE`, and as stored.

    Args:
        fine: `fine_spectra` of it.
    """
    few, short = -(-count // EVERY), _spectra(audio, count, BANDS_WINDOW)
    logs = [(part + _LEAST).log().T.numpy() for part in (fine[:FINE], _mel_bands() @ short)]
    columns = np.concatenate([*logs, _top(samples, rate, few)], 1)
    return np.asarray(np.repeat(columns, EVERY, 0)[:count], np.float32)


def _spectra(audio: Tensor, count: int, size: int) -> Tensor:
    few, hop = -(-count // EVERY), EVERY * HOP
    return power(stft(padded(audio, size, hop, few), size, hop, center=False))[:, :few]


def _top(samples: Samples, rate: int, count: int) -> npt.NDArray[np.float32]:
    at = np.minimum((np.arange(count) * (rate / FRAMES * EVERY)).astype(int), len(samples) - 1)
    around = np.pad(samples, TOP_WINDOW // 2)
    windows = torch.from_numpy(around[at[:, None] + np.arange(TOP_WINDOW)]) * torch.hann_window(TOP_WINDOW)
    spectra = torch.fft.rfft(windows).abs().square().numpy()
    edges = np.round(np.linspace(TOP_FROM, 1.0, TOP + 1) * (TOP_WINDOW // 2)).astype(int)
    means = np.add.reduceat(spectra[:, : TOP_WINDOW // 2], edges[:-1], 1) / np.diff(edges)
    return np.asarray(np.log(means + _LEAST), np.float32)


@functools.cache
def _mel_bands() -> Tensor:
    return torch.from_numpy(librosa().filters.mel(sr=RATE, n_fft=BANDS_WINDOW, n_mels=BANDS, fmax=RATE / 2))
