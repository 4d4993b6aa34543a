"""Invertible functions of one number whose parameters a conditioner gives: what couplings and autoregressions apply."""

import dataclasses

import torch
from torch import Tensor


class Elementwise:
    """An increasing function applied to every number of a tensor by itself.

    Attributes:
        parameters: P, how many parameters a number has. All zero, they give the identity.

    Shape:
        x, z, log_slope: the same, any
        parameters: (P, *that)
    """

    parameters: int

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """z, and log dz/dx in nats."""
        raise NotImplementedError

    def inverse(self, z: Tensor, parameters: Tensor) -> Tensor:
        raise NotImplementedError


def parameters_of(outputs: Tensor, count: int, axis: int = 1) -> Tensor:
    """A conditioner's outputs (B, P * C, N), the P parameters one after another, as (P, B, C, N)."""
    return outputs.unflatten(axis, (count, -1)).movedim(axis, 0)


@dataclasses.dataclass(frozen=True)
class Shift(Elementwise):
    """z = x + t (NICE, Dinh et al. 2015, arXiv:1410.8516)."""

    parameters = 1

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return x + parameters[0], torch.zeros_like(x)

    def inverse(self, z: Tensor, parameters: Tensor) -> Tensor:
        return z - parameters[0]


@dataclasses.dataclass(frozen=True)
class Affine(Elementwise):
    """z = x * exp(s) + t (Real NVP, Dinh et al. 2017, arXiv:1605.08803).

    Args:
        bound: s is bounded smoothly to (-bound, bound), in nats; None for any s. A bounded one never stretches by more
            than exp(bound) and stays well conditioned in float32.
    """

    bound: float | None = 2.0
    parameters = 2

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        s, t = parameters
        s = bounded(s, self.bound)
        return x * s.exp() + t, s

    def inverse(self, z: Tensor, parameters: Tensor) -> Tensor:
        s, t = parameters
        return (z - t) * (-bounded(s, self.bound)).exp()


def bounded(s: Tensor, bound: float | None) -> Tensor:
    """s bounded smoothly to (-bound, bound); None for any s."""
    return s if bound is None else bound * torch.tanh(s / bound)
