"""What an iteration computes for every bin, as machine code. Importing needs numba; compiling takes seconds, once."""

import functools
from typing import Any

import numpy as np

from flowvocoder.extras import machine_code
from flowvocoder.postfilter.filters import LANES

loop = functools.partial(machine_code, fastmath={"contract", "arcp"}, error_model="numpy", nogil=True)
"""Loops that are simple enough to be vectorised."""

LN2 = 0.6931471805599453

# ln(1 + f) = f - f^2 / 2 + f^3 P(f) for f from sqrt(1/2) - 1 to sqrt(2) - 1: P by least squares, 3e-10 off.
LOG = (0.33333313, -0.25000028, 0.20002190, -0.16667142, 0.14216945, -0.12417445, 0.11919887, -0.11624543, 0.06618167)
# e^r to r^7 / 7!, for r within ln(2) / 2 of 0: 6e-9 off.
EXP = (1.0, 1.0, 1 / 2, 1 / 6, 1 / 24, 1 / 120, 1 / 720, 1 / 5040)


# The C library's logarithm and exponential, which numba calls, are not vectorised: hence our own.


@loop
def log(x: Any) -> Any:
    """Of a positive float32."""
    one, half = np.float32(1.0), np.float32(0.5)
    bits = np.float32(x).view(np.int32)
    # The power of two that leaves a factor between sqrt(1/2) and sqrt(2).
    power = np.int32(np.int32(bits - np.int32(0x3F3504F3)) >> np.int32(23))
    f = np.int32(bits - np.int32(power << np.int32(23))).view(np.float32) - one
    p = np.float32(LOG[8])
    for n in range(7, -1, -1):
        p = p * f + np.float32(LOG[n])
    return f + f * f * (f * p - half) + np.float32(power) * np.float32(LN2)


@loop
def expm1(x: Any) -> Any:
    """Of a float32 within -80..80."""
    one, half, per_nat = np.float32(1.0), np.float32(0.5), np.float32(1.0 / LN2)
    # ln(2) in two parts, of which the first has few bits: whole multiples of it are exact.
    high, low = np.float32(0.693359375), np.float32(LN2 - 0.693359375)
    power = np.floor(x * per_nat + half)
    r = x - power * high - power * low
    p = np.float32(EXP[7])
    for n in range(6, -1, -1):
        p = p * r + np.float32(EXP[n])
    scale = np.int32(np.int32(np.int32(power) + np.int32(127)) << np.int32(23)).view(np.float32)
    return p * scale - one


@loop
def windows(audio: Any, window: Any, stride: int, found: Any) -> None:
    """As `Arithmetic.windows`, into (B, count, size)."""
    for item in range(found.shape[0]):
        for frame in range(found.shape[1]):
            stretch, weighted = audio[item, frame * stride :], found[item, frame]
            for i in range(len(window)):
                weighted[i] = stretch[i] * window[i]


@loop
def overlap_add(change: Any, synthesis: Any, stride: int, total: Any) -> None:
    """As `Arithmetic.add`, to (B, T)."""
    for item in range(change.shape[0]):
        for frame in range(change.shape[1]):
            stretch, own = total[item, frame * stride :], change[item, frame]
            for i in range(len(synthesis)):
                stretch[i] += own[i] * synthesis[i]


@loop
def change(parts: Any, gain: Any) -> None:
    """As `Arithmetic.change`, in place of real and imaginary parts in turns (R, 2 K)."""
    for row in range(gain.shape[0]):
        for k in range(gain.shape[1]):
            factor = expm1(gain[row, k])
            parts[row, 2 * k] *= factor
            parts[row, 2 * k + 1] *= factor
        parts[row, 2 * gain.shape[1] :] = np.float32(0.0)


@loop
def towards(parts: Any, target: Any, floor: Any, inside: Any, least: Any, most: Any) -> None:
    """As `Arithmetic.towards`, in place of real and imaginary parts in turns (R, 2 K)."""
    one = np.float32(1.0)
    for row in range(target.shape[0]):
        for k in range(target.shape[1]):
            real, imaginary = parts[row, 2 * k], parts[row, 2 * k + 1]
            gain = target[row, k] / (np.sqrt(real * real + imaginary * imaginary) + floor[row, k])
            factor = (min(max(gain, least), most) - one) * inside[row % len(inside)]
            parts[row, 2 * k] = real * factor
            parts[row, 2 * k + 1] = imaginary * factor
        parts[row, 2 * target.shape[1] :] = np.float32(0.0)


@loop
def staggered_add(change: Any, synthesis: Any, hop: int, after: Any, before: Any, momentum: Any, further: Any) -> None:
    """Adds frames (F, size) times the windows (F, size) to a signal, `hop` apart; `further` goes on from `before`."""
    for frame in range(change.shape[0]):
        stretch, own, window = after[frame * hop :], change[frame], synthesis[frame]
        for i in range(len(own)):
            stretch[i] += own[i] * window[i]
    for i in range(len(after)):
        further[i] = after[i] + momentum * (after[i] - before[i])


@loop
def corrected(spectra: Any, targets: Any, inside: Any, filters: Any) -> None:
    """As `Arithmetic.corrected`, in place of real and imaginary parts in turns (R, 2 K): levels (R, C), inside (R,)."""
    # Fields of a tuple that are read within a loop keep it from being vectorised.
    first, widths, weights, below, lower, upper, most, limits = filters
    bins, bands, groups = len(below), targets.shape[1], len(widths)
    least, floor, eps = limits
    # Narrow bands look at bins beyond the last one, with weight 0.
    magnitude, level = np.zeros(bins + np.max(widths), np.float32), np.zeros(groups * LANES + 1, np.float32)
    for index in range(len(spectra)):
        parts, target, row = spectra[index], targets[index], 0
        if not inside[index]:
            parts[:] = np.float32(0.0)
            continue
        for k in range(bins):
            real, imaginary = parts[2 * k], parts[2 * k + 1]
            magnitude[k] = np.sqrt(real * real + imaginary * imaginary + eps)
        for group in range(groups):
            own, start = level[group * LANES : (group + 1) * LANES], first[group]
            own[:] = np.float32(0.0)
            for i in range(widths[group]):
                weight = weights[row]
                row += 1
                for lane in range(LANES):
                    own[lane] += magnitude[start[lane] + np.uint64(i)] * weight[lane]
        for band in range(groups * LANES):  # whole lanes: those that are left over would take as long as all others
            level[band] = log(max(level[band], floor))
        for band in range(bands):
            level[band] = min(max(target[band] - level[band], least), most[band])
        level[bands] = np.float32(0.0)
        for k in range(bins):
            magnitude[k] = level[below[k]] * lower[k] + level[below[k] + np.uint64(1)] * upper[k]
        for k in range(bins):
            magnitude[k] = expm1(magnitude[k])
        for k in range(bins):
            parts[2 * k] *= magnitude[k]
            parts[2 * k + 1] *= magnitude[k]
        parts[2 * bins :] = np.float32(0.0)


@loop
def iterated(  # type: ignore[no-untyped-def]
    x, target, rounds, momentum, synthesis, hop, analysis, resynthesis, filters
):
    """As `rounds.Consistency.iterated`, by products with matrices."""
    count, size = synthesis.shape
    windows, inside = np.empty((count, size), np.float32), np.ones(count, np.bool_)
    x, before = x.copy(), x.copy()
    for number in range(rounds):
        for frame in range(count):
            windows[frame] = x[frame * hop : frame * hop + size]
        parts = np.dot(windows, analysis)
        corrected(parts, target, inside, filters)
        change = np.dot(parts, resynthesis)
        after = x.copy()
        for frame in range(count):
            for i in range(size):
                after[frame * hop + i] += change[frame, i] * synthesis[frame, i]
        x = after + momentum * (after - before) if number + 1 < rounds else after
        before = after
    return x
