"""Fourier transforms of frames side by side, as machine code. Importing needs numba.

A transform takes one frame a lane, so that each of its steps is the same for numbers that lie next to each other. The
frames are real: the samples with even and with odd numbers are the two parts of complex ones, of which there are half
as many (Sorensen et al. 1987). In place, by radix 4, and without sorting: where a bin comes to lie is a table.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from flowvocoder.elementary import FAST
from flowvocoder.extras import library

Made = TypeVar("Made", bound=Callable[..., Any])

_overload: Callable[..., Callable[[Made], Made]] = library("numba.extending", "fast").overload

LANES = 8
"""Frames that are computed side by side, or a multiple of it."""


class Transform(NamedTuple):
    """What `forward` and `backward` of a size compute with.

    Attributes:
        twiddles: cosine and sine by which the second to fourth part of a butterfly are turned, (n, 6).
        places: row where the complex bin k lies, and after the last the first again, (size / 2 + 1,).
        turns: cosine and sine that tell the spectra of even and odd samples apart, (size / 4 + 1, 2).
    """

    twiddles: Any
    places: Any
    turns: Any


def transform(size: int) -> Transform:
    """The tables for frames of so many samples, a power of 2 from 16 on."""
    half, turned = size // 2, []
    length = half
    while length >= 4:
        angle = -2 * np.pi / length * np.outer(np.arange(length // 4), (1, 2, 3))
        turned.append(np.stack([np.cos(angle), np.sin(angle)], 2).reshape(-1, 6))
        length //= 4
    angle = -2 * np.pi / size * np.arange(half // 2 + 1)
    turns = np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)
    places = np.argsort(_order(half))
    return Transform(np.concatenate(turned).astype(np.float32), np.append(places, places[0]), turns)


def _order(length: int) -> npt.NDArray[np.int64]:
    """Which bin lies in each row after `forward`."""
    if length == 1:
        return np.zeros(1, np.int64)
    radix = min(length, 4)
    inner = _order(length // radix)
    return np.concatenate([part + radix * inner for part in range(radix)])


def forward(z: Any, twiddles: Any, length: int, rows: int, lanes: int) -> None:
    """Complex transforms in place, of each `length` rows. Into the order of `places`.

    Args:
        z: of every row its real parts, then its imaginary ones, flat: rows * 2 * lanes.
        length, rows, lanes: literal numbers. Machine code for numbers that it does not know is not vectorised: columns
            of unknown distance might be the same.
    """


@_overload(forward, jit_options=FAST, prefer_literal=True, strict=False)
def _forward(z: Any, twiddles: Any, length: Any, rows: Any, lanes: Any) -> Any:
    size, count, width = length.literal_value, rows.literal_value, lanes.literal_value
    row, quarter, part = 2 * width, size // 4, size // 4 * 2 * width

    def pairs(z: Any, twiddles: Any, length: Any, rows: Any, lanes: Any) -> None:
        for block in range(0, count, 8):  # so many at once that the loop over them stays one, which is vectorised
            x = z[block * row :]
            for i in range(row):
                a, b, c, d = x[i], x[i + row], x[i + 2 * row], x[i + 3 * row]
                e, f, g, h = x[i + 4 * row], x[i + 5 * row], x[i + 6 * row], x[i + 7 * row]
                x[i], x[i + row], x[i + 2 * row], x[i + 3 * row] = a + b, a - b, c + d, c - d
                x[i + 4 * row], x[i + 5 * row], x[i + 6 * row], x[i + 7 * row] = e + f, e - f, g + h, g - h

    def fours(z: Any, twiddles: Any, length: Any, rows: Any, lanes: Any) -> None:
        for block in range(0, count, size):
            for j in range(quarter):
                c1, s1, c2, s2, c3, s3 = twiddles[j]
                x = z[(block + j) * 2 * width :]
                for i in range(width):
                    a0, a1, a2, a3 = x[i], x[i + part], x[i + 2 * part], x[i + 3 * part]
                    k = i + width
                    b0, b1, b2, b3 = x[k], x[k + part], x[k + 2 * part], x[k + 3 * part]
                    even, even_i, other, other_i = a0 + a2, b0 + b2, a0 - a2, b0 - b2
                    odd, odd_i, turned, turned_i = a1 + a3, b1 + b3, b1 - b3, a3 - a1
                    x[i], x[k] = even + odd, even_i + odd_i
                    re, im = other + turned, other_i + turned_i
                    x[i + part], x[k + part] = re * c1 - im * s1, re * s1 + im * c1
                    re, im = even - odd, even_i - odd_i
                    x[i + 2 * part], x[k + 2 * part] = re * c2 - im * s2, re * s2 + im * c2
                    re, im = other - turned, other_i - turned_i
                    x[i + 3 * part], x[k + 3 * part] = re * c3 - im * s3, re * s3 + im * c3
        if quarter > 1:
            forward(z, twiddles[quarter:], quarter, count, width)

    return pairs if size == 2 else fours


def backward(z: Any, twiddles: Any, length: int, rows: int, lanes: int) -> None:
    """What undoes `forward`, times `length`."""


@_overload(backward, jit_options=FAST, prefer_literal=True, strict=False)
def _backward(z: Any, twiddles: Any, length: Any, rows: Any, lanes: Any) -> Any:
    size, count, width = length.literal_value, rows.literal_value, lanes.literal_value
    quarter, part = size // 4, size // 4 * 2 * width

    def pairs(z: Any, twiddles: Any, length: Any, rows: Any, lanes: Any) -> None:
        forward(z, twiddles, 2, count, width)

    def fours(z: Any, twiddles: Any, length: Any, rows: Any, lanes: Any) -> None:
        if quarter > 1:
            backward(z, twiddles[quarter:], quarter, count, width)
        for block in range(0, count, size):
            for j in range(quarter):
                c1, s1, c2, s2, c3, s3 = twiddles[j]
                x = z[(block + j) * 2 * width :]
                for i in range(width):
                    k = i + width
                    a0, b0 = x[i], x[k]
                    re, im = x[i + part], x[k + part]
                    a1, b1 = re * c1 + im * s1, im * c1 - re * s1
                    re, im = x[i + 2 * part], x[k + 2 * part]
                    a2, b2 = re * c2 + im * s2, im * c2 - re * s2
                    re, im = x[i + 3 * part], x[k + 3 * part]
                    a3, b3 = re * c3 + im * s3, im * c3 - re * s3
                    even, even_i, other, other_i = a0 + a2, b0 + b2, a0 - a2, b0 - b2
                    odd, odd_i, turned, turned_i = a1 + a3, b1 + b3, b3 - b1, a1 - a3
                    x[i], x[k] = even + odd, even_i + odd_i
                    x[i + part], x[k + part] = other + turned, other_i + turned_i
                    x[i + 2 * part], x[k + 2 * part] = even - odd, even_i - odd_i
                    x[i + 3 * part], x[k + 3 * part] = other - turned, other_i - turned_i

    return pairs if size == 2 else fours
