"""Time-varying linear prediction from the past around a lag, and the recursion that undoes it."""

import functools
from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from flowvocoder.inference import plain_defaults
from flowvocoder.units import ceil_div

GROUP = 16
"""Samples between nodes; each node has a lag and taps, and what two neighbouring nodes predict is cross-faded.
Without the fade every change of the taps would scatter the strong low bands over the weak high ones."""

REACH = 10
"""Taps on either side of the lag."""

SPAN = GROUP + 2 * REACH
"""Samples that the taps of one node touch in one group."""

WIDEST = 4.0
"""Standard deviation of the widest tap filter, in samples; each other is half as wide as the next. The wider it is, the
lower the band it predicts: the gain falls to half at 0.19/width of the sampling rate. At 22 050 Hz that is 1.0 kHz for
the widest, then 2.1, 4.1 and 8.3 kHz."""

Solver: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(e, nodes, past) -> x: `solve` with what `taps_at` gives of nodes (B, G + 1, 1 + W), a fractional lag and gains each;
or the same otherwise."""

SolverFactory: TypeAlias = Callable[[int, int], Solver]
"""(lowest lag in samples, samples a block) -> the solver for them."""


def predict(x: Tensor, lag: Tensor, taps: Tensor) -> Tensor:
    """p[n] = sum_k w_k[n] sum_j taps[g + k, REACH + j] * x[n - lag[g + k] - j], zeros before the start.

    g = n // GROUP; k = 0, 1 are the nodes on either side of n, w the cross-fade between them; j = -REACH..REACH.

    Shape:
        x: (B, T), lag: (B, G + 1) long, taps: (B, G + 1, 2 * REACH + 1), G = ceil(T / GROUP) -> (B, T)
    """
    index, before = _past_index(lag)
    past = F.pad(whole_groups(x), (before, 0)).gather(1, index.flatten(1)).view(*index.shape[:2], 2, SPAN).flip(-1)
    kernels = _both_sides(taps).flip(-1)[..., None]  # in the order in which they meet the past
    predicted = (past.unfold(-1, 2 * REACH + 1, 1) @ kernels).squeeze(-1)
    return (predicted * _fade(x)).sum(2).flatten(1)[:, : x.shape[1]]


def solve(e: Tensor, lag: Tensor, taps: Tensor, past: Tensor) -> Tensor:
    """The x with x - predict(x, lag, taps) = e that goes on from samples that are there already, without gradients.

    Runs in ranges as long as their shortest lag allows: within one, every sample needs only earlier ranges. Each is one
    product of matrices, made for a thousand groups at a time: thousands of ranges a second of audio leave no time for
    more.

    Shape:
        e: (B, G * GROUP), lag and taps: as `predict`; past: (B, P) with P from `past_samples` -> (B, G * GROUP)
    """
    batch, before = past.shape
    x = torch.cat([past, e], 1)
    # Groups first and items second in memory, so that every step writes one stretch.
    x = x.view(batch, -1, GROUP).transpose(0, 1).contiguous().view(-1)
    columns = before - REACH + SPAN - 1 - torch.arange(SPAN, device=e.device)
    groups = e.shape[1] // GROUP
    for first in range(0, groups, 1024):
        end = min(first + 1024, groups)
        nodes = lag[:, first : end + 1].T
        here = torch.arange(first, end, device=e.device)[:, None, None] * GROUP - torch.stack(
            [nodes[:-1], nodes[1:]], 2
        )
        index = (here[..., None] + columns).flatten(2)
        if batch > 1:
            item = torch.arange(batch, device=e.device)[:, None] * GROUP
            index = index // GROUP * (batch * GROUP) + item + index % GROUP
        matrices = _matrices(_both_sides(taps[:, first : end + 1]).transpose(0, 1).flatten(0, 1))
        sizes = [batch * (b - a) for a, b in free_ranges(lag[:, first : end + 1])]
        now = x[batch * (before + first * GROUP) : batch * (before + end * GROUP)].view(-1, GROUP, 1)
        sources = index.flatten().split([2 * SPAN * size for size in sizes])
        for out, matrix, source in zip(now.split(sizes), matrices.split(sizes), sources, strict=True):
            out.baddbmm_(matrix, x.index_select(0, source).view(-1, 2 * SPAN, 1))
    return x.view(-1, batch, GROUP)[before // GROUP :].transpose(0, 1).reshape(batch, -1)


def adjoint(grad: Tensor, lag: Tensor, taps: Tensor) -> Tensor:
    """dL/de from dL/dx, where x = `solve` of e with zeros before it.

    Shape:
        grad: (B, G * GROUP), lag and taps: as `predict` -> (B, G * GROUP)
    """
    index, before = _past_index(lag)
    transposed = _matrices(_both_sides(taps).transpose(0, 1)).mT  # groups first: a range is one stretch of memory
    total = F.pad(grad, (before, 0))  # dL/dx, completed from the end towards the start
    for first, end in reversed(free_ranges(lag)):
        now = total[:, before + first * GROUP : before + end * GROUP].unflatten(1, (-1, GROUP)).transpose(0, 1)
        spread = (transposed[first:end] @ now[..., None]).transpose(0, 1)
        total.scatter_add_(1, index[:, first:end].flatten(1), spread.flatten(1))
    return total[:, before:]


def gradient_of_taps(grad_e: Tensor, x: Tensor, lag: Tensor) -> Tensor:
    """dL/dtaps (B, G + 1, 2 * REACH + 1) from what `adjoint` and `solve` give."""
    index, before = _past_index(lag)
    past = F.pad(x, (before, 0)).gather(1, index.flatten(1)).view(index.shape)
    outer = grad_e.unflatten(1, (-1, GROUP))[..., None] * past[:, :, None]
    sides = (outer.flatten(2) @ tap_places(x.dtype, x.device).T).unflatten(2, (2, -1))
    return F.pad(sides[:, :, 0], (0, 0, 0, 1)) + F.pad(sides[:, :, 1], (0, 0, 1, 0))


def taps_at(lag: Tensor, gain: Tensor, min_lag: int) -> tuple[Tensor, Tensor]:
    """Fractional lags (B, G + 1) and gains (B, W, G + 1) to whole lags and taps (B, G + 1, 2 * REACH + 1)."""
    # NaN in the data must reach the loss, where the step is skipped, not the index of a gather.
    whole = lag.nan_to_num(float(min_lag)).round()
    # Taps first in memory: what is the same for all of them is then read in one stretch.
    offset = torch.arange(-REACH, REACH + 1, device=lag.device, dtype=lag.dtype)[:, None, None] + (whole - lag)
    taps = torch.zeros_like(offset)
    shape = torch.exp((offset * (0.5**0.5 / WIDEST)).square().neg())
    for g in gain.unbind(1)[::-1]:
        taps = torch.addcmul(taps, shape, g / shape.sum(0))
        shape = shape.square().square()  # half as wide, cheaper than by exp
    return whole.long(), taps.movedim(0, -1).contiguous()


def safe_stride(min_lag: int, block: int) -> int:
    """Groups that can be done at once whatever the lag, and that go evenly into a block of whole groups."""
    return max(n for n in range(1, (min_lag - REACH) // GROUP + 1) if block // GROUP % n == 0)


def past_samples(max_lag: int) -> int:
    """How many samples before its first one `solve` looks at: (max_lag + REACH) in whole groups."""
    return ceil_div(max_lag + REACH, GROUP) * GROUP


def _matrices(sides: Tensor) -> Tensor:
    """Taps of the nodes on both sides of a group, (..., 2, 2 * REACH + 1), to what turns the past of both, latest
    sample first, into the group's prediction: (..., GROUP, 2 * SPAN)."""
    # Copying the taps to their places as a product with a constant is several times as fast as by strides.
    places = tap_places(sides.dtype, sides.device)
    return (sides.flatten(-2) @ places).unflatten(-1, (GROUP, 2 * SPAN))


@functools.lru_cache(maxsize=8)
def tap_places(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Where the taps of both nodes go in a group's matrix, and how faded: (2 * (2 * REACH + 1), GROUP * 2 * SPAN)."""
    with torch.inference_mode(False), plain_defaults():
        tap = torch.arange(2 * REACH + 1)[:, None, None]
        sample, column = torch.arange(GROUP)[:, None], torch.arange(SPAN)
        place = (sample + column - (GROUP - 1) == tap).to(dtype)
        before, after = _fade(place)
        zero = torch.zeros_like(place)
        rows = [torch.cat([before[:, None] * place, zero], 2), torch.cat([zero, after[:, None] * place], 2)]
        return torch.cat(rows).flatten(1).to(device)


def places_by_side(dtype: torch.dtype) -> Tensor:
    """`tap_places` of each node by itself, on the CPU: (2, 2 * REACH + 1, SPAN, GROUP), the latest sample first."""
    both = tap_places(dtype, torch.device("cpu")).view(2, 2 * REACH + 1, GROUP, 2, SPAN)
    return torch.stack([both[side, :, :, side].mT for side in range(2)])


def whole_groups(x: Tensor) -> Tensor:
    """Zeros at the end up to a whole group; no sample depends on later ones, so they change nothing."""
    return F.pad(x, (0, -x.shape[1] % GROUP))


def free_ranges(lag: Tensor) -> list[tuple[int, int]]:
    """Group ranges (first, end) such that no sample's taps reach into its own range."""
    shortest = lag.amin(0)
    reachable = ((torch.minimum(shortest[:-1], shortest[1:]) - REACH) // GROUP).tolist()
    ranges = []
    first, allowed = 0, reachable[0]
    for group, reach in enumerate(reachable):
        if reach < allowed:
            allowed = reach
        if group - first >= allowed:
            ranges.append((first, group))
            first, allowed = group, reach
    ranges.append((first, len(reachable)))
    return ranges


def _past_index(lag: Tensor) -> tuple[Tensor, int]:
    """The indices (B, G, 2 * SPAN) that each group's two nodes touch, latest sample first, into samples with so many
    zeros before them."""
    before = int(lag.max()) + REACH
    last = torch.arange(lag.shape[1] - 1, device=lag.device) * GROUP + before - REACH + SPAN - 1
    index = (last[:, None] - _both_sides(lag))[..., None] - torch.arange(SPAN, device=lag.device)
    return index.flatten(2), before


def _both_sides(nodes: Tensor) -> Tensor:
    """(B, G + 1, ...) -> (B, G, 2, ...): for each group the node before and the node after."""
    return torch.stack([nodes[:, :-1], nodes[:, 1:]], 2)


def _fade(like: Tensor) -> Tensor:
    """Cross-fade weights (2, GROUP)."""
    after = (torch.arange(GROUP, device=like.device, dtype=like.dtype) + 0.5) / GROUP
    return torch.stack([1.0 - after, after])
