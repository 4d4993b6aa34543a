"""One step's data and its randomness."""

import dataclasses

import torch
from torch import Tensor

from flowvocoder.config import TrainConfig
from flowvocoder.data.segments import Batch
from flowvocoder.flows.density import FlowVocoder, dequantise
from flowvocoder.postfilter.guide import UNGUIDED_FIRST
from flowvocoder.units import PCM16_STEP


@dataclasses.dataclass(frozen=True)
class StepBatch:
    """What a step computes with, on the device.

    Attributes:
        audio: recordings (B, T).
        dequantised: the same with uniform noise of a PCM16 step.
        mel: (B, n_mels, F).
        noise: (B, K, M, N) for K samples an item; None where no sample is drawn.
        low_band_iters: low-band iterations before the guided round.
    """

    audio: Tensor
    dequantised: Tensor
    mel: Tensor
    noise: Tensor | None
    low_band_iters: int = 0

    def __getitem__(self, index: slice) -> "StepBatch":
        """Some of its items."""
        noise = None if self.noise is None else self.noise[index]
        return dataclasses.replace(
            self, audio=self.audio[index], dequantised=self.dequantised[index], mel=self.mel[index], noise=noise
        )


def prepare(
    batch: Batch, model: FlowVocoder, config: TrainConfig, step: int, shard: slice, device: torch.device
) -> StepBatch:
    """Adds a step's randomness: a function of the seed, the step and an item's place in the whole batch.

    So it is the same on one process and on many. A GPU draws it itself: for half a thousand items a core would take
    longer than the step.

    Args:
        batch: this process's shard of the whole batch, on the device where that is a GPU.
        shard: which shard that is.
    """
    source = device if device.type == "cuda" else torch.device("cpu")
    generator = torch.Generator(source).manual_seed(config.run.seed * 1_000_003 + step)
    total = config.optim.batch
    quantisation = dequantise(torch.zeros(total, batch.audio.shape[1], device=source), PCM16_STEP, generator)
    noise = None
    if config.draws_samples:
        samples = 2 if config.losses.repulsion > 0 else 1
        shape = (total, samples, *model.latent_shape(batch.mel)[1:])
        noise = torch.randn(shape, generator=generator, device=source)[shard] * config.sampling.temperature
    low_band_iters = 0
    if config.stage == "guide":
        # As many as synthesis runs before the guided round, and more: a prediction from them is no easier.
        few, many = UNGUIDED_FIRST, 3 * UNGUIDED_FIRST
        low_band_iters = int(torch.randint(few, many + 1, (), generator=generator, device=source))

    def move(x: Tensor) -> Tensor:
        return x.to(device, non_blocking=True)

    dequantised = batch.audio + quantisation[shard]
    moved = move(batch.audio), move(dequantised), move(batch.mel)
    return StepBatch(*moved, None if noise is None else move(noise), low_band_iters)
