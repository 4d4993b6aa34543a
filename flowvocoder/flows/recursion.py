"""Time-varying linear prediction from the past around a lag, and the recursion that undoes it."""

import torch
import torch.nn.functional as F
from torch import Tensor

GROUP = 16
"""Samples between nodes; each node has a lag and taps, and what two neighbouring nodes predict is cross-faded.
Without the fade every change of the taps would scatter the strong low bands over the weak high ones."""

REACH = 10
"""Taps on either side of the lag."""

SPAN = GROUP + 2 * REACH
"""Samples that the taps of one node touch in one group."""


def predict(x: Tensor, lag: Tensor, taps: Tensor) -> Tensor:
    """p[n] = sum_k w_k[n] sum_j taps[g + k, REACH + j] * x[n - lag[g + k] - j], zeros before the start.

    g = n // GROUP; k = 0, 1 are the nodes on either side of n, w the cross-fade between them; j = -REACH..REACH.

    Shape:
        x: (B, T), lag: (B, G + 1) long, taps: (B, G + 1, 2 * REACH + 1), G = ceil(T / GROUP) -> (B, T)
    """
    padded, index, _ = _past(_whole_groups(x), lag)
    past = padded.gather(1, index.flatten(1)).view(index.shape)
    return _apply(past, _kernels(_both_sides(taps)), _fade(x)).flatten(1)[:, : x.shape[1]]


def synthesise(e: Tensor, lag: Tensor, taps: Tensor) -> Tensor:
    """The x with x - predict(x, lag, taps) = e, differentiable in e and taps.

    Runs in steps as long as their shortest lag allows: within a step every sample needs only earlier steps.

    Shape:
        as `predict`
    """
    return _Recursion.apply(_whole_groups(e), lag, taps)[:, : e.shape[1]]


def _whole_groups(x: Tensor) -> Tensor:
    """Zeros at the end up to a whole group; no sample depends on later ones, so they change nothing."""
    return F.pad(x, (0, -x.shape[1] % GROUP))


def _steps(lag: Tensor) -> list[tuple[int, int]]:
    """Group ranges (first, end) such that no sample's taps reach into its own range."""
    shortest = lag.amin(0)
    reachable = ((torch.minimum(shortest[:-1], shortest[1:]) - REACH) // GROUP).tolist()
    steps = []
    first = 0
    while first < len(reachable):
        allowed, end = reachable[first], first + 1
        while end < len(reachable) and end - first < min(allowed, reachable[end]):
            allowed = min(allowed, reachable[end])
            end += 1
        steps.append((first, end))
        first = end
    return steps


def _past(x: Tensor, lag: Tensor) -> tuple[Tensor, Tensor, int]:
    """x with zeros before it, the indices (B, G, 2, SPAN) into it that each group's two nodes touch, and the zeros."""
    before = int(lag.max()) + REACH
    start = torch.arange(lag.shape[1] - 1, device=x.device) * GROUP + before - REACH
    start = start[:, None] - _both_sides(lag)
    return F.pad(x, (before, 0)), start[..., None] + torch.arange(SPAN, device=x.device), before


def _both_sides(nodes: Tensor) -> Tensor:
    """(B, G + 1, ...) -> (B, G, 2, ...): for each group the node before and the node after."""
    return torch.stack([nodes[:, :-1], nodes[:, 1:]], 2)


def _fade(like: Tensor) -> Tensor:
    """Cross-fade weights (2, GROUP)."""
    after = (torch.arange(GROUP, device=like.device, dtype=like.dtype) + 0.5) / GROUP
    return torch.stack([1.0 - after, after])


def _kernels(sides: Tensor) -> Tensor:
    """Taps (B, G, 2, 2 * REACH + 1) as columns in the order in which they meet the past."""
    return sides.flip(-1)[..., None]


def _apply(past: Tensor, kernels: Tensor, fade: Tensor) -> Tensor:
    """(B, G, 2, SPAN), (B, G, 2, 2 * REACH + 1, 1), (2, GROUP) -> (B, G, GROUP)."""
    return ((past.unfold(-1, 2 * REACH + 1, 1) @ kernels).squeeze(-1) * fade).sum(2)


def _apply_transposed(grad: Tensor, taps: Tensor) -> Tensor:
    """Adjoint of `_apply` in `past`: (B, G, GROUP), (B, G, 2, 2 * REACH + 1) -> (B, G, 2, SPAN)."""
    padded = F.pad(grad[:, :, None] * _fade(grad), (2 * REACH, 2 * REACH))
    return (padded.unfold(-1, 2 * REACH + 1, 1) @ taps[..., None])[..., 0]


class _Recursion(torch.autograd.Function):
    @staticmethod
    def forward(ctx, e: Tensor, lag: Tensor, taps: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        x, index, before = _past(e, lag)
        sides = _both_sides(taps)
        steps = _steps(lag)
        # Thousands of steps a second of audio: whatever can be done before the loop is.
        flat, kernels, fade, row = index.flatten(1), _kernels(sides), _fade(x), 2 * SPAN
        for first, end in steps:
            past = x.gather(1, flat[:, first * row : end * row]).view(len(x), end - first, 2, SPAN)
            x[:, before + first * GROUP : before + end * GROUP] += _apply(past, kernels[:, first:end], fade).flatten(1)
        ctx.save_for_backward(x, index, sides)
        ctx.before, ctx.steps = before, steps
        return x[:, before:].clone()

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, Tensor]:  # type: ignore[no-untyped-def]
        x, index, sides = ctx.saved_tensors
        before = ctx.before
        total = F.pad(grad, (before, 0))  # dL/dx, completed from the end towards the start
        for first, end in reversed(ctx.steps):
            now = total[:, before + first * GROUP : before + end * GROUP]
            spread = _apply_transposed(now.reshape(len(now), -1, GROUP), sides[:, first:end])
            total.scatter_add_(1, index[:, first:end].flatten(1), spread.flatten(1))
        grad_e = total[:, before:]
        groups = grad_e.reshape(*index.shape[:2], 1, GROUP)
        past = x.gather(1, index.flatten(1)).view(index.shape).unfold(-1, 2 * REACH + 1, 1)
        grad_sides = ((groups * _fade(grad_e))[:, :, :, None] @ past)[:, :, :, 0].flip(-1)
        grad_taps = F.pad(grad_sides[:, :, 0], (0, 0, 0, 1)) + F.pad(grad_sides[:, :, 1], (0, 0, 1, 0))
        return grad_e, None, grad_taps
