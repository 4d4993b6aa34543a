"""What a step minimises: the weighted sum of its losses."""

import functools

import torch
from torch import Tensor, nn

from flowvocoder.config import Experiment, LossWeights
from flowvocoder.errors import ConfigError
from flowvocoder.flows.density import FlowVocoder
from flowvocoder.postfilter.chain import PostFilter
from flowvocoder.postfilter.guide import EDGE
from flowvocoder.postfilter.settings import PostfilterSettings
from flowvocoder.training.adversary import Adversary
from flowvocoder.training.batch import StepBatch
from flowvocoder.training.distributed import DistributedContext
from flowvocoder.training.forward import FlowForward, GuideForward, RefinerForward
from flowvocoder.training.sample_losses import SAMPLE_LOSSES, Samples


def loss_weights(losses: LossWeights) -> dict[str, float]:
    """What each term counts in the sum, by its name in `log.jsonl`."""
    return {
        "nats": -losses.likelihood,  # log-likelihood, nats per sample
        "lag": losses.lag,
        "gain": losses.gain,
        "guide": 1.0,  # alone in its stage
        "spectral": losses.spectral,
        "pulse": losses.pulse,
        "period": losses.period,
        "block_tones": losses.block_tones,
        "adversarial": losses.adversarial,
        "features": losses.features,
        "discriminator": 1.0,  # no parameter has a gradient from both this term and the others
    }


class Objective:
    """The weighted sum of all terms.

    Args:
        model, postfilter: on the device of `processes`.

    Raises:
        ConfigError: segments too short for the guide network.
    """

    def __init__(
        self, model: FlowVocoder, postfilter: PostFilter, experiment: Experiment, processes: DistributedContext
    ):
        self.config = config = experiment.train
        self.weights = loss_weights(config.losses)
        self.consistency = postfilter.consistency
        forward: nn.Module = FlowForward(model)
        if config.stage == "guide":
            check_guide_segment(experiment)
            forward = GuideForward(model, postfilter, config.sampling.gl_iters)
        self.gl_iters = config.sampling.gl_iters
        if config.stage == "refiner":
            settings = PostfilterSettings(self.gl_iters, config.sampling.low_band_iters)
            forward = RefinerForward(model, postfilter, settings)
            self.gl_iters = postfilter.iterations_after_refiner(settings) or 0
        if config.run.compile:
            forward = torch.compile(forward)  # type: ignore[assignment]
        self.forward = processes.parallel(forward)
        self.sample_losses = {
            name: make(config, experiment.mel, model.block).to(processes.device)
            for name, make in SAMPLE_LOSSES.items()
            if self.weights[name] > 0
        }
        self.adversary: Adversary | None = None
        if config.losses.has_discriminators:
            self.adversary = Adversary(config.losses.discriminator_channels, processes)
        self.device = processes.device.type
        self.dtype = autocast_dtype(config.run.precision, processes.device)

    @property
    def networks(self) -> list[nn.Module]:
        """What `DistributedContext.parallel` made: gradients are exchanged after the backward pass of each."""
        return [self.forward] if self.adversary is None else [self.forward, self.adversary.parallel]

    def autocast(self) -> torch.autocast:
        """Reduced precision for the networks; the flow's own arithmetic stays exact (`flows.base.exact`)."""
        return torch.autocast(self.device, self.dtype or torch.bfloat16, enabled=self.dtype is not None)

    def __call__(self, batch: StepBatch) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """(loss, its terms and itself, log-likelihood of each item (B,), or without one the loss of each)."""
        with self.autocast():
            nats, losses, samples = self.forward(batch)
        terms = losses if nats is None else {"nats": nats.mean(), **losses}
        if samples is not None:
            terms |= self._of_samples(samples, batch)
        total = functools.reduce(torch.add, [self.weights[name] * value for name, value in terms.items()])
        items = total.expand(len(batch.audio)) if nats is None else nats
        return total, {**terms, "loss": total}, items.detach()

    def _of_samples(self, drawn: Tensor, batch: StepBatch) -> dict[str, Tensor]:
        mel = batch.mel.repeat_interleave(drawn.shape[1], 0)
        consistent = self.consistency(drawn.flatten(0, 1), mel, self.gl_iters)
        samples = Samples(drawn, consistent.unflatten(0, drawn.shape[:2]), batch.audio)
        terms = {name: loss(samples) for name, loss in self.sample_losses.items()}
        if self.adversary is not None:
            with self.autocast():
                terms |= self.adversary.losses(samples.recorded, samples.consistent[:, 0])
        return terms


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """The networks' dtype: None for float32. `auto` is bfloat16 where the hardware multiplies it faster."""
    if precision == "auto":
        if device.type == "cuda":
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            fast = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
        return torch.bfloat16 if fast else None
    return {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]


def check_guide_segment(experiment: Experiment) -> None:
    """Raises ConfigError for segments of which the guide network would see edges only."""
    segment, hop_length = experiment.train.optim.segment, experiment.mel.hop_length
    if segment // hop_length <= 4 * EDGE:
        raise ConfigError(
            f"train.optim.segment {segment} must be more than {4 * EDGE} x mel.hop_length {hop_length} in stage guide"
        )
