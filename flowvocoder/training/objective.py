"""What a step minimises: likelihood, the model's own auxiliary loss, and how samples compare with recordings."""

import dataclasses

import torch
from torch import Tensor, nn

from flowvocoder.config import Experiment, TrainConfig
from flowvocoder.errors import ConfigError
from flowvocoder.flows.base import Chain
from flowvocoder.flows.density import FlowVocoder, dequantise
from flowvocoder.postfilter.chain import PostFilter
from flowvocoder.postfilter.guide import EDGE, GUIDED, UNGUIDED, UNGUIDED_FIRST
from flowvocoder.training.discriminators import (
    Discriminators,
    adversarial_loss,
    discriminator_loss,
    feature_loss,
)
from flowvocoder.training.distributed import World
from flowvocoder.training.hum import HumPower
from flowvocoder.training.pulses import PeriodDistance, PulseDistance
from flowvocoder.training.spectral import SpectralDistance
from flowvocoder.units import PCM16_STEP

ROUNDS = 3
"""Rounds of a guide's training, all from one sample, which takes longer to draw than to iterate."""


@dataclasses.dataclass(frozen=True)
class Draw:
    """One step's data on the device: recordings (B, T), also dequantised, mels, noise (B, K, M, N) for K samples."""

    audio: Tensor
    noisy: Tensor
    mel: Tensor
    noise: Tensor | None
    iterations: int = 0  # unguided ones in the low band, before the guide is trained

    def piece(self, index: slice) -> "Draw":
        noise = None if self.noise is None else self.noise[index]
        return Draw(self.audio[index], self.noisy[index], self.mel[index], noise, self.iterations)


def draw(
    audio: Tensor, mel: Tensor, model: FlowVocoder, config: TrainConfig, step: int, total: int, part: slice,
    device: torch.device,
) -> Draw:  # fmt: skip
    """The randomness of a step: a function of (seed, step) and of an item's place in the whole batch alone.

    So it is the same on one process and on many.

    Args:
        audio, mel: our part of a batch of `total` items.
        part: which part that is.
    """
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
    everywhere = dequantise(audio.new_zeros(total, audio.shape[1]), PCM16_STEP, generator)
    noise = None
    if config.samples_at(step):
        shape = model.noise_shape(mel)
        samples = 2 if config.repulsion > 0 else 1
        noise = torch.randn((total, samples, *shape[1:]), generator=generator)[part] * config.sample_temperature

    iterations = 0
    if config.fine_weight > 0:
        # About as many as synthesis has run when it first asks the guide.
        few, many = UNGUIDED_FIRST // 2, 3 * UNGUIDED_FIRST // 2
        iterations = int(torch.randint(few, many + 1, (), generator=generator))

    def move(x: Tensor) -> Tensor:
        return x.to(device, non_blocking=True)

    noisy = audio + everywhere[part]
    return Draw(move(audio), move(noisy), move(mel), None if noise is None else move(noise), iterations)


class FlowPass(nn.Module):
    """All that a step needs of the flow, as one forward pass, since data-parallel training allows no more.

    Returns log-likelihood in nats per sample (B,), the model's auxiliary losses, and samples (B, K, T) where noise was
    drawn. Where a guide network is trained samples are for that, and its loss is an auxiliary one; where nothing else
    is trained there are no others, and no likelihood.
    """

    def __init__(self, model: FlowVocoder, postfilter: PostFilter, config: TrainConfig):
        super().__init__()
        self.model, self.postfilter, self.config = model, postfilter, config

    def forward(self, drawn: Draw) -> tuple[Tensor | None, dict[str, Tensor], Tensor | None]:
        config = self.config
        trains_guide = config.fine_weight > 0 and drawn.noise is not None
        if trains_guide and config.samples_only:
            return None, {"fine": self._guide_loss(drawn)}, None
        nats = self.model.log_prob(drawn.noisy, drawn.mel) / drawn.audio.shape[1]
        auxiliary = self.model.auxiliary_losses(drawn.audio, drawn.mel)
        if trains_guide:
            return nats, {**auxiliary, "fine": self._guide_loss(drawn)}, None
        if drawn.noise is None:
            return nats, auxiliary, None
        return nats, auxiliary, self._samples(drawn, drawn.noise)

    def _samples(self, drawn: Draw, noise: Tensor) -> Tensor:
        """(B, K, M, N) -> (B, K, T)"""
        samples = self.model.sample(noise.flatten(0, 1), drawn.mel.repeat_interleave(noise.shape[1], 0))
        return samples.unflatten(0, noise.shape[:2])

    def _guide_loss(self, drawn: Draw) -> Tensor:
        guide, mel = self.postfilter.guide, drawn.mel
        assert guide is not None and drawn.noise is not None  # `config.check` asks for it
        device = mel.device.type
        precision = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        with torch.no_grad():
            samples = self._samples(drawn, drawn.noise)[:, 0].float()
        with torch.autocast(device, enabled=False):
            with torch.no_grad():
                low = guide.band.of(self.postfilter.consistency(samples, mel, self.config.match))
                lows = [guide.band.iterate(low, mel, drawn.iterations)]
                while len(lows) < ROUNDS:
                    lows.append(guide.iterate(lows[-1], mel, GUIDED + UNGUIDED, precision))
                recorded = guide.band.of(drawn.audio)
            every = (ROUNDS, 1)
            return guide.loss(torch.cat(lows), recorded.repeat(every), mel.repeat(*every, 1), precision)


class Adversary:
    """The discriminators, what they say of samples, and their own training."""

    def __init__(self, config: TrainConfig, world: World):
        self.config = config
        self.net = Discriminators(config.discriminator_channels).to(world.device)
        self.parallel = world.parallel(self.net)
        self.optimizer = torch.optim.AdamW(
            self.net.parameters(), lr=config.discriminator_lr, betas=(0.8, 0.99), weight_decay=0.0, fused=True
        )

    def against(self, recorded: Tensor, sample: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(discriminator, adversarial, features): the first teaches the discriminators alone, the others the flow."""
        # One pass over both, since a data-parallel module runs forward once for each backward.
        half = len(recorded)
        both = self.parallel(torch.cat([recorded, sample.detach()]))
        of_recorded = [(score[:half], [f[:half] for f in features]) for score, features in both]
        own = discriminator_loss(of_recorded, [(score[half:], []) for score, _ in both])
        self.net.requires_grad_(False)
        of_sample = self.net(sample)
        self.net.requires_grad_(True)
        reference = [(score, [f.detach() for f in features]) for score, features in of_recorded]
        return own, adversarial_loss(of_sample), feature_loss(reference, of_sample)


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """The networks' dtype: None for float32. `auto` is bfloat16 where the hardware multiplies it faster."""
    if precision == "auto":
        if device.type == "cuda":
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            fast = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
        return torch.bfloat16 if fast else None
    return {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]


def recompute_activations(model: nn.Module, on: bool) -> None:
    """Whether the model's flows keep no activations for the backward pass (`flows.reversible`)."""
    for module in model.modules():
        if isinstance(module, Chain):
            module.recompute = on


class Objective:
    """The weighted sum of all terms.

    Terms (scalars; names as in `log.jsonl`): nats, pitch, gain and fine (auxiliary losses), spectral, pulses, period,
    hum, adversarial, features, discriminator.
    """

    def __init__(self, model: FlowVocoder, postfilter: PostFilter, experiment: Experiment, world: World):
        self.config = experiment.train
        frames = self.config.segment // experiment.mel.hop_length
        if self.config.fine_weight > 0 and frames <= 4 * EDGE:
            raise ConfigError(
                f"train.segment {self.config.segment} must be more than {4 * EDGE} x mel.hop_length"
                f" {experiment.mel.hop_length} where the guide network is trained"
            )
        self.consistency = postfilter.consistency
        flow: nn.Module = FlowPass(model, postfilter, self.config)
        if self.config.compile:
            flow = torch.compile(flow)  # type: ignore[assignment]
        self.flow = world.parallel(flow)
        self.spectral = SpectralDistance(experiment.mel).to(world.device)
        self.pulses = PulseDistance(experiment.mel.sample_rate) if self.config.pulse_weight > 0 else None
        self.period = PeriodDistance(experiment.mel.sample_rate) if self.config.period_weight > 0 else None
        self.hum = HumPower(model.block) if self.config.hum_weight > 0 else None
        self.adversary = Adversary(self.config, world) if self.config.adversarial else None
        self.device = world.device.type
        self.dtype = autocast_dtype(self.config.precision, world.device)

    @property
    def networks(self) -> list[nn.Module]:
        """What `World.parallel` made: gradients are exchanged after the backward pass of each."""
        return [self.flow] if self.adversary is None else [self.flow, self.adversary.parallel]

    def autocast(self) -> torch.autocast:
        """Reduced precision for the networks; the flow's own arithmetic stays exact (`flows.base.exact`)."""
        return torch.autocast(self.device, self.dtype or torch.bfloat16, enabled=self.dtype is not None)

    def __call__(self, drawn: Draw) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """(what to minimise, its terms, log-likelihood of each item (B,), or where there is none the whole loss)."""
        config = self.config
        with self.autocast():
            nats, auxiliary, samples = self.flow(drawn)
        terms, total = dict(auxiliary), drawn.audio.new_zeros(())
        if nats is not None:
            terms = {"nats": nats.mean(), **auxiliary}
            total = -config.likelihood_weight * terms["nats"]
        for name, loss in auxiliary.items():
            total = total + getattr(config, f"{name}_weight") * loss
        if nats is None:
            return total, {**terms, "loss": total}, total.detach().expand(len(drawn.audio))
        if samples is None:
            return total, {**terms, "loss": total}, nats.detach()
        # What is heard is judged, and its spectrum before mel consistency too: else the flow leaves its levels to that.
        drawn_so, samples = samples, self._consistent(samples, drawn.mel)
        sample = samples[:, 0]
        terms["spectral"] = self._spectral(samples, drawn.audio)
        if config.match:
            terms["spectral"] = 0.5 * (terms["spectral"] + self._spectral(drawn_so, drawn.audio))
        total = total + config.spectral_weight * terms["spectral"]
        for name, weight, measure in (
            ("pulses", config.pulse_weight, self.pulses),
            ("period", config.period_weight, self.period),
            ("hum", config.hum_weight, self.hum),
        ):
            if measure is not None:
                terms[name] = torch.stack([measure(one, drawn.audio) for one in samples.unbind(1)]).mean()
                total = total + weight * terms[name]
        if self.adversary is not None:
            with self.autocast():
                terms["discriminator"], terms["adversarial"], terms["features"] = self.adversary.against(
                    drawn.audio, sample
                )
            total = (
                total
                + config.adversarial_weight * terms["adversarial"]
                + config.feature_weight * terms["features"]
                + terms["discriminator"]  # no parameter has a gradient from both this term and the others
            )
        return total, {**terms, "loss": total}, nats.detach()

    def _consistent(self, samples: Tensor, mel: Tensor) -> Tensor:
        """Samples (B, K, T) after mel-consistency iterations."""
        mel = mel.repeat_interleave(samples.shape[1], 0)
        return self.consistency(samples.flatten(0, 1), mel, self.config.match).unflatten(0, samples.shape[:2])

    def _spectral(self, samples: Tensor, recorded: Tensor) -> Tensor:
        """Distance of samples (B, K, T) to the recording, less half of that between them times `repulsion`.

        With a repulsion of 1 this is the spectral energy distance (Gritsenko et al. 2020, arXiv:2008.01160), which is
        least for samples distributed as recordings are. Without it the best sample is the same whatever the noise.
        """
        distances = [self.spectral(sample, recorded, recorded) for sample in samples.unbind(1)]
        total = torch.stack(distances).mean()
        if len(distances) > 1:
            total = total - 0.5 * self.config.repulsion * self.spectral(samples[:, 0], samples[:, 1], recorded)
        return total
