"""What steps compute number by number, as machine code. Importing needs numba; compiling takes seconds, once.

Arrays are float32, or the bits of bfloat16 as int16.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from flowvocoder.elementary import exp, expm1, log, loop
from flowvocoder.extras import library

Made = TypeVar("Made", bound=Callable[..., Any])

_overload: Callable[..., Callable[[Made], Made]] = library("numba.extending", "fast").overload

# cos(2 pi t) = 1 + u P(u) for u = t^2 and t within 1/2 of 0: P by least squares, 2e-10 off.
COSINE = (-19.73920878, 64.93939138, -85.45670882, 60.24266335, -26.40756204, 7.80797482, -1.4614982)


def wide(number: Any) -> Any:
    """An array's number as a float32."""


@_overload(wide, strict=False)
def _wide(number: Any) -> Any:
    if number.name == "int16":
        return lambda number: np.int32(np.int32(number) << np.int32(16)).view(np.float32)
    return lambda number: number


def narrow(number: Any, array: Any) -> Any:
    """A float32 as an array holds it: bfloat16 is the nearest, of two the even one, as in PyTorch."""


@_overload(narrow, strict=False)
def _narrow(number: Any, array: Any) -> Any:
    def to_bits(number: Any, array: Any) -> Any:
        bits = np.float32(number).view(np.uint32)
        half = np.uint32(0x7FFF) + np.uint32(np.uint32(bits >> np.uint32(16)) & np.uint32(1))
        return np.int16(np.uint32(bits + half) >> np.uint32(16))

    return to_bits if array.dtype.name == "int16" else lambda number, array: number


@loop
def shrinkage(s: Any, bound: Any) -> Any:
    """exp(-bound * tanh(s / bound)); exp(-s) where the bound is None, which numba knows when it compiles."""
    if bound is not None:
        two = np.float32(2.0)
        e = expm1(two / bound * s)
        s = bound * e / (e + two)
    return exp(-s)


@loop
def gate(both: Any, found: Any) -> None:
    """As `Arithmetic.gate`: (R, 2 C), into (R, C)."""
    one, two, count = np.float32(1.0), np.float32(2.0), found.shape[1]
    for row in range(found.shape[0]):
        filtered, opening, own = both[row, :count], both[row, count:], found[row]
        for i in range(count):
            # tanh(|f|) = -a / (2 + a) and sigmoid(o) = 1 / (1 + b), by one division.
            f = wide(filtered[i])
            a, b = expm1(-two * abs(f)), exp(-wide(opening[i]))
            own[i] = narrow(np.copysign(-a / ((two + a) * (one + b)), f), found)


@loop
def affine(parameters: Any, bound: Any, found: Any, first: int) -> None:
    """The inverse of `elementwise.Affine`, in place of channels from `first` on: (R, 2 D), of (R, C)."""
    count = parameters.shape[1] // 2
    for row in range(found.shape[0]):
        s, t, own = parameters[row, :count], parameters[row, count:], found[row, first : first + count]
        for i in range(count):
            own[i] = (own[i] - wide(t[i])) * shrinkage(wide(s[i]), bound)


@loop
def scaled(log_scale: Any, bound: Any, found: Any, first: int, groups: int) -> None:
    """As `Arithmetic.scaled`, in place of every so manieth channel: (R, D), of (R, C)."""
    factor = np.empty(log_scale.shape, np.float32)
    flat, given = factor.reshape(-1), log_scale.reshape(-1)
    for i in range(flat.size):
        flat[i] = shrinkage(wide(given[i]), bound)
    for row in range(found.shape[0]):
        for band in range(factor.shape[1]):
            found[row, first + groups * band] *= factor[row, band]


@loop
def log_energies(bands: Any, which: Any, widths: Any, found: Any) -> None:
    """As `arithmetic.log_energies` of some of the bands: (R, C), (K,) indices, into (R, K / 2 + K / 8)."""
    energy, pooled = np.empty(which.size, np.float32), np.empty(found.shape, np.float32)
    for row in range(found.shape[0]):
        own, mean, at = bands[row], pooled[row], 0
        for k in range(which.size):
            energy[k] = own[which[k]] * own[which[k]]
        for width in widths:
            share = np.float32(1.0) / np.float32(width)
            for k in range(which.size // width):
                total = np.float32(0.0)
                for i in range(width):
                    total += energy[width * k + i]
                mean[at + k] = total * share
            at += which.size // width
    flat, out = pooled.reshape(-1), found.reshape(-1)
    for i in range(flat.size):
        out[i] = narrow(log(flat[i] + np.float32(0.01)) + np.float32(2.0), out)


@loop
def excitation(lag: Any, depth: Any, phase: Any, share: Any, found: Any) -> None:
    """As `excitation.excitation_envelope`: (B, N + 2), into (B, N * M)."""
    one, half, block = np.float32(1.0), np.float32(0.5), share.size
    for item in range(found.shape[0]):
        for node in range(lag.shape[1] - 1):
            slow, shallow, before = one / lag[item, node], depth[item, node], phase[item, node]
            bend, deeper = half * (one / lag[item, node + 1] - slow), depth[item, node + 1] - shallow
            start = node * block - (block - block // 2)
            first, end = max(0, -start), min(block, found.shape[1] - start)
            own, part = found[item, start + first : start + end], share[first:end]
            for i in range(end - first):
                d, phi = shallow + part[i] * deeper, before + np.float32(block) * part[i] * (slow + part[i] * bend)
                t = phi - np.floor(phi + half)
                u = t * t
                p = np.float32(COSINE[6])
                for n in range(5, -1, -1):
                    p = p * u + np.float32(COSINE[n])
                root = np.sqrt(one - d * d)
                own[i] = root * np.sqrt(root) / (one - d * (one + u * p))
