"""Levels of bands from those of the bands beside them."""

import torch
import torch.nn.functional as F
from torch import Tensor

from flowvocoder.flows.base import Bijection
from flowvocoder.flows.convolution import TimeConv, zeros

POOLED = 2, 8
"""Neighbouring known bands whose energies are looked at together."""

TAPS = 5
"""Blocks whose levels count."""

BOUND = 2.0
"""Largest correction, in nats (17 dB)."""


class LevelCoupling(Bijection):
    """Bands k with k % sets == scaled are scaled by what the known bands beside them and the context say of the level.

    A mel states the energy that some bands have together over some blocks. What part of it the known ones have is gone
    for the others: where those are louder than expected, these are not. A conditioner that is linear in the bands
    before its first bend does not see energies, so it is given the logarithms of local ones.

    z_k = x_k * exp(s_k(known bands, context)) for the scaled ones; s is zero at the start and smoothly bounded.

    Args:
        channels: M, a multiple of 8 * sets.
        sets: into how many sets the bands are dealt out, one after the other.
        known, scaled: which of them are looked at, and which one is scaled.
        context: channels of the context.
        hidden: width of the conditioner.
        causal: it looks back only.

    Shape:
        x: (B, M, N), context: (B, D, N)
    """

    def __init__(
        self,
        channels: int,
        sets: int,
        known: tuple[int, ...],
        scaled: int,
        context: int,
        hidden: int,
        causal: bool = False,
    ):
        super().__init__()
        if channels % (max(POOLED) * sets):
            raise ValueError(f"channels must be a multiple of {max(POOLED) * sets}, not {channels}")
        if scaled in known:
            raise ValueError(f"set {scaled} cannot be known and scaled")
        self.sets, self.known, self.scaled = sets, sorted(known), scaled
        seen = len(known) * channels // sets
        self.first = TimeConv(sum(seen // width for width in POOLED), hidden, TAPS, causal=causal)
        self.context = TimeConv(context, hidden)
        self.second = TimeConv(hidden, hidden)
        self.last = zeros(TimeConv(hidden, channels // sets))

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        z, logdet = self.by_column(x, context)
        return z, logdet.sum(1)

    def by_column(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        s = self._log_scale(x, context)
        return self._scaled(x, s.exp()), s.sum(1)

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        return self._scaled(z, (-self._log_scale(z, context)).exp())

    def _log_scale(self, x: Tensor, context: Tensor) -> Tensor:
        levels = log_levels(x.unflatten(1, (-1, self.sets))[:, :, self.known].flatten(1, 2), 1)
        h = F.silu(self.first(levels) + self.context(context))
        s = self.last(F.silu(self.second(h))).to(x.dtype)
        return BOUND * torch.tanh(s / BOUND)

    def _scaled(self, x: Tensor, factor: Tensor) -> Tensor:
        bands = list(x.unflatten(1, (-1, self.sets)).unbind(2))
        bands[self.scaled] = bands[self.scaled] * factor
        return torch.stack(bands, 2).flatten(1, 2)

    def extra_repr(self) -> str:
        return f"sets={self.sets}, known={self.known}, scaled={self.scaled}"


def log_levels(bands: Tensor, dim: int) -> Tensor:
    """Log mean energies of 2 and of 8 neighbouring bands, about 0 for whitened ones: K -> K/2 + K/8 along `dim`."""
    energy = bands.square()
    pooled = [energy.unflatten(dim, (-1, width)).mean(dim + 1) for width in POOLED]
    return (torch.cat(pooled, dim) + 0.01).log() + 2.0


def level_couplings(channels: int, sets: int, context: int, hidden: int, causal: bool = False) -> list[LevelCoupling]:
    """Couplings that scale all sets of bands but one, each by those that are left as they are until it is done.

    The sets are taken apart as evenly as can be: 0, then the one in the middle, then those between.
    """
    order = [0]
    while len(order) < sets:
        order = [*order, *(k + sets // (2 * len(order)) for k in order)]
    steps = range(sets - 1, 0, -1)
    return [LevelCoupling(channels, sets, tuple(order[:n]), order[n], context, hidden, causal) for n in steps]
