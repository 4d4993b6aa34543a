"""All that a step needs of the trained networks, as one forward pass: data-parallel training allows no more."""

import torch
from torch import Tensor, nn

from flowvocoder.flows.density import FlowVocoder
from flowvocoder.postfilter.chain import PostFilter
from flowvocoder.postfilter.refinement import Refinement
from flowvocoder.postfilter.schedule import steady
from flowvocoder.postfilter.settings import PostfilterSettings
from flowvocoder.training.batch import StepBatch

Outputs = tuple[Tensor | None, dict[str, Tensor], Tensor | None]
"""Log-likelihood in nats per sample (B,), losses that the networks compute themselves, and samples (B, K, T)."""


class FlowForward(nn.Module):
    """Likelihood, the flow's auxiliary losses, and samples where noise is given."""

    def __init__(self, model: FlowVocoder):
        super().__init__()
        self.model = model

    def forward(self, batch: StepBatch) -> Outputs:
        nats = self.model.log_prob(batch.dequantised, batch.mel) / batch.audio.shape[1]
        auxiliary = self.model.auxiliary_losses(batch.audio, batch.mel)
        return nats, auxiliary, None if batch.noise is None else draw_samples(self.model, batch.noise, batch.mel)


class RefinerForward(nn.Module):
    """Samples as the refiner leaves them, which losses compare with recordings. No likelihood.

    Args:
        settings: iterations of the voice; those after the refiner are the objective's.
    """

    def __init__(self, model: FlowVocoder, postfilter: PostFilter, settings: PostfilterSettings):
        super().__init__()
        self.model, self.postfilter, self.settings = model, postfilter, settings

    def forward(self, batch: StepBatch) -> Outputs:
        refiner = self.postfilter.refiner
        assert refiner is not None and batch.noise is not None  # `config.check` asks for it
        mel = batch.mel.repeat_interleave(batch.noise.shape[1], 0)
        precision = autocast_precision(mel.device.type)
        with torch.no_grad():
            samples = draw_samples(self.model, batch.noise, batch.mel).flatten(0, 1).float()
        with torch.autocast(mel.device.type, enabled=False):
            with torch.no_grad():
                before = self.postfilter.unrefined(self.settings, precision=precision).push(mel, samples, ends=True)
            refined = Refinement(refiner, precision=precision).push(mel, before, ends=True)
        return None, {}, refined.unflatten(0, batch.noise.shape[:2])


class GuideForward(nn.Module):
    """The guide network's loss: samples of the flow against recordings. No likelihood, no other samples.

    Args:
        gl_iters: mel-consistency iterations before the guide's, as in synthesis.
    """

    def __init__(self, model: FlowVocoder, postfilter: PostFilter, gl_iters: int):
        super().__init__()
        self.model, self.postfilter, self.gl_iters = model, postfilter, gl_iters

    def forward(self, batch: StepBatch) -> Outputs:
        guide, mel = self.postfilter.guide, batch.mel
        assert guide is not None and batch.noise is not None  # `config.check` asks for it
        device = mel.device.type
        precision = autocast_precision(device)
        with torch.no_grad():
            samples = draw_samples(self.model, batch.noise, mel)[:, 0].float()
        with torch.autocast(device, enabled=False):
            with torch.no_grad():
                low = guide.band.of(self.postfilter.consistency(samples, mel, self.gl_iters))
                low = guide.band.iterate(low, mel, steady(batch.low_band_iters))
            loss = guide.loss(low, guide.band.of(batch.audio), mel, precision)
        return None, {"guide": loss}, None


def autocast_precision(device: str) -> torch.dtype | None:
    """What autocast has chosen; None without it."""
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None


def draw_samples(model: FlowVocoder, noise: Tensor, mel: Tensor) -> Tensor:
    """(B, K, M, N) -> (B, K, T)"""
    samples = model.sample(noise.flatten(0, 1), mel.repeat_interleave(noise.shape[1], 0))
    return samples.unflatten(0, noise.shape[:2])
