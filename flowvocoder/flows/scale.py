"""The mel-conditioned scale: the spectral envelope as the first flow layer."""

import torch
from torch import Tensor, nn

from flowvocoder.flows.base import Bijection
from flowvocoder.flows.streaming import (
    Context,
    StepSettings,
    StreamingStep,
    StreamPosition,
    StreamState,
    build_step,
    require_columns,
    step_for,
)


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
        z, logdet = self.log_det_per_column(x, context)
        return z, logdet.sum(1)

    def log_det_per_column(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        s = self._log_scale(x, context)
        return x * torch.exp(-s), -s.sum(1)

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        return z * torch.exp(self._log_scale(z, context))

    def sample(self, z: Tensor, context: Tensor) -> Tensor:
        log_scale = getattr(self.log_scale, "sample", self.log_scale)
        return z * torch.exp(log_scale(context).to(z.dtype))

    def _log_scale(self, x: Tensor, context: Tensor) -> Tensor:
        return self.log_scale(context).to(x.dtype)


@step_for(ConditionalScale)
class ConditionalScaleStep(StreamingStep):
    """The scale's inverse; the step of its conditioner gives log scales of the columns that come in, none later."""

    def __init__(self, layer: ConditionalScale, settings: StepSettings):
        super().__init__(settings)
        require_columns(layer, settings)
        self.log_scale = build_step(layer.log_scale, settings)
        self.context_back = self.log_scale.context_back

    def forward(self, z: Tensor, context: Context, delay: int, position: StreamPosition, state: StreamState) -> Tensor:
        return z * torch.exp(self.log_scale(z, context, delay, position, state))
