"""Invertible 1x1 convolutions over channels (Kingma and Dhariwal 2018, arXiv:1807.03039)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from flowvocoder.flows.base import Bijection, exact


class PointwiseLU(Bijection):
    """z = W x in every column, W = P L (U + diag(sign * exp(d))): never singular, log-det T * sum d.

    P is a fixed permutation; L is unit lower and U strictly upper triangular. It starts as the permutation alone.

    Args:
        permutation: output channel c takes input channel permutation[c].
    """

    order: Tensor

    def __init__(self, permutation: Sequence[int]):
        super().__init__()
        channels = len(permutation)
        self.register_buffer("order", torch.as_tensor(permutation, dtype=torch.long))
        self.lower = nn.Parameter(torch.zeros(channels, channels))
        self.upper = nn.Parameter(torch.zeros(channels, channels))
        self.log_diagonal = nn.Parameter(torch.zeros(channels))

    @exact
    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        lower, upper = self._factors(x.dtype)
        z = (lower @ upper)[self.order] @ x
        return z, (self.log_diagonal.to(x.dtype).sum() * x.shape[-1]).expand(x.shape[0])

    @exact
    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        lower, upper = self._factors(z.dtype)
        # W^-1 = U^-1 L^-1 P^T is M x M and cheap beside the signal, so it is made afresh: no cache to go stale.
        eye = torch.eye(len(self.order), dtype=z.dtype, device=z.device)
        inverse = torch.linalg.solve_triangular(lower, eye[:, self.order], upper=False, unitriangular=True)
        return torch.linalg.solve_triangular(upper, inverse, upper=True) @ z

    def _factors(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        eye = torch.eye(len(self.order), dtype=dtype, device=self.lower.device)
        lower = self.lower.to(dtype).tril(-1) + eye
        upper = self.upper.to(dtype).triu(1) + torch.diag(self.log_diagonal.to(dtype).exp())
        return lower, upper


class PointwiseMatrix(Bijection):
    """z = W x with W as it stands, log-det T * log |det W|: what checkpoints of the WaveGlow family hold.

    Training can make it singular; `PointwiseLU` is the one to train.
    """

    def __init__(self, channels: int):
        super().__init__()
        weight = torch.linalg.qr(torch.randn(channels, channels)).Q
        self.weight = nn.Parameter(weight)

    @exact
    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        weight = self.weight.to(x.dtype)
        # slogdet, since log of a negative determinant is NaN: half of all orthogonal matrices have one.
        logdet = torch.linalg.slogdet(weight).logabsdet * x.shape[-1]
        return weight @ x, logdet.expand(x.shape[0])

    @exact
    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        return torch.linalg.solve(self.weight.to(z.dtype), z)


def even_odd(channels: int) -> list[int]:
    """Permutation that gathers the even channels first, then the odd ones."""
    return [*range(0, channels, 2), *range(1, channels, 2)]


def swapped_halves(channels: int) -> list[int]:
    """Permutation that exchanges the two halves of the channels."""
    half = channels // 2
    return [*range(half, channels), *range(half)]
