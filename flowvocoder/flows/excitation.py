"""The pitch-synchronous envelope of the excitation that samples are made from."""

import torch
from torch import Tensor

MAX_DEPTH = 0.9
"""Limit of the modulation depth. The loudest instant of a period is then 26 dB over the softest."""

INITIAL_LOGIT = -4.0
"""What is added to the logit of the depth: it begins at 0.016."""


def modulation_depth(logits: Tensor, dtype: torch.dtype) -> Tensor:
    """How deep the envelope is, 0 (flat) to `MAX_DEPTH`."""
    return MAX_DEPTH * torch.sigmoid(logits.to(dtype) + INITIAL_LOGIT)


def excitation_envelope(lag: Tensor, depth: Tensor, phase: Tensor, block: int) -> Tensor:
    """(1 - d^2)^(3/4) / (1 - d cos 2 pi phi), of mean square 1 over a period, at every sample.

    1 / lag, depth d and with the first of them the phase phi are those given at the centres of blocks and linear in
    between (phi is its integral).

    Args:
        phase: in periods, as `phase_at_centres` gives it.

    Shape:
        lag, depth, phase: (B, N + 2), of the block before the first to that after the last -> (B, N * block)
    """
    place = (torch.arange(block, device=lag.device, dtype=lag.dtype) + 0.5) / block - 0.5  # from a block's own centre
    half = block // 2
    share = torch.cat([place[:half] + 1.0, place[half:]])  # from the centre before, then from its own
    rate = 1.0 / lag

    def before(x: Tensor) -> Tensor:
        return _halves(x[:, :-2], x[:, 1:-1], half, block)

    def after(x: Tensor) -> Tensor:
        return _halves(x[:, 1:-1], x[:, 2:], half, block)

    slow, fast = before(rate), after(rate)
    phi = before(phase) + block * share * (slow + 0.5 * share * (fast - slow))
    d = torch.lerp(before(depth), after(depth), share)
    return ((1.0 - d.square()).pow(0.75) / (1.0 - d * torch.cos(2 * torch.pi * phi))).flatten(1)


def _halves(first: Tensor, second: Tensor, half: int, block: int) -> Tensor:
    """(B, N), (B, N) -> (B, N, block): a value for the first half of every block and one for the second."""
    return torch.cat([first[..., None].expand(-1, -1, half), second[..., None].expand(-1, -1, block - half)], 2)


def phase_at_centres(lag: Tensor, block: int, start: Tensor, inside: Tensor | None = None) -> Tensor:
    """The phase at the centres of blocks, in periods, less whole ones: (B, N) lags, (B,) phase at the first -> (B, N).

    Args:
        inside: which of the steps from one block to the next count, (N - 1,); None for all.
    """
    wide = lag.dtype if lag.device.type == "mps" else torch.float64  # which that one does not have
    rate = 1.0 / lag.to(wide)
    step = 0.5 * block * (rate[:, :-1] + rate[:, 1:])
    if inside is not None:
        step = step * inside.to(step.dtype)
    first = start.to(wide)[:, None]
    phase = torch.cat([first, first + step.cumsum(1)], 1)
    return (phase - phase.floor()).to(lag.dtype)
