"""Iterations over frames as machine code: LANES of them side by side, from audio to audio. Importing needs numba.

Frames lie `stride` samples apart. So in audio that is cut into rows of a stride, and transposed, the same sample of
neighbouring frames is one beside the other. A tile holds LANES such rows, and those that their frames reach into.
"""

from typing import Any

import numpy as np

from flowvocoder.elementary import expm1, log, loop
from flowvocoder.lanes.fourier import signals, spectra
from flowvocoder.lanes.numbers import every, greatest, least, load, store, turned
from flowvocoder.postfilter.schedule import LIMITS
from flowvocoder.units import LANES


@loop
def correct(
    signal: Any,
    audio: Any,
    targets: Any,
    inside: Any,
    stride: int,
    windows: Any,
    plan: Any,
    filters: Any,
    length: Any,
) -> None:
    """As `Arithmetic.correct`.

    Args:
        stride: a multiple of LANES.
        windows: of analysis and synthesis.
        plan: of the window's size, `lanes.fourier.plan`.
    """
    window, synthesis = windows
    count, behind = targets.shape[1], -(-len(window) // stride) - 1
    used, rows = (count - 1) * stride + len(window), -(-count // LANES) - (-behind // LANES)
    # Of one layout whatever comes in: the rest is compiled once.
    given = np.zeros((len(audio), rows * LANES * stride), np.float32)
    given[:, :used] = audio[:, :used]
    added = _corrected(given, targets, inside, stride, window, synthesis, plan, filters, length)
    for item in range(len(signal)):
        own, change = signal[item, :used], added[item, :used]
        for i in range(used):
            own[i] += change[i]


@loop
def iterated(  # type: ignore[no-untyped-def]
    x, target, rounds, momentum, stride, opening, windows, plan, filters
):
    """As `rounds.Consistency.iterated`, of LANES frames at most, in place of x (T,).

    Args:
        opening: how far each sample may change, (>= T,); `windows` do not say it.
        stride, windows, plan: as of `correct`.
    """
    window, synthesis = windows
    size, count, used = len(window), len(target), (len(target) - 1) * stride + len(window)
    width, half = LANES + _ahead(size, stride), np.float32(0.5)
    analysis, resynthesis = half * window, synthesis * np.float32(1.0 / size)
    real, imaginary, magnitude, level, wanted, stated = _memory(size, target.shape[1], filters)
    rows, shares = np.zeros(width * stride, np.float32), np.zeros(width * stride, np.float32)
    rows[:used], shares[:used] = x[:used], opening[:used]
    tile, share, sums = np.empty_like(rows), np.empty_like(rows), np.empty_like(rows)
    for column in range(0, width, LANES):
        _into(rows, column * stride, stride, tile, column, width)
        _into(shares, column * stride, stride, share, column, width)
    before, there = tile.copy(), np.zeros(LANES, np.float32)
    there[:count] = np.float32(1.0)
    _stated(target, wanted, stated)
    for number in range(rounds):
        _windows(tile, stride, width, analysis, real, imaginary)
        spectra(real, imaginary, magnitude, filters.limits[2], plan)
        _factors(magnitude, level, stated, filters, np.float32(1.0))
        for place in range(0, len(magnitude), LANES):
            store(magnitude, place, load(magnitude, place) * load(there, 0))
        signals(real, imaginary, magnitude, plan)
        sums[:] = np.float32(0.0)
        _add(real, imaginary, resynthesis, stride, width, sums)
        _move(tile, before, share, sums, momentum if number + 1 < rounds else np.float32(0.0))
    for column in range(0, width, LANES):
        _out_of(tile, column, width, rows, column * stride, stride)
    x[:used] = rows[:used]


@loop
def _move(now: Any, before: Any, share: Any, change: Any, momentum: Any) -> None:
    """Adds a share of a change, and goes on from what was before."""
    for i in range(len(now)):
        after = now[i] + share[i] * change[i]
        now[i] = after + momentum * (after - before[i])
        before[i] = after


@loop
def _ahead(size: int, stride: int) -> int:
    """Rows of audio, in whole LANES, that frames reach into beyond their first."""
    return -((1 - -(-size // stride)) // LANES) * LANES


@loop
def _memory(size: int, bands: int, filters: Any) -> Any:
    """For LANES frames: bins, their magnitudes, levels, and levels wanted, frames first and then bands first."""
    rows = max(size // 2 + 1, len(filters.below) + np.max(filters.widths))
    groups, columns = len(filters.widths), -(-bands // LANES) * LANES
    real, imaginary = np.empty(size // 2 * LANES, np.float32), np.empty(size // 2 * LANES, np.float32)
    magnitude, level = np.zeros(rows * LANES, np.float32), np.empty((groups * LANES + 1) * LANES, np.float32)
    return (
        real,
        imaginary,
        magnitude,
        level,
        np.zeros(LANES * columns, np.float32),
        np.empty(columns * LANES, np.float32),
    )


@loop
def _stated(target: Any, wanted: Any, stated: Any) -> None:
    """Levels (F, C) of LANES frames at most, side by side."""
    columns = len(wanted) // LANES
    for lane in range(target.shape[0]):
        for band in range(target.shape[1]):
            wanted[lane * columns + band] = target[lane, band]
    for band in range(0, columns, LANES):
        turned(wanted, band, columns, stated, band * LANES, LANES)


@loop
def _corrected(
    audio: Any,
    targets: Any,
    inside: Any,
    stride: int,
    window: Any,
    synthesis: Any,
    plan: Any,
    filters: Any,
    length: Any,
) -> Any:
    """What is added: (B, T), of audio with zeros after its end to whole tiles, (B, T)."""
    size, count, ahead, added = len(window), targets.shape[1], _ahead(len(window), stride), np.zeros_like(audio)
    width, half = LANES + ahead, np.float32(0.5)
    analysis, resynthesis = half * window, synthesis * np.float32(1.0 / size)
    real, imaginary, magnitude, level, wanted, stated = _memory(size, targets.shape[2], filters)
    for item in range(len(audio)):
        given, total, row = audio[item], added[item], 0
        tile, sums = np.zeros(stride * width, np.float32), np.zeros(stride * width, np.float32)
        for number in range(0, ahead, LANES):
            _into(given, number * stride, stride, tile, number + LANES, width)
        for row in range(0, count, LANES):
            _next(tile, ahead, width)
            _into(given, (row + ahead) * stride, stride, tile, ahead, width)
            _windows(tile, stride, width, analysis, real, imaginary)
            now = min(LANES, count - row)
            _stated(targets[item, row : row + now], wanted, stated)
            spectra(real, imaginary, magnitude, filters.limits[2], plan)
            _factors(magnitude, level, stated, filters, length)
            for lane in range(LANES):
                if lane >= now or not inside[item, row + lane]:
                    magnitude[lane::LANES] = np.float32(0.0)
            signals(real, imaginary, magnitude, plan)
            _add(real, imaginary, resynthesis, stride, width, sums)
            _out_of(sums, 0, width, total, row * stride, stride)
            _next(sums, ahead, width)
            for place in range(ahead, stride * width, width):
                store(sums, place, every(np.float32(0.0)))
        for number in range(0, ahead, LANES):
            _out_of(sums, number, width, total, (row + LANES + number) * stride, stride)
    return added


@loop
def _into(audio: Any, start: int, stride: int, tile: Any, column: int, width: int) -> None:
    """LANES rows of audio into as many columns of a tile (stride, width)."""
    for place in range(0, stride, LANES):
        turned(audio, start + place, stride, tile, place * width + column, width)


@loop
def _out_of(tile: Any, column: int, width: int, audio: Any, start: int, stride: int) -> None:
    """The other way round."""
    for place in range(0, stride, LANES):
        turned(tile, place * width + column, width, audio, start + place, stride)


@loop
def _next(tile: Any, ahead: int, width: int) -> None:
    """Moves a tile on by LANES rows of audio."""
    for start in range(0, len(tile), width):
        for column in range(0, ahead, LANES):
            store(tile, start + column, load(tile, start + column + LANES))


@loop
def _windows(tile: Any, stride: int, width: int, window: Any, real: Any, imaginary: Any) -> None:
    """Frames times a window, as `fourier` takes them."""
    column, place = 0, 0
    for n in range(0, len(window), 2):
        store(real, n // 2 * LANES, load(tile, place * width + column) * every(window[n]))
        store(imaginary, n // 2 * LANES, load(tile, (place + 1) * width + column) * every(window[n + 1]))
        place += 2
        if place == stride:
            place, column = 0, column + 1


@loop
def _add(real: Any, imaginary: Any, window: Any, stride: int, width: int, sums: Any) -> None:
    """Frames times a window, added to a tile (stride, width): earlier frames first, however audio is cut."""
    size = len(window)
    for column in range(-(-size // stride) - 1, -1, -1):
        start = column * stride
        for place in range(0, min(stride, size - start), 2):
            n, at = start + place, place * width + column
            store(sums, at, load(sums, at) + load(real, n // 2 * LANES) * every(window[n]))
            at += width
            store(sums, at, load(sums, at) + load(imaginary, n // 2 * LANES) * every(window[n + 1]))


@loop
def _factors(magnitude: Any, level: Any, stated: Any, filters: Any, length: Any) -> None:
    """Magnitudes (K, LANES) and levels (C, LANES), in nats -> what bins are times, in place of the magnitudes."""
    first, widths, weights, below, lower, upper, most, limits = filters
    row, bins = 0, len(below)
    for group in range(len(widths)):
        for band in range(LANES):
            total, start = every(np.float32(0.0)), np.int64(first[group, band])
            for i in range(widths[group]):
                total = total + load(magnitude, (start + i) * LANES) * every(weights[row + i, band])
            store(level, (group * LANES + band) * LANES, greatest(total, every(limits[1])))
        row += widths[group]
    _logarithms(level[: len(most) * LANES])
    for band in range(len(most)):
        missing = load(stated, band * LANES) - load(level, band * LANES)
        store(level, band * LANES, least(greatest(missing, every(limits[0])), every(most[band])))
    store(level, len(most) * LANES, every(np.float32(0.0)))
    for k in range(bins):
        at = np.int64(below[k]) * LANES
        gain = load(level, at) * every(lower[k]) + load(level, at + LANES) * every(upper[k])
        store(magnitude, k * LANES, gain)
    _growth(magnitude[: bins * LANES], length)
    magnitude[bins * LANES :] = np.float32(0.0)


# Of their own, so that they are vectorised: in a long function they are not.


@loop
def _logarithms(x: Any) -> None:
    for i in range(len(x)):
        x[i] = log(x[i])


@loop
def _growth(x: Any, length: Any) -> None:
    shrunk, grown = np.float32(LIMITS[0]), np.float32(LIMITS[1])
    for i in range(len(x)):
        x[i] = min(max(length * expm1(x[i]), shrunk), grown)
