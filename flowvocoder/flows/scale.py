"""The mel-conditioned scale: the spectral envelope as the first flow layer."""

import torch
from torch import Tensor, nn

from flowvocoder.flows.base import Bijection


class ConditionalScale(Bijection):
    """z = x * exp(-s(context)), log-det -sum s.

    In the transform domain s is the log envelope, so the layers behind it see nearly white coefficients.

    Args:
        log_scale: conditioner, (B, D, N) -> (B, C, N), natural log of the standard deviation it removes. Its range is
            not bounded: speech spans 100 dB, and the map is linear in x, so float32 inverts it without loss. If it has
            a method `sample`, that is the scale of samples.
    """

    def __init__(self, log_scale: nn.Module):
        super().__init__()
        self.log_scale = log_scale

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        z, logdet = self.by_column(x, context)
        return z, logdet.sum(1)

    def by_column(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        s = self._log_scale(x, context)
        return x * torch.exp(-s), -s.sum(1)

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        return z * torch.exp(self._log_scale(z, context))

    def sample(self, z: Tensor, context: Tensor) -> Tensor:
        log_scale = getattr(self.log_scale, "sample", self.log_scale)
        return z * torch.exp(log_scale(context).to(z.dtype))

    def _log_scale(self, x: Tensor, context: Tensor) -> Tensor:
        return self.log_scale(context).to(x.dtype)
