"""What steps compute number by number between their products: by PyTorch, or as machine code on the CPU."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowvocoder.flows.elementwise import Affine, Elementwise, bounded, parameters_of
from flowvocoder.flows.excitation import excitation_envelope

POOLED = 2, 8
"""Neighbouring given bands whose energies are averaged."""


def log_energies(bands: Tensor, dim: int) -> Tensor:
    """Log mean energies of 2 and of 8 neighbouring bands, about 0 for whitened ones: K -> K/2 + K/8 along `dim`."""
    energy = bands.square()
    pooled = [energy.unflatten(dim, (-1, width)).mean(dim + 1) for width in POOLED]
    return (torch.cat(pooled, dim) + 0.01).log() + 2.0


class Arithmetic:
    """By PyTorch: differentiable, on any device, in any precision."""

    def gate(self, both: Tensor) -> Tensor:
        """tanh of the first half of the channels times the sigmoid of the second: (..., 2 C) -> (..., C).

        In float32 at least, and rounded once to what came in.
        """
        filtered, opening = both.to(torch.promote_types(both.dtype, torch.float32)).chunk(2, -1)
        return (torch.tanh(filtered) * torch.sigmoid(opening)).to(both.dtype)

    def undone(self, transform: Elementwise, z: Tensor, outputs: Tensor, first: int) -> Tensor:
        """The inverse of a transform of D channels from `first` on, and the others as they are.

        Shape:
            z: (B, n, C), outputs: (B, n, P * D), as `parameters_of` takes them -> (B, n, C)
        """
        parameters = parameters_of(outputs.to(z.dtype), transform.parameters, 2)
        before, own, after = z.tensor_split((first, first + parameters.shape[3]), 2)
        parts = before, transform.inverse(own, parameters), after
        return torch.cat([part for part in parts if part.shape[2]], 2)

    def scaled(self, z: Tensor, log_scale: Tensor, bound: float, group: int, groups: int) -> Tensor:
        """z_k * exp(-s) for k = group, group + groups and so on, s bounded smoothly: (B, n, C), (B, n, C / groups)."""
        bands = list(z.unflatten(2, (-1, groups)).unbind(3))
        bands[group] = bands[group] * torch.exp(-bounded(log_scale.to(z.dtype), bound))
        return torch.stack(bands, 3).flatten(2)

    def log_energies(self, z: Tensor, given: Sequence[int], groups: int, dtype: torch.dtype) -> Tensor:
        """Those of the bands k with k % groups in `given`: (B, n, C) -> (B, n, K/2 + K/8)."""
        # By views: a list as an index would be copied to a GPU, which then waits.
        bands = z.unflatten(2, (-1, groups))
        return log_energies(torch.stack([bands[..., group] for group in given], 3).flatten(2), 2).to(dtype)

    def excitation(self, lag: Tensor, depth: Tensor, phase: Tensor, share: Tensor) -> Tensor:
        """As `excitation_envelope`."""
        return excitation_envelope(lag, depth, phase, share)


PYTORCH = Arithmetic()


class MachineCode(Arithmetic):
    """By numba, where numbers are float32 or bfloat16 on the CPU and nobody asks for gradients; else as `Arithmetic`.

    Raises:
        ConfigError: numba is not installed.
    """

    def __init__(self) -> None:
        from flowvocoder.flows import loops

        self._loops = loops

    def gate(self, both: Tensor) -> Tensor:
        """As `Arithmetic.gate`."""
        if both.shape[-1] % 2 or not _plain(both):
            return super().gate(both)
        found = both.new_empty(*both.shape[:-1], both.shape[-1] // 2)
        self._loops.gate(_rows(both), _rows(found))
        return found

    def undone(self, transform: Elementwise, z: Tensor, outputs: Tensor, first: int) -> Tensor:
        """As `Arithmetic.undone`."""
        fits = outputs.shape[:2] == z.shape[:2] and 2 * first + outputs.shape[2] <= 2 * z.shape[2]
        if not (isinstance(transform, Affine) and fits and z.dtype == torch.float32 and _plain(z, outputs)):
            return super().undone(transform, z, outputs, first)
        found = z.clone(memory_format=torch.contiguous_format)
        bound = None if transform.bound is None else np.float32(transform.bound)
        self._loops.affine(_rows(outputs), bound, _rows(found), first)
        return found

    def scaled(self, z: Tensor, log_scale: Tensor, bound: float, group: int, groups: int) -> Tensor:
        """As `Arithmetic.scaled`."""
        fits = log_scale.shape == (*z.shape[:2], z.shape[2] // groups) and z.shape[2] % groups == 0
        if not (fits and z.dtype == torch.float32 and _plain(z, log_scale)):
            return super().scaled(z, log_scale, bound, group, groups)
        found = z.clone(memory_format=torch.contiguous_format)
        self._loops.scaled(_rows(log_scale), np.float32(bound), _rows(found), group, groups)
        return found

    def log_energies(self, z: Tensor, given: Sequence[int], groups: int, dtype: torch.dtype) -> Tensor:
        """As `Arithmetic.log_energies`."""
        found = z.new_empty(*z.shape[:2], 0, dtype=dtype)
        if not (z.dtype == torch.float32 and _plain(z, found)):
            return super().log_energies(z, given, groups, dtype)
        which = np.arange(z.shape[2]).reshape(-1, groups)[:, list(given)].ravel()
        found = z.new_empty(*z.shape[:2], sum(which.size // width for width in POOLED), dtype=dtype)
        self._loops.log_energies(_rows(z), which, POOLED, _rows(found))
        return found

    def excitation(self, lag: Tensor, depth: Tensor, phase: Tensor, share: Tensor) -> Tensor:
        """As `Arithmetic.excitation`."""
        given = lag, depth, phase
        if lag.dtype != torch.float32 or not _plain(*given):
            return super().excitation(lag, depth, phase, share)
        found = lag.new_empty(len(lag), (lag.shape[1] - 2) * len(share))
        self._loops.excitation(*map(_rows, given), share.numpy(), found.numpy())
        return found


def _plain(*tensors: Tensor) -> bool:
    """Whether machine code may read tensors."""
    wanted = torch.is_grad_enabled() and any(x.requires_grad for x in tensors)
    return not wanted and all(x.is_cpu and x.dtype in (torch.float32, torch.bfloat16) for x in tensors)


def _rows(x: Tensor) -> Any:
    """(..., C) -> an array (R, C), which is a view where x is contiguous; bfloat16, which NumPy lacks, as its bits."""
    x = x.detach().contiguous()
    return (
        (x.view(torch.int16) if x.dtype == torch.bfloat16 else x).numpy().reshape(math.prod(x.shape[:-1]), x.shape[-1])
    )
