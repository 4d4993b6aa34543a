"""Lines that stay: what stands out of the quietest of a recording's spectra, as tones and mains hum do.

Speech leaves every bin now and then. A tone does not, so it is seen 50 dB below the speech.
"""

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from flowvocoder.anomaly.framing import FRAMES, HOP, RATE, padded
from flowvocoder.anomaly.spectrograms import EVERY, FINE_WINDOW
from flowvocoder.audio.stft import power, stft

BLOCK = 4.0
"""Seconds that are looked at together, about."""

SHARES = 0.02, 0.1, 0.3
"""Of the spectra of a block, those with less in a bin than the level that is looked at."""

TONES = 280.0, 9300.0
"""Hz: where tones are looked for."""

AROUND = 270.0
"""Hz: the neighbours of a line."""

MAINS, HARMONICS, HUM_WINDOW = (50.0, 60.0), 8, 4096
"""Hz; how many multiples are looked at; samples of the window for them."""

_TONE = "strongest", "three strongest", "ninth", "place", "over its neighbours"
_HUM = "mean", "three strongest", "four weakest", "even ones"

STEADY = (
    *(f"tones {share}: {what}" for share in SHARES for what in _TONE),
    *(f"the strongest tone: {what}" for what in ("mean", "deviation", "share of the time")),
    *(f"hum {share} {mains:g} Hz: {what}" for share in SHARES for mains in MAINS for what in _HUM),
)
"""Names of the columns."""

Array = npt.NDArray[np.floating[Any]]

_LEAST = 1e-10


def steady(fine: Tensor, audio: Tensor, count: int) -> Array:
    """Columns (count, `len(STEADY)`), which are the same for all frames of a block.

    Args:
        fine: power spectra of `spectrograms.fine_spectra`.
        audio: (T,) at `RATE`.
        count: frames.
    """
    every = 2 * EVERY
    few = -(-count // every)
    coarse = power(stft(padded(audio, HUM_WINDOW, every * HOP, few), HUM_WINDOW, every * HOP, center=False))[:, :few]
    highest = round((HARMONICS + 2) * MAINS[-1] * HUM_WINDOW / RATE)
    logs = [(part + _LEAST).log().numpy() for part in (fine, coarse[:highest])]
    ends = np.linspace(0, count, max(1, round(count / FRAMES / BLOCK)) + 1).round().astype(int)
    rows = [
        [*_tones(logs[0][:, a // EVERY : -(-b // EVERY)]), *_hum(logs[1][:, a // every : -(-b // every)])]
        for a, b in itertools.pairwise(ends)
    ]
    return np.repeat(np.array(rows, np.float32), np.diff(ends), 0)


def _tones(logs: Array) -> list[float]:
    """Of log power spectra (bins, F)."""
    low, high = (round(hz * FINE_WINDOW / RATE) for hz in TONES)
    width, found = _odd(AROUND * FINE_WINDOW / RATE), []
    strongest = low
    for share in SHARES:
        lines = above_neighbours(np.quantile(logs, share, 1), width)
        ordered = np.sort(lines[low:high])[::-1]
        at = low + int(lines[low:high].argmax())
        strongest = at if share == SHARES[1] else strongest
        sides = max(lines[at - 3], lines[at + 3])  # a Hann window spreads a tone over two bins to each side
        found += [ordered[0], ordered[:3].mean(), ordered[8], np.log(at), lines[at] - sides]
    half = width // 2
    over = logs[strongest] - np.median(logs[max(0, strongest - half) : strongest + half + 1], 0)
    return [*found, over.mean(), over.std(), (over > 1.0).mean()]


def _hum(logs: Array) -> list[float]:
    """Of finer log power spectra, of low frequencies alone."""
    width, found = _odd(AROUND * HUM_WINDOW / RATE), []
    for share in SHARES:
        lines = above_neighbours(np.quantile(logs, share, 1), width)
        for mains in MAINS:
            at = [round(k * mains * HUM_WINDOW / RATE) for k in range(1, HARMONICS + 1)]
            each = np.array([lines[a - 1 : a + 2].max() for a in at])
            ordered = np.sort(each)
            found += [each.mean(), ordered[-3:].mean(), ordered[:4].mean(), each[::2].mean()]
    return found


def above_neighbours(logs: Array, width: int) -> Array:
    """Of levels along the first axis, over the median of so many around them."""
    from scipy import ndimage

    return np.asarray(logs - ndimage.median_filter(logs, (width, *[1] * (logs.ndim - 1)), mode="nearest"))


def _odd(bins: float) -> int:
    return round(bins) | 1
