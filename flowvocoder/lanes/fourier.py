"""Fourier transforms of LANES real signals side by side, in place, as machine code.

A signal of `size` samples is `size / 2` complex numbers: even samples are real parts, odd ones imaginary. Each array
has LANES numbers a row, one of each signal. Bins stay in the order in which decimation in frequency leaves them, and
decimation in time takes them from there (Cooley and Tukey 1965): nothing is put in order between the two.
"""

import functools
from typing import Any, NamedTuple

import numpy as np

from flowvocoder.elementary import loop
from flowvocoder.lanes.numbers import every, load, root, store
from flowvocoder.units import LANES


class Plan(NamedTuple):
    """Of one size.

    Attributes:
        radices: of the steps, 4 or 2, (S,).
        twiddles: of all steps in a row, for each butterfly 3 or 1: cosine, sine.
        rows: in which row the bins 0 to size / 2 - 1 are, (size / 2,).
        turns: cosine and sine of 2 pi k / size for k = 0 to size / 4, in turns.
    """

    radices: Any
    twiddles: Any
    rows: Any
    turns: Any


@functools.lru_cache(maxsize=16)
def plan(size: int) -> Plan:
    """What transforms of a size need.

    Raises:
        ValueError: the size is no power of two, or less than 4.
    """
    if size < 4 or size & (size - 1):
        raise ValueError(f"a power of two from 4 on, not {size}")
    span, radices, twiddles, rows = size // 2, [], [], np.zeros(size // 2, np.int64)
    left = np.arange(size // 2)
    while span > 1:
        radix = 4 if span % 4 == 0 else 2
        part = span // radix
        angles = -2 * np.pi / span * np.outer(np.arange(part), np.arange(1, radix))
        radices.append(radix)
        twiddles.append(np.stack([np.cos(angles), np.sin(angles)], 2).ravel())
        rows += left % radix * part
        left, span = left // radix, part
    turn = 2 * np.pi / size * np.arange(size // 4 + 1)
    turns = np.stack([np.cos(turn), np.sin(turn)], 1).ravel()
    numbers = np.array(radices, np.int64), np.concatenate(twiddles).astype(np.float32), rows
    return Plan(*numbers, turns.astype(np.float32))


@loop
def spectra(real: Any, imaginary: Any, magnitude: Any, faint: Any, plan: Any) -> None:
    """Signals times 1/2 -> bins and their magnitudes, sqrt(|X|^2 + faint), (size / 2 + 1) rows in order.

    Row 0 of the bins holds bin 0, whose imaginary part is 0, and in its place bin size / 2.
    """
    radices, twiddles, rows, turns = plan
    _frequency(real, imaginary, radices, twiddles)
    bins, least = len(rows), every(faint)
    r, i = load(real, 0), load(imaginary, 0)
    first, last = r + r + (i + i), r + r - (i + i)
    store(real, 0, first)
    store(imaginary, 0, last)
    store(magnitude, 0, root(first * first + least))
    store(magnitude, bins * LANES, root(last * last + least))
    for k in range(1, bins // 2 + 1):
        cosine, sine = every(turns[2 * k]), every(turns[2 * k + 1])
        low, high = rows[k] * LANES, rows[bins - k] * LANES
        r, i, s, j = load(real, low), load(imaginary, low), load(real, high), load(imaginary, high)
        even_r, even_i, odd_r, odd_i = r + s, i - j, i + j, s - r
        r, i = cosine * odd_r + sine * odd_i, cosine * odd_i - sine * odd_r
        s, j = even_r - r, i - even_i
        r, i = even_r + r, even_i + i
        store(real, high, s)
        store(imaginary, high, j)
        store(magnitude, (bins - k) * LANES, root(s * s + j * j + least))
        store(real, low, r)
        store(imaginary, low, i)
        store(magnitude, k * LANES, root(r * r + i * i + least))


@loop
def signals(real: Any, imaginary: Any, factor: Any, plan: Any) -> None:
    """Bins, as `spectra` leaves them, times a factor, (size / 2 + 1) rows in order -> signals times `size`."""
    radices, twiddles, rows, turns = plan
    bins = len(rows)
    first, last = load(real, 0) * load(factor, 0), load(imaginary, 0) * load(factor, bins * LANES)
    store(real, 0, first + last)
    store(imaginary, 0, first - last)
    for k in range(1, bins // 2 + 1):
        cosine, sine = every(turns[2 * k]), every(turns[2 * k + 1])
        low, high = rows[k] * LANES, rows[bins - k] * LANES
        own, other = load(factor, k * LANES), load(factor, (bins - k) * LANES)
        r, i, s, j = own * load(real, low), own * load(imaginary, low), load(real, high), load(imaginary, high)
        s, j = other * s, other * j
        even_r, even_i, odd_r, odd_i = r + s, i - j, r - s, i + j
        r, i = cosine * odd_r - sine * odd_i, sine * odd_r + cosine * odd_i
        store(real, high, even_r + i)
        store(imaginary, high, r - even_i)
        store(real, low, even_r - i)
        store(imaginary, low, even_i + r)
    _time(real, imaginary, radices, twiddles)


@loop
def _frequency(real: Any, imaginary: Any, radices: Any, twiddles: Any) -> None:
    """Complex numbers in order -> their transforms in the order of `Plan.rows`."""
    count = len(real) // LANES
    span, at = count, 0
    for radix in radices:
        part = span // radix
        for first in range(part):
            c, s = every(twiddles[at]), every(twiddles[at + 1])
            if radix == 4:
                c2, s2, c3, s3 = twiddles[at + 2], twiddles[at + 3], twiddles[at + 4], twiddles[at + 5]
                d, t, e, u = every(c2), every(s2), every(c3), every(s3)
                for row in range(first, count, span):
                    p0 = row * LANES
                    p1, p2, p3 = p0 + part * LANES, p0 + 2 * part * LANES, p0 + 3 * part * LANES
                    r0, i0, r1, i1 = load(real, p0), load(imaginary, p0), load(real, p1), load(imaginary, p1)
                    r2, i2, r3, i3 = load(real, p2), load(imaginary, p2), load(real, p3), load(imaginary, p3)
                    r0, i0, r2, i2 = r0 + r2, i0 + i2, r0 - r2, i0 - i2
                    r1, i1, r3, i3 = r1 + r3, i1 + i3, r1 - r3, i1 - i3
                    store(real, p0, r0 + r1)
                    store(imaginary, p0, i0 + i1)
                    r, i = r2 + i3, i2 - r3
                    store(real, p1, r * c - i * s)
                    store(imaginary, p1, r * s + i * c)
                    r, i = r0 - r1, i0 - i1
                    store(real, p2, r * d - i * t)
                    store(imaginary, p2, r * t + i * d)
                    r, i = r2 - i3, i2 + r3
                    store(real, p3, r * e - i * u)
                    store(imaginary, p3, r * u + i * e)
            else:
                for row in range(first, count, span):
                    p0, p1 = row * LANES, (row + part) * LANES
                    r0, i0, r1, i1 = load(real, p0), load(imaginary, p0), load(real, p1), load(imaginary, p1)
                    store(real, p0, r0 + r1)
                    store(imaginary, p0, i0 + i1)
                    r, i = r0 - r1, i0 - i1
                    store(real, p1, r * c - i * s)
                    store(imaginary, p1, r * s + i * c)
            at += 2 * (radix - 1)
        span = part


@loop
def _time(real: Any, imaginary: Any, radices: Any, twiddles: Any) -> None:
    """The inverse of `_frequency`, times the number of rows."""
    count = len(real) // LANES
    part, end = 1, len(twiddles)
    for step in range(len(radices) - 1, -1, -1):
        radix = radices[step]
        span, end = part * radix, end - 2 * part * (radix - 1)
        for first in range(part):
            at = end + 2 * (radix - 1) * first
            c, s = every(twiddles[at]), every(twiddles[at + 1])
            if radix == 4:
                c2, s2, c3, s3 = twiddles[at + 2], twiddles[at + 3], twiddles[at + 4], twiddles[at + 5]
                d, t, e, u = every(c2), every(s2), every(c3), every(s3)
                for row in range(first, count, span):
                    p0 = row * LANES
                    p1, p2, p3 = p0 + part * LANES, p0 + 2 * part * LANES, p0 + 3 * part * LANES
                    r0, i0, r, i = load(real, p0), load(imaginary, p0), load(real, p1), load(imaginary, p1)
                    r1, i1, r, i = r * c + i * s, i * c - r * s, load(real, p2), load(imaginary, p2)
                    r2, i2, r, i = r * d + i * t, i * d - r * t, load(real, p3), load(imaginary, p3)
                    r3, i3 = r * e + i * u, i * e - r * u
                    r0, i0, r2, i2 = r0 + r2, i0 + i2, r0 - r2, i0 - i2
                    r1, i1, r3, i3 = r1 + r3, i1 + i3, r1 - r3, i1 - i3
                    store(real, p0, r0 + r1)
                    store(imaginary, p0, i0 + i1)
                    store(real, p1, r2 - i3)
                    store(imaginary, p1, i2 + r3)
                    store(real, p2, r0 - r1)
                    store(imaginary, p2, i0 - i1)
                    store(real, p3, r2 + i3)
                    store(imaginary, p3, i2 - r3)
            else:
                for row in range(first, count, span):
                    p0, p1 = row * LANES, (row + part) * LANES
                    r0, i0, r, i = load(real, p0), load(imaginary, p0), load(real, p1), load(imaginary, p1)
                    r1, i1 = r * c + i * s, i * c - r * s
                    store(real, p0, r0 + r1)
                    store(imaginary, p0, i0 + i1)
                    store(real, p1, r0 - r1)
                    store(imaginary, p1, i0 - i1)
        part = span
