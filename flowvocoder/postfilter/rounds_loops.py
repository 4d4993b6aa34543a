"""Frame-by-frame rounds as machine code, frames side by side. Importing needs numba; compiling takes seconds, once."""

import functools
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flowvocoder.elementary import expm1, log, loop
from flowvocoder.postfilter.transforms import backward, forward


class Levels(NamedTuple):
    """The filters of bands, as `filters.Filters` but for one band after the other.

    Attributes:
        first, ends: of every band its first bin, and where its weights end, (C,).
        weights: of its bins, band after band.
        below, lower, upper: as there, (K,).
        most: the largest gain of every band, in nats, (C,).
        limits: the least gain, the lowest level, and what is added to the power of a bin, (3,).
    """

    first: Any
    ends: Any
    weights: Any
    below: Any
    lower: Any
    upper: Any
    most: Any
    limits: Any


@functools.cache
def rounds_for(size: int, lanes: int) -> Any:
    """Machine code of `iterated` for frames of `size` samples, of which `lanes` are computed side by side.

    Both are constants there, as `transforms.forward` wants them.
    """
    half = size // 2

    @loop
    def iterated(  # type: ignore[no-untyped-def]
        x, target, rounds, momentum, synthesis, hop, window, transform, levels
    ):
        """As `rounds.Consistency.iterated`, in place of x, with `synthesis` as (size, lanes), zero after the last.

        The signal is held in rows, of which each has every `hop`-th sample: what the frames have of one sample of
        theirs lies side by side.
        """
        twiddles, places, turns = transform
        first, ends, weights, below, lower, upper, most, limits = levels
        least, floor, eps = limits
        count, bands = target.shape
        bins, quarter = len(below), np.float32(0.25)
        width = synthesis.shape[1]  # the lanes as a number that is not known: loops of few operations stay loops
        pieces = (size + hop - 1) // hop
        columns = min(pieces + lanes, (len(x) + hop - 1) // hop)
        now = np.zeros((hop, pieces + lanes), np.float32)
        for column in range(columns):
            stretch = x[column * hop :]
            for j in range(min(hop, len(stretch))):
                now[j, column] = stretch[j]
        before, after = now.copy(), np.empty_like(now)
        flat_now, flat_before, flat_after = now.reshape(-1), before.reshape(-1), after.reshape(-1)
        wanted = np.zeros(bands * lanes, np.float32)
        for frame in range(count):
            for band in range(bands):
                wanted[band * lanes + frame] = target[frame, band]
        z, parts = np.empty(size * lanes, np.float32), np.zeros((half + 1) * 2 * lanes, np.float32)
        gain, level = np.zeros(bins * lanes, np.float32), np.zeros((bands + 1) * lanes, np.float32)
        for number in range(rounds):
            for piece in range(pieces):
                for j in range(min(hop, size - piece * hop)):
                    i = piece * hop + j
                    row, stretch, weight = z[i * lanes :], now[j, piece:], window[i]
                    for lane in range(width):
                        row[lane] = stretch[lane] * weight
            forward(z, twiddles, half, half, lanes)
            for k in range(half // 2 + 1):
                cosine, sine = turns[k]
                one, two = z[places[k] * 2 * lanes :], z[places[half - k] * 2 * lanes :]
                own, far = parts[k * 2 * lanes :], parts[(half - k) * 2 * lanes :]
                for i in range(lanes):
                    a, b, c, d = one[i], one[i + lanes], two[i], two[i + lanes]
                    even, even_i, odd, odd_i = a + c, b - d, b + d, c - a
                    turned, turned_i = odd * cosine - odd_i * sine, odd * sine + odd_i * cosine
                    own[i], own[i + lanes] = even + turned, even_i + turned_i
                    far[i], far[i + lanes] = even - turned, turned_i - even_i
            for k in range(bins):
                own, found = parts[k * 2 * lanes :], gain[k * lanes :]
                for i in range(width):
                    found[i] = own[i] * own[i] + own[i + lanes] * own[i + lanes]
            for i in range(bins * lanes):
                gain[i] = np.sqrt(quarter * gain[i] + eps)
            start = 0
            for band in range(bands):
                own = level[band * lanes :]
                for lane in range(lanes):
                    own[lane] = np.float32(0.0)
                for i in range(start, ends[band]):
                    weight, values = weights[i], gain[(first[band] + i - start) * lanes :]
                    for lane in range(width):
                        own[lane] += weight * values[lane]
                start = ends[band]
            for i in range(bands * lanes):
                level[i] = max(wanted[i] - log(max(level[i], floor)), least)
            for band in range(bands):
                own, highest = level[band * lanes :], most[band]
                for lane in range(lanes):
                    own[lane] = min(own[lane], highest)
            for k in range(bins):
                found, values, low, high = gain[k * lanes :], level[below[k] * lanes :], lower[k], upper[k]
                for i in range(width):
                    found[i] = values[i] * low + values[i + lanes] * high
            for i in range(bins * lanes):
                gain[i] = expm1(gain[i])
            for k in range(bins):
                own, factor = parts[k * 2 * lanes :], gain[k * lanes :]
                for i in range(width):
                    own[i] *= factor[i]
                    own[i + lanes] *= factor[i]
            parts[bins * 2 * lanes :] = np.float32(0.0)
            for k in range(half // 2 + 1):
                cosine, sine = turns[k]
                own, far = parts[k * 2 * lanes :], parts[(half - k) * 2 * lanes :]
                one, two = z[places[k] * 2 * lanes :], z[places[half - k] * 2 * lanes :]
                for i in range(lanes):
                    a, b, c, d = own[i], own[i + lanes], far[i], far[i + lanes]
                    even, even_i, turned, turned_i = a + c, b - d, a - c, b + d
                    odd, odd_i = turned * cosine + turned_i * sine, turned_i * cosine - turned * sine
                    one[i], one[i + lanes] = even - odd_i, even_i + odd
                    two[i], two[i + lanes] = even + odd_i, odd - even_i
            backward(z, twiddles, half, half, lanes)
            flat_after[:] = flat_now
            for piece in range(pieces):
                for j in range(min(hop, size - piece * hop)):
                    i = piece * hop + j
                    row, stretch, weight = z[i * lanes :], after[j, piece:], synthesis[i]
                    for lane in range(width):
                        stretch[lane] += row[lane] * weight[lane]
            further = momentum if number + 1 < rounds else np.float32(0.0)
            for i in range(len(flat_now)):
                flat_now[i] = flat_after[i] + further * (flat_after[i] - flat_before[i])
            flat_before[:] = flat_after
        for column in range(columns):
            stretch = x[column * hop :]
            for j in range(min(hop, len(stretch))):
                stretch[j] = now[j, column]

    return iterated


def levels(filterbank: npt.NDArray[np.float32], given: Any) -> Levels:
    """The filters (K, C) of bands, whose bins `filters.filters` has found."""
    bins, bands = filterbank.shape
    used = filterbank > 0
    first = np.where(used.any(0), used.argmax(0), 0)
    last = np.where(used.any(0), bins - used[::-1].argmax(0), 0)
    weights = np.concatenate([filterbank[first[band] : last[band], band] for band in range(bands)])
    shares = given.below[:bins].astype(np.int64), given.lower[:bins], given.upper[:bins]
    return Levels(first, np.cumsum(last - first), weights, *shares, given.most, given.limits)
