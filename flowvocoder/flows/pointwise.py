"""Invertible 1x1 convolutions over channels (Kingma and Dhariwal 2018, arXiv:1807.03039)."""

import math

import torch
from torch import Tensor, nn

from flowvocoder.flows.base import Bijection, full_precision
from flowvocoder.flows.convolution import Product
from flowvocoder.flows.streaming import Context, StepSettings, StreamingStep, StreamPosition, StreamState, step_for


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

    @full_precision
    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        lower, upper = self._factors(x.dtype)
        z = (lower @ upper)[self.order] @ x
        return z, (self.log_diagonal.to(x.dtype).sum() * x.shape[-1]).expand(x.shape[0])

    @full_precision
    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        lower, upper = self._factors(z.dtype)
        # W^-1 = U^-1 L^-1 P^T is M x M and cheap beside the signal, so it is made afresh: no cache to go stale.
        eye = torch.eye(len(self.order), dtype=z.dtype, device=z.device)
        inverse = torch.linalg.solve_triangular(lower, eye[:, self.order], upper=False, unitriangular=True)
        return torch.linalg.solve_triangular(upper, inverse, upper=True) @ z

    @property
    def unread(self) -> int:
        """Numbers in `lower` and `upper` on the diagonal and on its other side."""
        return len(self.order) * (len(self.order) + 1)

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
        self.weight = nn.Parameter(random_rotation(channels))

    @full_precision
    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        weight = self.weight.to(x.dtype)
        # slogdet, since log of a negative determinant is NaN: half of all orthogonal matrices have one.
        logdet = torch.linalg.slogdet(weight).logabsdet * x.shape[-1]
        return weight @ x, logdet.expand(x.shape[0])

    @full_precision
    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        return torch.linalg.solve(self.weight.to(z.dtype), z)


@step_for(PointwiseLU)
@step_for(PointwiseMatrix)
class PointwiseStep(StreamingStep):
    """The product with W^-1, which is made in float64."""

    def __init__(self, layer: PointwiseLU | PointwiseMatrix, settings: StepSettings):
        super().__init__(settings)
        parameter = next(layer.parameters())
        columns = torch.eye(len(parameter), dtype=torch.float64, device=parameter.device)
        self.product = Product(layer.inverse(columns, columns), None, settings.precision or parameter.dtype)

    def forward(self, z: Tensor, context: Context, delay: int, position: StreamPosition, state: StreamState) -> Tensor:
        x: Tensor = self.product(self.per_column(z))
        return x.flatten(2)


def random_rotation(channels: int) -> Tensor:
    """Orthogonal matrix drawn from torch's global generator."""
    return torch.linalg.qr(torch.randn(channels, channels)).Q


def even_odd(channels: int) -> Tensor:
    """Permutation matrix that gathers the even channels first, then the odd ones."""
    return torch.eye(channels)[[*range(0, channels, 2), *range(1, channels, 2)]]


def swapped_halves(channels: int) -> Tensor:
    """Permutation matrix that exchanges the two halves of the channels."""
    return torch.eye(channels).roll(channels // 2, 0)


def subband_merging(channels: int, group: int, keep: int = 8) -> Tensor:
    """Orthogonal matrix that merges groups of neighbouring bands into slots of time within the block.

    A DCT over `group` neighbouring coefficients of an MDCT gives functions `group` times as wide in frequency and about
    half as long, so that pitch pulses, shorter than a block, show in single channels. The lowest `keep` bands, where
    harmonics are resolved, stay as they are. A group of 1 changes nothing, nor does one that is wider than the others.
    """
    groups = (channels - keep) // group
    if groups < 1:
        return torch.eye(channels)
    k = torch.arange(group, dtype=torch.float64)
    dct = math.sqrt(2.0 / group) * torch.cos(math.pi / group * torch.outer(k + 0.5, k))
    dct[:, 0] /= math.sqrt(2.0)
    rest = channels - keep - groups * group
    return torch.block_diag(torch.eye(keep), *[dct.float()] * groups, torch.eye(rest))
