"""Activation normalisation (Kingma and Dhariwal 2018, arXiv:1807.03039)."""

import torch
from torch import Tensor, nn

from flowvocoder.flows.base import Bijection
from flowvocoder.flows.streaming import Context, StepSettings, StreamingStep, StreamPosition, StreamState, step_for


class ActNorm(Bijection):
    """z = (x + shift) * exp(log_scale) per channel, log-det T * sum log_scale.

    The first batch that it sees in training sets shift and scale to give zero mean and unit variance; whether that has
    happened is in the state dict.

    Args:
        channels: C.
    """

    started: Tensor

    def __init__(self, channels: int):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(channels, 1))
        self.log_scale = nn.Parameter(torch.zeros(channels, 1))
        self.register_buffer("started", torch.tensor(False))

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        if self.training and not self.started:
            self._start(x)
        shift, log_scale = self.shift.to(x.dtype), self.log_scale.to(x.dtype)
        logdet = log_scale.sum() * x.shape[-1]
        return (x + shift) * log_scale.exp(), logdet.expand(x.shape[0])

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        return z * (-self.log_scale.to(z.dtype)).exp() - self.shift.to(z.dtype)

    @torch.no_grad()
    def _start(self, x: Tensor) -> None:
        values = x.transpose(0, 1).flatten(1)
        moments = torch.stack([values.mean(1), values.square().mean(1)])
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(moments)  # every process must start from the same numbers
            moments = moments / torch.distributed.get_world_size()
        mean, power = moments[..., None]
        self.shift.copy_(-mean)
        self.log_scale.copy_(-0.5 * (power - mean.square()).clamp_min(1e-12).log())
        self.started.fill_(True)


@step_for(ActNorm)
class ActNormStep(StreamingStep):
    """Its inverse, per column."""

    factor: Tensor
    shift: Tensor

    def __init__(self, layer: ActNorm, settings: StepSettings):
        super().__init__(settings)
        self.register_buffer("factor", (-layer.log_scale.detach()).exp()[:, 0])
        self.register_buffer("shift", layer.shift.detach()[:, 0].clone())

    def forward(self, z: Tensor, context: Context, delay: int, position: StreamPosition, state: StreamState) -> Tensor:
        return (self.per_column(z) * self.factor - self.shift).flatten(2)
