"""The pitch recursion as one Triton kernel, a program an item, where the tensors are on a GPU.

A step does as many groups of samples at once as their lags allow. Every sample then needs samples of earlier steps
alone, which other threads of the program may have written. So a barrier follows each step's stores: Triton itself
orders accesses to shared memory only (triton-lang/triton issue 10924).
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from flowvocoder.flows.recursion.reference import GROUP, REACH

GROUPS = 8
"""Done at once at most: 128 samples by four warps."""


def solve(e: Tensor, lag: Tensor, taps: Tensor, past: Tensor) -> Tensor:
    """As `reference.solve`; samples before the past are zeros."""
    e = e.contiguous()
    x = torch.cat([past, torch.empty_like(e)], 1)
    _run(_solve, x, e, lag, taps)
    return x[:, past.shape[1] :]


def adjoint(grad: Tensor, lag: Tensor, taps: Tensor) -> Tensor:
    """As `reference.adjoint`. Sums are in no fixed order, so the last digits differ from run to run."""
    total = grad.clone(memory_format=torch.contiguous_format)
    _run(_adjoint, total, total, lag, taps)
    return total


def _run(kernel: triton.JITFunction, x: Tensor, e: Tensor, lag: Tensor, taps: Tensor) -> None:
    items, samples = e.shape
    warps = GROUPS * GROUP // 32
    with torch.cuda.device_of(x):
        # One stage: loads of a later step must not be started before this one's stores.
        kernel[(items,)](x, e, lag.contiguous(), taps.contiguous(), samples // GROUP, x.shape[1] - samples,
                         GROUPS, GROUP, REACH, num_warps=warps, num_stages=1)  # fmt: skip


@triton.jit
def _solve(x, e, lag, taps, groups, before, GROUPS: tl.constexpr, GROUP: tl.constexpr, REACH: tl.constexpr):
    """x (B, before + groups * GROUP) holds the past, and in the end the samples; e: (B, groups * GROUP)."""
    item = tl.program_id(0).to(tl.int64)
    x += item * (before + groups * GROUP) + before
    e += item * groups * GROUP
    lag += item * (groups + 1)
    taps += item * (groups + 1) * (2 * REACH + 1)
    row = tl.arange(0, GROUPS)
    sample = tl.arange(0, GROUP)[None, :]
    first = tl.full([], 0, tl.int32)
    while first < groups:
        group = first + row
        lag_0 = tl.load(lag + group, group < groups, 0).to(tl.int32)
        lag_1 = tl.load(lag + group + 1, group < groups, 0).to(tl.int32)
        count = _free(lag_0, lag_1, row, groups - first, REACH, GROUP)
        group, now = group[:, None], row[:, None] < count
        at = group * GROUP + sample
        total = tl.load(e + at, now, 0.0)
        after = ((sample + 0.5) / GROUP).to(total.dtype)
        source_0, source_1 = at - lag_0[:, None] + REACH, at - lag_1[:, None] + REACH
        node = taps + group * (2 * REACH + 1)
        loaded = ()  # all before the first is used, so that they are waited for together
        for j in tl.static_range(2 * REACH + 1):
            tap_0 = tl.load(node + j, now, 0.0)
            tap_1 = tl.load(node + 2 * REACH + 1 + j, now, 0.0)
            x_0 = tl.load(x + source_0 - j, now & (source_0 - j >= -before), 0.0)
            x_1 = tl.load(x + source_1 - j, now & (source_1 - j >= -before), 0.0)
            loaded = loaded + ((tap_0, x_0, tap_1, x_1),)  # type: ignore[assignment]
        for j in tl.static_range(2 * REACH + 1):
            tap_0, x_0, tap_1, x_1 = loaded[j]
            total += (1.0 - after) * tap_0 * x_0 + after * tap_1 * x_1
        tl.store(x + at, total, now)
        tl.debug_barrier()
        first += count


@triton.jit
def _adjoint(x, e, lag, taps, groups, before, GROUPS: tl.constexpr, GROUP: tl.constexpr, REACH: tl.constexpr):
    """x (B, groups * GROUP) holds the gradient, and in the end that of e; from the end towards the start."""
    item = tl.program_id(0).to(tl.int64)
    x += item * groups * GROUP
    lag += item * (groups + 1)
    taps += item * (groups + 1) * (2 * REACH + 1)
    row = tl.arange(0, GROUPS)
    sample = tl.arange(0, GROUP)[None, :]
    end = groups + tl.full([], 0, tl.int32)
    while end > 0:
        group = end - 1 - row
        lag_0 = tl.load(lag + group, group >= 0, 0).to(tl.int32)
        lag_1 = tl.load(lag + group + 1, group >= 0, 0).to(tl.int32)
        count = _free(lag_0, lag_1, row, end, REACH, GROUP)
        group, now = group[:, None], row[:, None] < count
        at = group * GROUP + sample
        known = tl.load(x + at, now, 0.0, cache_modifier=".cg")  # atomics pass by the nearest cache
        after = ((sample + 0.5) / GROUP).to(known.dtype)
        source_0, source_1 = at - lag_0[:, None] + REACH, at - lag_1[:, None] + REACH
        node = taps + group * (2 * REACH + 1)
        for j in tl.static_range(2 * REACH + 1):
            tap_0 = tl.load(node + j, now, 0.0)
            tap_1 = tl.load(node + 2 * REACH + 1 + j, now, 0.0)
            tl.atomic_add(x + source_0 - j, (1.0 - after) * tap_0 * known, now & (source_0 >= j), sem="relaxed")
            tl.atomic_add(x + source_1 - j, after * tap_1 * known, now & (source_1 >= j), sem="relaxed")
        tl.debug_barrier()
        end -= count


@triton.jit
def _free(lag_0, lag_1, row, left, REACH: tl.constexpr, GROUP: tl.constexpr):
    """How many groups from the first row on reach into none of each other: n, if the first n all reach n back."""
    reach = (tl.minimum(lag_0, lag_1) - REACH) // GROUP
    return tl.minimum(tl.min(tl.maximum(reach, row), 0), tl.minimum(left, row.shape[0]))
