"""Elementary functions as machine code. Importing needs numba; compiling takes seconds, once."""

import functools
from typing import Any

import numpy as np

from flowvocoder.extras import machine_code

loop = functools.partial(machine_code, fastmath={"contract", "arcp"}, error_model="numpy", nogil=True)
"""Loops that are simple enough to be vectorised."""

LN2 = 0.6931471805599453

# (e^r - 1) / r to r^6 / 7!, for r within ln(2) / 2 of 0: 6e-9 off.
EXPM1 = (1.0, 1 / 2, 1 / 6, 1 / 24, 1 / 120, 1 / 720, 1 / 5040)
# ln(1 + f) = f - f^2 / 2 + f^3 P(f) for f from sqrt(1/2) - 1 to sqrt(2) - 1: P by least squares, 3e-10 off.
LOG = (0.33333313, -0.25000028, 0.20002190, -0.16667142, 0.14216945, -0.12417445, 0.11919887, -0.11624543, 0.06618167)


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
