"""Another pitch, duration or vocal tract for a recording, made of its own samples."""

from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from flowvocoder.audio.files import Samples

Doubles = npt.NDArray[np.float64]

PIECE, REACH = 0.022, 0.01
"""Seconds of a piece, and how far it may be moved to either side: together more than the period of the lowest voice."""

FAR = 0.2
"""What a piece at the edge of its reach must be more alike, of 1."""

GUARD = 1024
"""Samples of silence at both ends, since the Fourier transform of a recording is circular."""

FRAME, SMOOTH = 0.02, 0.0022
"""Seconds of a spectrum, and of the cepstrum that its envelope keeps: half the period of a high voice."""

ROUNDS, MOST, BATCH = 12, 5.0, 256
"""Of the envelope; the largest gain or loss, in nats; frames that are worked on together."""


def stretched(samples: Samples, length: int, rate: int) -> Samples:
    """Audio (T,) with another duration (length,), its pitch and spectrum as they were.

    Waveform similarity overlap-add (Verhelst and Roelands 1993): pieces of the recording overlap by half. Each is the
    one, near where it should be taken from, that is most like what followed the piece before it.

    Example:
        >>> stretched(np.zeros(4000, np.float32), 5000, 22050).shape
        (5000,)
    """
    hop, reach = round(PIECE * rate / 2), round(REACH * rate)
    size, pace = 2 * hop, len(samples) / length
    before, room = size + reach, size + 2 * reach
    padded = np.pad(samples.astype(np.float64), (before, before + room + int(hop * pace)))
    power = np.cumsum(np.r_[0.0, padded**2])
    near = FAR * np.square(np.arange(-reach, reach + 1) / reach)
    window, transform = np.hanning(size + 1)[:-1], 1 << (room - 1).bit_length()
    count = -(-length // hop) + 1
    done, at = np.zeros((count + 1) * hop), before - 2 * hop
    for piece in range(count):
        low = before + round(piece * hop * pace) - hop - reach
        follows, around = padded[at + hop : at + hop + size], padded[low : low + room]
        products = np.fft.irfft(np.fft.rfft(around, transform) * np.fft.rfft(follows, transform).conj(), transform)
        energy = power[low + size : low + room + 1] - power[low : low + 2 * reach + 1]
        alike = products[: 2 * reach + 1] / np.sqrt(np.maximum(energy * (follows**2).sum(), 0.0) + 1e-9)
        at = low + int(np.argmax(alike - near))
        done[piece * hop : piece * hop + size] += window * padded[at : at + size]
    return done[hop : hop + length].astype(np.float32)


def resampled(samples: Samples, length: int) -> Samples:
    """Audio (T,) as `length` samples of the same rate, so that all its frequencies are multiplied by T / length.

    Where they become lower, the band above them is filled with their mirror image instead of nothing (spectral folding,
    Makhoul and Berouti 1979): what belongs there is mostly noise.

    Example:
        >>> resampled(np.ones(4000, np.float32), 5000).shape
        (5000,)
    """
    guard = round(GUARD * length / len(samples))
    padded = np.pad(samples.astype(np.float64), (GUARD, GUARD))
    wanted = length + 2 * guard
    spectrum = np.fft.rfft(padded)
    bins = np.arange(wanted // 2 + 1)
    moved = spectrum[_folded(bins, len(spectrum) - 1)]
    moved[len(spectrum) :] = moved[len(spectrum) :].conj()
    return (np.fft.irfft(moved, wanted) * (wanted / len(padded)))[guard : guard + length].astype(np.float32)


def with_envelope_of(samples: Samples, of: Samples, rate: int, moved: float, formants: float) -> Samples:
    """Audio (T,) with the spectral envelope of other audio, whatever the duration of that.

    Args:
        samples: what `resampled` gave.
        of: what has the envelope.
        moved: the factor that `samples` has on all frequencies of `of`.
        formants: the factor that it is to have instead.
    """
    size = 1 << round(np.log2(FRAME * rate))
    hop, window = size // 4, np.hanning(size + 1)[:-1]
    count = -(-len(samples) // hop) + 1
    one, other = (np.pad(x.astype(np.float64), (size // 2, size + hop)) for x in (samples, of))
    places = np.minimum(np.rint(np.arange(count) * (hop * len(of) / len(samples))).astype(int), len(of))
    bins = np.arange(size // 2 + 1)
    here, there = (_folded(bins / factor, size // 2) for factor in (moved, formants))
    done, weight = np.zeros((2, len(one)))
    for first in range(0, count, BATCH):
        last = min(first + BATCH, count)
        frames = sliding_window_view(one, size)[first * hop : (last - 1) * hop + 1 : hop] * window
        log = np.log(np.abs(np.fft.rfft(sliding_window_view(other, size)[places[first:last]] * window)) + 1e-5)
        envelope = _envelope(log, round(SMOOTH * rate))
        gain = np.clip(_at(envelope, there) - _at(envelope, here), -MOST, MOST)
        for frame, part in enumerate(np.fft.irfft(np.fft.rfft(frames) * np.exp(gain)) * window, first):
            done[frame * hop : frame * hop + size] += part
            weight[frame * hop : frame * hop + size] += window**2
    return (done / np.maximum(weight, 1e-9))[size // 2 : size // 2 + len(samples)].astype(np.float32)


def _envelope(log: Doubles, order: int) -> Doubles:
    """Of log magnitudes (F, K): as smooth as a cepstrum of `order` numbers, and on top of the harmonics.

    What is smooth takes the place of what lies below it, again and again (Imai and Abe 1979; Roebel and Rodet 2005).
    """
    smooth = np.full_like(log, -np.inf)
    for _ in range(ROUNDS):
        cepstrum = np.fft.irfft(np.maximum(log, smooth))
        cepstrum[:, order + 1 : -order] = 0.0
        smooth = np.fft.rfft(cepstrum).real
    return smooth


def _at(values: Doubles, places: Doubles) -> Doubles:
    """(F, K) between its columns."""
    low = np.minimum(places.astype(int), values.shape[1] - 2)
    return values[:, low] + (values[:, low + 1] - values[:, low]) * (places - low)


def _folded(places: Any, last: int) -> Any:
    """Places beyond the last one mirrored at it."""
    return last - np.abs(np.mod(places, 2 * last) - last)
