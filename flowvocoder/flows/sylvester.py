"""Sylvester layers (van den Berg et al. 2018, arXiv:1803.05649)."""

import torch
from torch import Tensor, nn

from flowvocoder.flows.base import Bijection
from flowvocoder.flows.perceptron import FromContext
from flowvocoder.flows.planar import above_minus_one, undo_unit


class Sylvester(Bijection):
    """z = x + Q R tanh(S Q' x + b): planar layers with M hidden units, log-det O(M).

    Q (C, M) has orthonormal columns, a product of M reflections. R and S (M, M) are upper triangular, the products of
    their diagonals above -1 by construction. So the inverse is M equations of one unknown, one after another.

    Args:
        channels: C.
        units: M, at most C.
        context: channels of the context that R, S and b depend on; 0: on none.
        hidden: width of the network that sees the context.
    """

    def __init__(self, channels: int, units: int, context: int = 0, hidden: int = 32):
        super().__init__()
        self.units = units
        self.mirrors = nn.Parameter(torch.randn(units, channels))
        start = torch.cat([0.1 * torch.randn(units * units), torch.zeros(units * units), torch.randn(units)])
        self.numbers = FromContext(start, context, hidden)

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        z, logdet = self.log_det_per_column(x, context)
        return z, logdet.sum(1)

    def log_det_per_column(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        q, (r, s, b, gain) = self._orthonormal(), self._triangles(context)
        h = torch.tanh(_product(s, q.T @ x) + b)
        return x + q @ _product(r, h), torch.log1p(gain * (1.0 - h.square())).sum(1)

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        q, (r, s, b, gain) = self._orthonormal(), self._triangles(context)
        y = q.T @ z
        h, x = y[:, :0], y[:, :0]  # the units from the last to the one at hand
        for unit in reversed(range(self.units)):
            own, after = slice(unit, unit + 1), slice(unit + 1, None)
            y_own = y[:, own] - _product(r[:, own, after], h)
            scale, rest = s[:, unit, own], _product(s[:, own, after], x) + b[:, own]
            a = undo_unit(scale * y_own + rest, gain[:, own])
            h, x = torch.cat([torch.tanh(a), h], 1), torch.cat([(a - rest) / scale, x], 1)
        return z - q @ _product(r, h)

    def _orthonormal(self) -> Tensor:
        """Q."""
        q = torch.eye(self.mirrors.shape[1], self.units, dtype=self.mirrors.dtype, device=self.mirrors.device)
        for v in self.mirrors / torch.linalg.vector_norm(self.mirrors, dim=1, keepdim=True):
            q = q - 2.0 * torch.outer(v, v @ q)
        return q

    def _triangles(self, context: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """R and S (B or 1, M, M, N or 1), b and the products of the diagonals (B or 1, M, N or 1)."""
        m = self.units
        r, s, b = self.numbers(context).split([m * m, m * m, m], 1)
        r, s = r.unflatten(1, (m, m)), s.unflatten(1, (m, m))
        gain, scale = above_minus_one(_diagonal(r)), _diagonal(s).exp()
        return _with_diagonal(r, gain / scale), _with_diagonal(s, scale), b, gain


def _product(matrix: Tensor, x: Tensor) -> Tensor:
    """(B or 1, I, J, N or 1) times (B, J, N) -> (B, I, N)."""
    return (matrix * x.unsqueeze(1)).sum(2)


def _diagonal(matrix: Tensor) -> Tensor:
    return matrix.diagonal(dim1=1, dim2=2).transpose(1, 2)


def _with_diagonal(matrix: Tensor, diagonal: Tensor) -> Tensor:
    """The upper triangle with another diagonal (B or 1, M, N or 1)."""
    by_column = matrix.permute(0, 3, 1, 2).triu(1) + torch.diag_embed(diagonal.transpose(1, 2))
    return by_column.permute(0, 2, 3, 1)
