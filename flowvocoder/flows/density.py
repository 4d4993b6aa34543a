"""A conditional flow with its mel encoder: an exact density of audio given its mel."""

import math

import torch
from torch import Tensor, nn

from flowvocoder.flows.base import Bijection, Chain, sum_over_time
from flowvocoder.flows.pitch import PitchPredictor
from flowvocoder.mel.spec import MelSpec


class FlowVocoder(nn.Module):
    """log p(audio | mel) by the change of variables: standard normal noise through the inverse of `flow`.

    Args:
        spec: the mels the model understands.
        encoder: (B, n_mels, F) -> context (B, D, N), N blocks over the same time.
        flow: (B, 1, T) <-> (B, C, N), C * N = T.
        block: samples a block, a divisor of `spec.hop_length`.

    Shape:
        audio: (B, T) in [-1, 1), T = F * hop_length
        mel: (B, n_mels, F)
        latent z, or noise drawn in its place: (B, block, N), N = T / block
    """

    def __init__(self, spec: MelSpec, encoder: nn.Module, flow: Bijection, block: int):
        super().__init__()
        self.spec = spec
        self.encoder = encoder
        self.flow = flow
        self.block = block

    def encode(self, audio: Tensor, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Audio to its latent, and the log-determinant (B,) in nats."""
        latent, logdet = self.flow(audio[:, None], self.encoder(mel))
        return latent, logdet

    def decode(self, latent: Tensor, mel: Tensor) -> Tensor:
        """Latent to audio, the inverse of `encode`."""
        audio: Tensor = self.flow.inverse(latent, self.encoder(mel))[:, 0]
        return audio

    def sample(self, noise: Tensor, mel: Tensor) -> Tensor:
        """Noise to audio as synthesis does it: `decode`, or more where a layer has parameters for sampling."""
        audio: Tensor = self.flow.sample(noise, self.encoder(mel))[:, 0]
        return audio

    def sample_items(self, noise: Tensor, mel: Tensor, lengths: Tensor | None) -> Tensor:
        """`sample` of items of different `lengths` in frames (B,), each as it is alone, then zeros."""
        if lengths is None:
            return self.sample(noise, mel)
        hop = self.spec.hop_length
        audio = mel.new_zeros(len(mel), mel.shape[2] * hop)
        for item, frames in enumerate(lengths.tolist()):
            one, blocks = slice(item, item + 1), frames * hop // self.block
            audio[one, : frames * hop] = self.sample(noise[one, :, :blocks], mel[one, :, :frames])
        return audio

    def sampling_parameters(self) -> list[nn.Parameter]:
        """Those that `sample` uses and `decode` does not: what layers and conditioners declare by the same method."""
        own = (getattr(module, "sampling_parameters", None) for module in self.flow.modules())
        return [parameter for declared in own if declared is not None for parameter in declared()]

    def log_prob(self, audio: Tensor, mel: Tensor) -> Tensor:
        """Log-density (B,) in nats of the audio, all constants included."""
        latent, logdet = self.encode(audio, mel)
        return standard_normal_log_prob(latent) + logdet

    def log_prob_by_frame(self, audio: Tensor, mel: Tensor) -> Tensor:
        """`log_prob` divided by mel frame, (B, F) nats, of sum `log_prob`.

        A block's share is the log-density of its latent plus the log-determinant that arises in it. Layers that reach
        over time (pitch prediction, overlapping blocks) blur this by about their reach, a few hundredths of a second.
        """
        latent, logdet = self.flow.log_det_per_column(audio[:, None], self.encoder(mel))
        frames = mel.shape[-1]
        density = -0.5 * (latent.square() + math.log(2.0 * math.pi)).sum(1)
        return sum_over_time(density, frames) + sum_over_time(logdet, frames)

    def latent_shape(self, mel: Tensor) -> tuple[int, int, int]:
        """Shape of the latent that goes with (B, n_mels, F)."""
        return mel.shape[0], self.block, mel.shape[-1] * self.spec.hop_length // self.block

    def auxiliary_losses(self, audio: Tensor, mel: Tensor) -> dict[str, Tensor]:
        """What the first layer minimises beside -log_prob: scalars `lag` and `gain`, or nothing."""
        first = self.flow.layers[0] if isinstance(self.flow, Chain) else self.flow
        if not isinstance(first, PitchPredictor):
            return {}
        lag, gain = first.own_losses(audio[:, None], self.encoder(mel))
        return {"lag": lag, "gain": gain}


def standard_normal_log_prob(z: Tensor) -> Tensor:
    """Log-density (B,) of z under N(0, I), the constant -T/2 log 2 pi included."""
    flat = z.flatten(1)
    return -0.5 * flat.square().sum(1) - 0.5 * math.log(2.0 * math.pi) * flat.shape[1]


def dequantise(audio: Tensor, step: float | Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Audio plus centred uniform noise one quantisation step wide: its density bounds the integers' probability."""
    noise = torch.rand(audio.shape, generator=generator, device=audio.device, dtype=audio.dtype)
    return audio + step * (noise - 0.5)
