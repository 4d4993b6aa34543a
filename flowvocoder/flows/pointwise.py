"""Invertible 1x1 convolutions over channels (Kingma and Dhariwal 2018, arXiv:1807.03039)."""

import math

import torch
from torch import Tensor, nn

from flowvocoder.flows.base import Bijection, exact


class PointwiseLU(Bijection):
    """z = W x in every column, W = P L (U + diag(sign * exp(d))): never singular, log-det T * sum d.

    P is a fixed permutation and sign fixed; L is unit lower and U strictly upper triangular.

    Args:
        weight: (C, C), the W to start from, not singular.
    """

    order: Tensor
    sign: Tensor

    def __init__(self, weight: Tensor):
        super().__init__()
        permutation, lower, upper = torch.linalg.lu(weight.double())
        diagonal = upper.diagonal()
        self.register_buffer("order", permutation.argmax(1))
        self.register_buffer("sign", diagonal.sign().float())
        self.lower = nn.Parameter(lower.tril(-1).float())
        self.upper = nn.Parameter(upper.triu(1).float())
        self.log_diagonal = nn.Parameter(diagonal.abs().log().float())

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
        upper = self.upper.to(dtype).triu(1) + torch.diag(self.sign.to(dtype) * self.log_diagonal.to(dtype).exp())
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


def even_odd(channels: int) -> Tensor:
    """Permutation matrix that gathers the even channels first, then the odd ones."""
    return torch.eye(channels)[[*range(0, channels, 2), *range(1, channels, 2)]]


def swapped_halves(channels: int) -> Tensor:
    """Permutation matrix that exchanges the two halves of the channels."""
    return torch.eye(channels).roll(channels // 2, 0)


def time_slots(channels: int, group: int, keep: int = 8) -> Tensor:
    """Orthogonal matrix that turns groups of neighbouring bands into time slots within the block.

    A DCT over `group` neighbouring coefficients of an MDCT gives functions `group` times as wide in frequency and about
    half as long (subband merging), so that pitch pulses, shorter than a block, show in single channels. The lowest
    `keep` bands, where harmonics are resolved, stay as they are. A group of 1 changes nothing.
    """
    k = torch.arange(group, dtype=torch.float64)
    dct = math.sqrt(2.0 / group) * torch.cos(math.pi / group * torch.outer(k + 0.5, k))
    dct[:, 0] /= math.sqrt(2.0)
    groups = (channels - keep) // group
    rest = channels - keep - groups * group
    return torch.block_diag(torch.eye(keep), *[dct.float()] * groups, torch.eye(rest))
