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


def shares(block: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """How far each sample is on the way from the centre of a block to that of the next: (block,), 0 to 1."""
    place = (torch.arange(block, device=device, dtype=dtype) + 0.5) / block - 0.5  # from a block's own centre
    half = block // 2
    return torch.cat([place[half:], place[:half] + 1.0])


def excitation_envelope(lag: Tensor, depth: Tensor, phase: Tensor, share: Tensor) -> Tensor:
    """(1 - d^2)^(3/4) / (1 - d cos 2 pi phi), of mean square 1 over a period, at every sample.

    1 / lag, depth d and with the first of them the phase phi are those given at the centres of blocks and linear in
    between (phi is its integral).

    Args:
        phase: in periods, as `phase_at_centres` gives it.
        share: what `shares` gives for blocks of M samples.

    Shape:
        lag, depth, phase: (B, N + 2), of the block before the first to that after the last -> (B, N * M)
    """
    block, given = len(share), torch.stack([1.0 / lag, depth, phase])[..., None]
    slow, shallow, phi = given[:, :, :-1].unbind(0)  # at the centre before
    fast, deep, _ = given[:, :, 1:].unbind(0)  # at the one after
    phi = phi + block * share * (slow + 0.5 * share * (fast - slow))
    d = torch.lerp(shallow, deep, share)
    root = (1.0 - d.square()).sqrt()  # the power of 3/4 by roots: pow takes twice as long
    envelope = root * root.sqrt() / (1.0 - d * torch.cos(2 * torch.pi * phi))
    first = block - block // 2  # samples of the block before the first
    return envelope.flatten(1)[:, first : first + (lag.shape[1] - 2) * block]


def phase_at_centres(lag: Tensor, block: int, start: Tensor, inside: Tensor | None = None) -> Tensor:
    """The phase at the centres of blocks, in periods, less whole ones: (B, N) lags, (B,) phase at the first -> (B, N).

    Args:
        inside: which of the steps from one block to the next count, (B or 1, N - 1); None for all.
    """
    wide = lag.dtype if lag.device.type == "mps" else torch.float64  # which that one does not have
    rate = 1.0 / lag.to(wide)
    step = 0.5 * block * (rate[:, :-1] + rate[:, 1:])
    if inside is not None:
        step = step * inside.to(step.dtype)
    first = start.to(wide)[:, None]
    phase = torch.cat([first, first + step.cumsum(1)], 1)
    return (phase - phase.floor()).to(lag.dtype)
