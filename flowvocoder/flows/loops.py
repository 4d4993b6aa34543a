"""What steps compute number by number, as machine code. Importing needs numba; compiling takes seconds, once.

Arrays are float32, or the bits of bfloat16 as int16.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from flowvocoder.extras import library, machine_code

Made = TypeVar("Made", bound=Callable[..., Any])

_overload: Callable[..., Callable[[Made], Made]] = library("numba.extending", "fast").overload

loop = functools.partial(machine_code, fastmath={"contract", "arcp"}, error_model="numpy", nogil=True)
"""Loops that are simple enough to be vectorised."""

LN2 = 0.6931471805599453

# (e^r - 1) / r to r^6 / 7!, for r within ln(2) / 2 of 0: 6e-9 off.
EXPM1 = (1.0, 1 / 2, 1 / 6, 1 / 24, 1 / 120, 1 / 720, 1 / 5040)
# ln(1 + f) = f - f^2 / 2 + f^3 P(f) for f from sqrt(1/2) - 1 to sqrt(2) - 1: P by least squares, 3e-10 off.
LOG = (0.33333313, -0.25000028, 0.20002190, -0.16667142, 0.14216945, -0.12417445, 0.11919887, -0.11624543, 0.06618167)

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


# The C library's functions, which numba calls, are not vectorised: hence our own.


@loop
def _exponential(x: Any) -> Any:
    """e^x - p for the power of two p next to it, and p; beyond -87..87 as there, so that nothing overflows."""
    half, per_nat = np.float32(0.5), np.float32(1.0 / LN2)
    # ln(2) in two parts, of which the first has few bits: whole multiples of it are exact.
    high, low = np.float32(0.693359375), np.float32(LN2 - 0.693359375)
    x = min(max(x, np.float32(-87.0)), np.float32(87.0))
    power = np.floor(x * per_nat + half)
    r = x - power * high - power * low
    p = np.float32(EXPM1[6])
    for n in range(5, -1, -1):
        p = p * r + np.float32(EXPM1[n])
    scale = np.int32(np.int32(np.int32(power) + np.int32(127)) << np.int32(23)).view(np.float32)
    return p * r * scale, scale


@loop
def exp(x: Any) -> Any:
    """Of a float32."""
    rest, power = _exponential(x)
    return rest + power


@loop
def expm1(x: Any) -> Any:
    """Of a float32."""
    rest, power = _exponential(x)
    return rest + (power - np.float32(1.0))


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
