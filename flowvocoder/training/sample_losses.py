"""Losses that compare samples of the flow with recordings. Likelihood does not optimise how samples sound; these do."""

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor, nn

from flowvocoder.config import TrainConfig
from flowvocoder.mel.spec import MelSpec
from flowvocoder.training.block_tones import BlockTonePower
from flowvocoder.training.pulses import PeriodDistance, PulseDistance
from flowvocoder.training.spectral import SpectralDistance


@dataclasses.dataclass(frozen=True)
class Samples:
    """What sample losses compare.

    Attributes:
        drawn: K samples of each item, (B, K, T), as the flow gives them.
        consistent: the same after mel-consistency iterations.
        recorded: (B, T).
    """

    drawn: Tensor
    consistent: Tensor
    recorded: Tensor


class SpectralLoss(nn.Module):
    """Spectral distance of samples to the recording, before and after mel consistency.

    Both count: compared only after it, the flow would leave its levels to the post-filter.

    With a repulsion of 1 this is the spectral energy distance (Gritsenko et al. 2020, arXiv:2008.01160), which is least
    for samples distributed as recordings are. Without repulsion the best sample is the same whatever the noise.

    Args:
        repulsion: how much of half the distance between two samples is subtracted.
        before: whether samples before mel consistency count, too.
    """

    def __init__(self, spec: MelSpec, repulsion: float, before: bool):
        super().__init__()
        self.distance = SpectralDistance(spec)
        self.repulsion, self.before = repulsion, before

    def forward(self, samples: Samples) -> Tensor:
        loss = self.against(samples.consistent, samples.recorded)
        return 0.5 * (loss + self.against(samples.drawn, samples.recorded)) if self.before else loss

    def against(self, samples: Tensor, recorded: Tensor) -> Tensor:
        """(B, K, T) and (B, T) -> scalar"""
        distances = [self.distance(sample, recorded, recorded) for sample in samples.unbind(1)]
        total = torch.stack(distances).mean()
        if len(distances) > 1:
            total = total - 0.5 * self.repulsion * self.distance(samples[:, 0], samples[:, 1], recorded)
        return total


class MeanOverSamples(nn.Module):
    """Mean of a distance (B, T), (B, T) -> scalar over the samples after mel consistency."""

    def __init__(self, distance: nn.Module):
        super().__init__()
        self.distance = distance

    def forward(self, samples: Samples) -> Tensor:
        return torch.stack([self.distance(one, samples.recorded) for one in samples.consistent.unbind(1)]).mean()


def _spectral(config: TrainConfig, spec: MelSpec, block: int) -> nn.Module:
    before = config.stage != "refiner" and config.sampling.gl_iters > 0
    return SpectralLoss(spec, config.losses.repulsion, before)


SAMPLE_LOSSES: dict[str, Callable[[TrainConfig, MelSpec, int], nn.Module]] = {
    "spectral": _spectral,
    "pulse": lambda config, spec, block: MeanOverSamples(PulseDistance(spec.sample_rate)),
    "period": lambda config, spec, block: MeanOverSamples(PeriodDistance(spec.sample_rate)),
    "block_tones": lambda config, spec, block: MeanOverSamples(BlockTonePower(block)),
}
"""How each loss is made, by its name in `log.jsonl` and in `LossWeights`, from the settings, the mel and the flow's
block. One more is a line here, a weight, and a line in `objective.loss_weights`."""
