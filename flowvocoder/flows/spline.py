"""Rational-quadratic splines (Durkan et al. 2019, arXiv:1906.04032; Gregory and Delbourgo 1982)."""

import dataclasses
import math
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

    def identity(self, spread: float) -> Tensor:
        """Parameters (P,) of the identity whose outermost bins are about `spread` times as wide as innermost ones."""
        sizes = torch.linspace(-1.0, 1.0, self.bins).square() * math.log(spread)
        return torch.cat([sizes, sizes, torch.zeros(self.bins - 1)])

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
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

    def inverse(self, z: Tensor, parameters: Tensor) -> Tensor:
        inside = z.abs() < self.bound
        at = self._bin(z, parameters, of_z=True)
        rise, mean = torch.where(inside, z - at.z, 0.5 * at.height), at.height / at.width
        bend = rise * (at.slope + at.next_slope - 2.0 * mean)
        # The root of a quadratic equation in the place within the bin, in the form that subtracts no near equals.
        b = at.height * at.slope - bend
        discriminant = b.square() + 4.0 * (at.height * (mean - at.slope) + bend) * mean * rise
        place = 2.0 * mean * rise / (b + discriminant.clamp_min(0.0).sqrt())
        return torch.where(inside, at.x + place * at.width, z)

    def _bin(self, values: Tensor, parameters: Tensor, of_z: bool) -> Bin:
        sizes, free = parameters.split([2 * self.bins, self.bins - 1])
        # Widths and heights (2, bins, ...), of sum 2 * bound.
        shares = SMALLEST + (1.0 - SMALLEST * self.bins) * sizes.unflatten(0, (2, self.bins)).softmax(1)
        sizes = 2.0 * self.bound * shares
        ends = sizes.cumsum(1) - self.bound
        number = (values >= ends[int(of_z), :-1]).sum(0, keepdim=True)
        own = number.expand(2, 1, *values.shape)
        (width, height), (x, z) = sizes.gather(1, own)[:, 0], (ends - sizes).gather(1, own)[:, 0]
        # Of slope 1 where the parameter is 0, as beyond the ends.
        free = F.pad(free, (0, 0) * values.dim() + (1, 1)).gather(0, torch.cat([number, number + 1]))
        slope, next_slope = SMALLEST + F.softplus(free + math.log(math.expm1(1.0 - SMALLEST)))
        return Bin(x, z, width, height, slope, next_slope)
