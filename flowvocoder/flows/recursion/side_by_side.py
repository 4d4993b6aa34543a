"""The pitch recursion in float32 with a group of samples, or LANES nodes, side by side. Importing needs numba."""

from typing import Any

import numpy as np

from flowvocoder.elementary import exp, loop
from flowvocoder.flows.recursion.reference import GROUP, REACH, WIDEST
from flowvocoder.lanes.numbers import every, load, store
from flowvocoder.units import LANES

TAPS = 2 * REACH + 1

assert GROUP == LANES, "a group of samples is one number of LANES"


@loop
def recur(x: Any, lag: Any, taps: Any, before: int) -> None:
    """x (B, before + G * GROUP), contiguous, holds the past and the residual, and in the end the samples."""
    fades, zero = np.empty(2 * GROUP, np.float32), np.float32(0.0)
    for i in range(GROUP):
        fades[GROUP + i] = np.float32((i + 0.5) / GROUP)
        fades[i] = np.float32(1.0) - fades[GROUP + i]
    out, into = load(fades, 0), load(fades, GROUP)
    for item in range(x.shape[0]):
        row = x[item]
        for group in range(lag.shape[1] - 1):
            start = before + group * GROUP
            first, second = start - lag[item, group] + REACH, start - lag[item, group + 1] + REACH
            own, following = taps[item, group], taps[item, group + 1]
            # Sums in turns: each would wait for the one before.
            a, b = every(own[0]) * load(row, first), every(following[0]) * load(row, second)
            c, d = every(zero), every(zero)
            for j in range(1, TAPS, 2):
                c, d = c + every(own[j]) * load(row, first - j), d + every(following[j]) * load(row, second - j)
                a = a + every(own[j + 1]) * load(row, first - j - 1)
                b = b + every(following[j + 1]) * load(row, second - j - 1)
            store(row, start, load(row, start) + (out * (a + c) + into * (b + d)))


@loop
def taps_at(nodes: Any, min_lag: int) -> Any:
    """As `reference.taps_at`, of nodes (B, G + 1, 1 + W): a fractional lag and gains."""
    items, count, width = nodes.shape
    lag, taps = np.empty((items, count), np.int64), np.empty((items, count, TAPS), np.float32)
    scale, shortest = np.float32(0.5**0.5 / WIDEST), np.float32(min_lag)
    shape, found = np.empty(TAPS * LANES, np.float32), np.empty(TAPS * LANES, np.float32)
    shift, gains = np.empty(LANES, np.float32), np.empty(width * LANES, np.float32)
    for item in range(items):
        for first in range(0, count, LANES):
            now = min(LANES, count - first)
            for lane in range(LANES):
                given = nodes[item, first + min(lane, now - 1)]
                whole = np.rint(shortest if np.isnan(given[0]) else given[0])
                lag[item, first + min(lane, now - 1)] = np.int64(whole)
                shift[lane] = scale * (whole - given[0])
                for filter in range(1, width):
                    gains[filter * LANES + lane] = given[filter]
            off = load(shift, 0)
            for j in range(TAPS):
                store(shape, j * LANES, off + every(scale * np.float32(j - REACH)))
            _bells(shape)
            found[:] = np.float32(0.0)
            for filter in range(width - 1, 0, -1):
                total = off - off  # 0, or NaN where the lag is
                for j in range(TAPS):
                    total = total + load(shape, j * LANES)
                gain = load(gains, filter * LANES) / total
                for j in range(TAPS):
                    own = load(shape, j * LANES)
                    store(found, j * LANES, load(found, j * LANES) + gain * own)
                    own = own * own
                    store(shape, j * LANES, own * own)
            for lane in range(now):
                for j in range(TAPS):
                    taps[item, first + lane, j] = found[j * LANES + lane]
    return lag, taps


@loop
def _bells(x: Any) -> None:
    for i in range(len(x)):
        x[i] = exp(-(x[i] * x[i]))
