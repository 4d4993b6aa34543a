"""Where samples may not follow from those before: candidates for clicks and splices, and what is around each.

The error of interpolation from an autoregression finds both (Godsill and Rayner 1998, 5.3), and pulses and bursts of
speech as well. What tells them apart is learned: how bands, prediction, level and pitch go on after the candidate.
"""

import itertools

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from flowvocoder.audio.files import Samples
from flowvocoder.audio.resample import resample
from flowvocoder.units import PCM16_SCALE

Array = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

ORDER, BLOCK = 32, 0.02
"""Of the linear prediction, and seconds that its weights are used for."""

BIN, APART, NEIGHBOURS, MIDDLE = 0.0005, 4, 22, 41
"""Seconds of a bin; bins to each side that may be of the candidate, and that it is compared to; those of the median."""

EDGES = (0.0, 1500.0, 3000.0, 5000.0, 7000.0, 9000.0, 11025.0, 16000.0, 24000.0)
"""Hz between bands. Those above half of the sample rate are all 0."""

WINDOW = 0.0015
"""Seconds of the spectra of bands."""

SIDE, SIDE_ORDER, HALF = 0.015, 20, 0.0004
"""Of the predictions from one side: seconds, the order; seconds left out to each side of the candidate."""

PITCH_RATE, MATCHED, SHORTEST_LAG, LONGEST_LAG, CORE = 8000, 64, 18, 130, 3
"""Where periods are compared: Hz; samples that are, their lags, and those left out beside the candidate."""

FURTHEST = 12.0
"""Nats that a feature counts."""

BREAKS = ("click", "splice")
"""What a candidate may be."""

_BANDS = range(len(EDGES) - 1)

BREAK_FEATURES = (
    "error alone", "error over before", "error over after", "error over further", "error over median", "error uneven",
    *(f"band {band} over before" for band in _BANDS),
    *(f"band {band} over after" for band in _BANDS),
    *(f"band {band} changes" for band in _BANDS),
    "bands change", "level changes",
    "curvature over before", "curvature over after",
    "level", "error over level",
    "predicted over before", "predicted over after", "predicted over mean before", "predicted over mean after",
    "after by before", "before by after",
    "period before", "period after", "period across", "period at, before", "period at, after", "period breaks",
)  # fmt: skip
"""Of the columns."""


def candidates(samples: Samples, rate: int, count: int, frames: int) -> tuple[Array, Array]:
    """The likeliest place of a discontinuity in each of `count` frames of audio (T,) at a rate in Hz.

    Args:
        frames: of a second.

    Returns:
        features (F, `len(BREAK_FEATURES)`) and seconds (F,). A frame without a whole bin has zeros, and -1 seconds.
    """
    whole = np.rint(samples.astype(np.float64) * PCM16_SCALE)
    bins = max(1, round(BIN * rate))
    error = np.abs(_interpolation_error(whole, rate))
    number = len(whole) // bins
    error = error[: number * bins].reshape(number, bins)
    first, peaks = np.arange(number) * bins, np.log(error.max(1) + 3.0)
    alone = _alone(peaks)
    frame = np.minimum((first / rate * frames).astype(int), count - 1)
    order = np.lexsort((alone[0], frame))
    best = order[np.r_[np.flatnonzero(np.diff(frame[order])), number - 1]]
    places = (error.argmax(1) + first)[best]
    level, near = _levels(whole, places, rate)
    columns = [
        *(line[best] for line in alone),
        *_bands(whole, rate, bins, best, number),
        *_curvature(whole, bins, best, number),
        level,
        peaks[best] - near,
        *_from_each_side(whole, rate, places),
        *_periods(samples, rate, places),
    ]
    found, seconds = np.zeros((count, len(BREAK_FEATURES))), np.full(count, -1.0)
    found[frame[best]] = np.stack(columns, 1)
    seconds[frame[best]] = places / rate
    return found.clip(-FURTHEST, FURTHEST), seconds


def _interpolation_error(whole: Array, rate: int) -> Array:
    """Of each sample from `ORDER` samples to both sides."""
    block = max(ORDER, round(BLOCK * rate))
    blocks = -(-len(whole) // block)
    size = 1 << (2 * block + 2 * ORDER - 1).bit_length()
    padded = np.pad(whole, (block // 2 + ORDER, (blocks + 1) * block + ORDER - len(whole)))
    windows = sliding_window_view(padded[ORDER:], 2 * block)[: blocks * block : block]
    # 0.1 is about what rounding to 16 bits adds to a sample's power
    weights = _prediction(windows * np.hanning(2 * block), ORDER, 0.1 * block, size)
    filters = np.abs(np.fft.rfft(np.concatenate([np.ones((blocks, 1)), -weights], 1), size)) ** 2
    around = sliding_window_view(padded[block // 2 :], block + 2 * ORDER)[: blocks * block : block]
    error = np.fft.irfft(np.fft.rfft(around, size) * filters, size)[:, ORDER : ORDER + block]
    return np.asarray(error.ravel()[: len(whole)])


def _prediction(windows: Array, order: int, noise: float, size: int) -> Array:
    """Weights (F, order) of the linear prediction in windows (F, T) of samples, by their autocorrelation."""
    lags = np.fft.irfft(np.abs(np.fft.rfft(windows, size)) ** 2, size)[:, : order + 1]
    lags[:, 0] = lags[:, 0] * (1.0 + 1e-8) + noise
    apart = np.arange(order)
    return np.asarray(np.linalg.solve(lags[:, np.abs(apart[:, None] - apart)], lags[:, 1:, None])[:, :, 0])


def _beside(lines: Array, near: int, far: int) -> tuple[Array, Array]:
    """The largest of lines (..., T) in the bins `near` to `far` before each bin, and after it."""
    from scipy import ndimage

    width = far - near
    reach, count = near + width // 2, lines.shape[-1]
    highest = ndimage.maximum_filter1d(lines, width, axis=-1, mode="nearest")
    padded = np.pad(highest, [(0, 0)] * (lines.ndim - 1) + [(reach, reach)], mode="edge")
    return padded[..., :count], padded[..., 2 * reach :]


def _alone(peaks: Array) -> tuple[Array, ...]:
    """How far log peaks of the error exceed those to both sides, those further away, and the median."""
    from scipy import ndimage

    before, after = _beside(peaks, APART, NEIGHBOURS)
    further = np.maximum(*_beside(peaks, NEIGHBOURS, 3 * NEIGHBOURS))
    lasting = peaks - ndimage.median_filter(peaks, MIDDLE, mode="nearest")
    uneven = np.abs(before - after)
    alone = peaks - np.maximum(before, after) + 0.3 * (uneven + lasting)
    return alone, peaks - before, peaks - after, peaks - further, lasting, uneven


def _bands(whole: Array, rate: int, bins: int, best: Places, number: int) -> list[Array]:
    """Log power of bands above that of both sides, and how it changes from 10 ms before to 10 ms after."""
    from scipy import ndimage

    window = 2 * max(4, round(WINDOW * rate / 2))
    padded = np.pad(whole, (window // 2, window + bins))
    spectra = sliding_window_view(padded, window)[: number * bins : bins] * np.hanning(window)
    power, hz = np.abs(np.fft.rfft(spectra)) ** 2, np.fft.rfftfreq(window, 1.0 / rate)
    bands = np.zeros((len(EDGES) - 1, number))
    for band, (low, high) in enumerate(itertools.pairwise(EDGES)):
        own = (hz >= low) & (hz < high)
        if own.any():
            bands[band] = np.log(power[:, own].mean(1) + window)
    here = ndimage.maximum_filter1d(bands, 3, axis=-1, mode="nearest")
    before, after = _beside(bands, APART, NEIGHBOURS)
    half = NEIGHBOURS // 2 + 2
    mean = np.pad(ndimage.uniform_filter1d(bands, 20, axis=-1, mode="nearest"), ((0, 0), (half, half)), mode="edge")
    change = (mean[:, 2 * half :] - mean[:, :number])[:, best]
    speech = change[: EDGES.index(11025.0)]
    changes = [*np.abs(change), np.abs(speech).mean(0), np.abs(speech.mean(0))]
    return [*(here - before)[:, best], *(here - after)[:, best], *changes]


def _curvature(whole: Array, bins: int, best: Places, number: int) -> list[Array]:
    """How far the largest second difference exceeds those to both sides."""
    second = np.abs(np.diff(whole, 2, prepend=whole[:1], append=whole[-1:]))
    peaks = np.log(second[: number * bins].reshape(number, bins).max(1) + 3.0)
    return [(peaks - side)[best] for side in _beside(peaks, APART, NEIGHBOURS)]


def _levels(whole: Array, places: Places, rate: int) -> tuple[Array, Array]:
    """Log amplitude within 10 ms, less the loudest within a second; and that loudest."""
    from scipy import ndimage

    log = 0.5 * np.log(ndimage.uniform_filter1d(whole**2, max(1, round(0.02 * rate)), mode="nearest").clip(0.0) + 10.0)
    loudest = ndimage.maximum_filter1d(log, max(1, 2 * rate), mode="nearest")[places]
    return log[places] - loudest, loudest


def _from_each_side(whole: Array, rate: int, places: Places) -> list[Array]:
    """The largest error of predicting the candidate from either side alone, and each side by what the other one is."""
    order, half = SIDE_ORDER, max(1, round(HALF * rate))
    length = max(2 * order, round(SIDE * rate))
    size = 1 << (2 * length - 1).bit_length()
    padded = np.pad(whole, (length + 2 * order, length + 2 * order))
    centres = places + length + 2 * order
    shape = np.hanning(length)
    own, other, crossing = [], [], []
    for way in (-1, 1):  # time runs towards the candidate: forwards on its left, backwards on its right
        side = padded[(centres + way * half)[:, None] + way * np.arange(length, 0, -1)]
        beyond = padded[(centres - way * half)[:, None] - way * np.arange(length)]
        across = padded[(centres + way * half)[:, None] + way * np.arange(order, -2 * half - 4, -1)]
        weights = _prediction(side * shape, order, 0.1 * length, size)
        own.append(_residual(side, weights))
        other.append(_residual(beyond, weights))
        crossing.append(np.abs(_residual(across, weights)).max(1))
    log = [np.log(value + 3.0) for value in crossing]
    peak = [np.log(np.abs(value).max(1) + 3.0) for value in own]
    mean, beyond = ([np.log(np.sqrt((v**2).mean(1)) + 3.0) for v in residuals] for residuals in (own, other))
    over = [log[0] - peak[0], log[1] - peak[1], log[0] - mean[0], log[1] - mean[1]]
    return [*over, beyond[0] - mean[1], beyond[1] - mean[0]]


def _residual(samples: Array, weights: Array) -> Array:
    """Of prediction from the left: (F, T), (F, order) -> (F, T - order)."""
    order = weights.shape[1]
    filters = np.concatenate([-weights[:, ::-1], np.ones((len(weights), 1))], 1)
    return np.asarray((sliding_window_view(samples, order + 1, axis=1) @ filters[:, :, None])[:, :, 0])


def _periods(samples: Samples, rate: int, places: Places) -> list[Array]:
    """How well 8 ms before the candidate, after it and at it match a period earlier or later; and across it."""
    low = np.asarray(resample(samples, rate, PITCH_RATE), np.float64) * PCM16_SCALE
    reach = MATCHED + LONGEST_LAG + 2 * CORE
    padded = np.pad(low, reach)
    at = np.minimum(np.round(places * (PITCH_RATE / rate)).astype(int), len(low)) + reach

    def match(start: int, way: int) -> Array:
        base = padded[(at + start)[:, None] + np.arange(MATCHED)]
        span = padded[(at + start)[:, None] + np.arange(min(0, way * LONGEST_LAG), MATCHED + max(0, way * LONGEST_LAG))]
        others = sliding_window_view(span, MATCHED, axis=1)
        others = others[:, : LONGEST_LAG - SHORTEST_LAG + 1] if way < 0 else others[:, SHORTEST_LAG:]
        products = (others @ base[:, :, None])[:, :, 0]
        powers = np.einsum("flt,flt->fl", others, others)
        return np.asarray((products / np.sqrt((powers + 100.0) * ((base**2).sum(1)[:, None] + 100.0))).max(1))

    before, after, across = match(-MATCHED - CORE, -1), match(CORE, 1), match(CORE, -1)
    return [
        before,
        after,
        across,
        match(-MATCHED // 2, -1),
        match(-MATCHED // 2, 1),
        across - np.minimum(before, after),
    ]
