"""Continuous flows that are trained by less than their likelihood. Scores and held-out nats are exact all the same."""

import torch
from torch import Tensor

from flowvocoder.density.model import StandardisedFlow
from flowvocoder.flows.continuous import ContinuousFlow
from flowvocoder.flows.density import standard_normal_log_prob


class Estimated(StandardisedFlow):
    """Learns from Hutchinson's estimate of the divergence (FFJORD, Grathwohl et al. 2019, arXiv:1810.01367)."""

    def objective(self, x: Tensor, context: Tensor, generator: torch.Generator) -> Tensor:
        if not self.training:
            return super().objective(x, context, generator)
        total = x.new_zeros(len(x))
        for layer in _flows(self):
            signs = torch.randint(2, x.shape, generator=generator, device=x.device).to(x) * 2.0 - 1.0
            x, logdet = layer.estimate(x, context, signs)
            total = total + logdet
        return standard_normal_log_prob(x) + total


class Matched(StandardisedFlow):
    """Learns the velocity of straight lines from rows to noise (flow matching, Lipman et al. 2023, arXiv:2210.02747).

    No differential equation is solved in training. The objective is minus the squared error.
    """

    def objective(self, x: Tensor, context: Tensor, generator: torch.Generator) -> Tensor:
        if not self.training:
            return super().objective(x, context, generator)
        (layer,) = _flows(self)
        time = torch.rand((len(x), 1, 1), generator=generator, device=x.device, dtype=x.dtype)
        noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        return -(layer.velocity_at(time, torch.lerp(x, noise, time), context) - (noise - x)).square().flatten(1).sum(1)


def _flows(model: StandardisedFlow) -> list[ContinuousFlow]:
    layers = list(model.flow.layers)
    assert all(isinstance(layer, ContinuousFlow) for layer in layers)
    return layers  # type: ignore[return-value]
