"""The pitch recursion as a loop in NumPy, which begins a small operation in a third of the time that PyTorch takes."""

import functools

import numpy as np
import torch
from torch import Tensor

from flowvocoder.flows.recursion.reference import GROUP, REACH, SPAN, free_ranges, places_by_side

AT_ONCE = 1024
"""Groups whose matrices are made together: 5 MB of them."""


def solve(e: Tensor, lag: Tensor, taps: Tensor, past: Tensor) -> Tensor:
    """As `reference.solve`, on the CPU, in float32 or float64.

    A range is one product: what each group's two nodes reach, times their taps.
    """
    items, before = past.shape
    x = torch.cat([past, e], 1)
    samples = x.numpy()
    step = samples.itemsize
    stretches = np.ndarray((samples.size - SPAN + 1, SPAN), samples.dtype, samples, 0, (step, step))
    item = len(samples[0]) * np.arange(items)[:, None, None]
    for first in range(0, e.shape[1] // GROUP, AT_ONCE):
        nodes = slice(first, first + AT_ONCE + 1)
        matrices, lags = _matrices(taps[:, nodes]), lag[:, nodes].numpy()
        count = lags.shape[1] - 1
        start = before + (first + np.arange(count)) * GROUP - REACH
        sources = start[:, None] - np.stack([lags[:, :-1], lags[:, 1:]], 2) + item
        now = samples[:, before + first * GROUP :][:, : count * GROUP]
        for a, b in free_ranges(lag[:, nodes]):
            reached = stretches[sources[:, a:b]].reshape(items, b - a, 1, 2 * SPAN)
            now[:, a * GROUP : b * GROUP] += (reached @ matrices[:, a:b]).reshape(items, -1)
    return x[:, before:]


def _matrices(taps: Tensor) -> np.ndarray:
    """Taps of nodes (B, n + 1, 2 * REACH + 1) to what turns what both nodes of a group reach, earliest sample first,
    into its prediction: (B, n, 2 * SPAN, GROUP)."""
    items, nodes, _ = taps.shape
    made = taps.new_empty(items, nodes - 1, 2, SPAN * GROUP)
    for row, given in zip(made, taps, strict=True):
        for side, places in enumerate(_places(taps.dtype)):
            torch.mm(given[side : nodes - 1 + side], places, out=row[:, side])
    return made.view(items, nodes - 1, 2 * SPAN, GROUP).numpy()


@functools.lru_cache(maxsize=2)
def _places(dtype: torch.dtype) -> Tensor:
    """`places_by_side`, the earliest sample first: (2, 2 * REACH + 1, SPAN * GROUP)."""
    with torch.inference_mode(False):
        return places_by_side(dtype).flip(2).flatten(2)
