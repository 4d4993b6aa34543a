"""Rational-quadratic splines (Durkan et al. 2019, arXiv:1906.04032; Gregory and Delbourgo 1982)."""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from flowvocoder.flows.elementwise import Elementwise

SMALLEST = 1e-3
"""Least width and height of a bin as a share of all, and least slope at a knot."""


class Bin(NamedTuple):
    """The bin that a number lies in: its lower left corner, its size, the slopes at its ends."""

    x: Tensor
    z: Tensor
    width: Tensor
    height: Tensor
    slope: Tensor
    next_slope: Tensor


@dataclasses.dataclass(frozen=True)
class Spline(Elementwise):
    """A monotone rational-quadratic spline from [-bound, bound] to itself, and the identity outside.

    A number has 3 * bins - 1 parameters: for the bins' widths, for their heights, and for the slopes at inner knots.

    Args:
        bins: pieces of the spline.
        bound: where its tails begin.
    """

    bins: int = 8
    bound: float = 4.0

    @property
    def parameters(self) -> int:  # type: ignore[override]
        return 3 * self.bins - 1

    def forward(self, x: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        inside = x.abs() < self.bound
        at = self._bin(x, parameters, of_z=False)
        place = torch.where(inside, (x - at.x) / at.width, 0.5)
        rest, mean = 1.0 - place, at.height / at.width
        both = place * rest
        denominator = mean + (at.slope + at.next_slope - 2.0 * mean) * both
        z = at.z + at.height * (mean * place.square() + at.slope * both) / denominator
        slope = at.next_slope * place.square() + 2.0 * mean * both + at.slope * rest.square()
        log_slope = 2.0 * (mean.log() - denominator.log()) + slope.log()
        return torch.where(inside, z, x), torch.where(inside, log_slope, 0.0)

    def inverse(self, z: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        inside = z.abs() < self.bound
        at = self._bin(z, parameters, of_z=True)
        rise, mean = torch.where(inside, z - at.z, 0.5 * at.height), at.height / at.width
        bend = rise * (at.slope + at.next_slope - 2.0 * mean)
        # The root of a quadratic equation in the place within the bin, in the form that subtracts no near equals.
        b = at.height * at.slope - bend
        discriminant = b.square() + 4.0 * (at.height * (mean - at.slope) + bend) * mean * rise
        place = 2.0 * mean * rise / (b + discriminant.clamp_min(0.0).sqrt())
        return torch.where(inside, at.x + place * at.width, z)

    def _bin(self, values: Tensor, parameters: Sequence[Tensor], of_z: bool) -> Bin:
        logits = torch.stack(tuple(parameters), -1)
        widths, heights = (self._sizes(part) for part in logits[..., : 2 * self.bins].chunk(2, -1))
        # Of slope 1 where the parameter is 0, as beyond the ends.
        slopes = SMALLEST + F.softplus(logits[..., 2 * self.bins :] + math.log(math.expm1(1.0 - SMALLEST)))
        slopes = F.pad(slopes, (1, 1), value=1.0)
        x, z = (F.pad(sizes.cumsum(-1), (1, 0)) - self.bound for sizes in (widths, heights))
        inner = (z if of_z else x)[..., 1:-1]
        number = (values[..., None] >= inner).sum(-1, keepdim=True)

        def pick(of_knots: Tensor, shift: int = 0) -> Tensor:
            return of_knots.gather(-1, number + shift).squeeze(-1)

        return Bin(pick(x), pick(z), pick(widths), pick(heights), pick(slopes), pick(slopes, 1))

    def _sizes(self, logits: Tensor) -> Tensor:
        """Widths or heights of the bins, of sum 2 * bound."""
        return 2.0 * self.bound * (SMALLEST + (1.0 - SMALLEST * self.bins) * logits.softmax(-1))
