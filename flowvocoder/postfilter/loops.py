"""What an iteration computes for every bin, as machine code. Importing needs numba; compiling takes seconds, once."""

from typing import Any

import numpy as np

from flowvocoder.elementary import expm1, log, loop
from flowvocoder.postfilter.schedule import LIMITS
from flowvocoder.units import LANES


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
def over_level(parts: Any, level: Any, faint: Any, lowest: Any, least: Any, greatest: Any, found: Any) -> None:
    """As `Arithmetic.over_level`: real and imaginary parts in turns (F * n, 2 K), (F, K), into (F * n, K)."""
    half, rows = np.float32(0.5), found.shape[0] // max(1, level.shape[0])
    bins, whole = found.shape[1], found.shape[1] // LANES * LANES
    end = np.zeros(LANES, np.float32)
    for row in range(found.shape[0]):
        own, stated, numbers = found[row], level[row // rows], parts[row]
        for k in range(bins):
            own[k] = numbers[2 * k] * numbers[2 * k] + numbers[2 * k + 1] * numbers[2 * k + 1] + faint
        for k in range(whole):
            own[k] = log(own[k])
        # Those that are left over, in whole lanes: one by one they would take as long as all others.
        end[: bins - whole] = own[whole:]
        for lane in range(LANES):
            end[lane] = log(max(end[lane], faint))
        own[whole:] = end[: bins - whole]
        for k in range(bins):
            own[k] = min(max(half * own[k] - max(stated[k], lowest), least), greatest)


@loop
def bounded(x: Any, most: Any, found: Any) -> None:
    """As `Arithmetic.bounded`: (R, K), into (R, K)."""
    for row in range(x.shape[0]):
        for k in range(x.shape[1]):
            found[row, k] = x[row, k] / (np.float32(1.0) + abs(x[row, k]) / most)


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
def corrected(spectra: Any, targets: Any, inside: Any, filters: Any, length: Any) -> None:
    """As `Arithmetic.corrected`, in place of real and imaginary parts in turns (R, 2 K): levels (R, C), inside (R,)."""
    # Fields of a tuple that are read within a loop keep it from being vectorised.
    first, widths, weights, below, lower, upper, most, limits = filters
    bins, bands, groups = len(below), targets.shape[1], len(widths)
    least, floor, eps = limits
    shrunk, grown = np.float32(LIMITS[0]), np.float32(LIMITS[1])
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
            magnitude[k] = min(max(length * expm1(magnitude[k]), shrunk), grown)
        for k in range(bins):
            parts[2 * k] *= magnitude[k]
            parts[2 * k + 1] *= magnitude[k]
        parts[2 * bins :] = np.float32(0.0)
