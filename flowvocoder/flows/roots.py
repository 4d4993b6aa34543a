"""Roots of increasing functions, for layers whose inverse has no formula."""

from collections.abc import Callable

import torch
from torch import Tensor

MOST_STEPS = 100
"""Bisection alone needs some 60 in float64, Newton's method mostly 6."""


def root(function: Callable[[Tensor], tuple[Tensor, Tensor]], low: Tensor, high: Tensor) -> Tensor:
    """Where an increasing function is zero, for every number by itself, to rounding.

    Newton's method, and bisection where that would leave the bracket. The last step is differentiable: gradients reach
    whatever the function is made of.

    Args:
        function: gives its value and its slope, which is above zero.
        low, high: below and above the root.
    """
    precision = 4.0 * torch.finfo(low.dtype).eps
    with torch.no_grad():
        at = 0.5 * (low + high)
        for _ in range(MOST_STEPS):
            value, slope = function(at)
            low, high = torch.where(value < 0, at, low), torch.where(value > 0, at, high)
            newton, before = at - value / slope, at
            at = torch.where((newton > low) & (newton < high), newton, 0.5 * (low + high))
            if bool(((at - before).abs() <= precision * (1.0 + at.abs())).all()):
                break
    value, slope = function(at)
    return at - value / slope.detach()
