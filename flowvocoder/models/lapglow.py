"""LapGlow: WaveGlow on a lapped orthogonal transform."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowvocoder.architectures import LapGlowConfig
from flowvocoder.flows.base import Bijection, Chain
from flowvocoder.flows.convolution import TimeConv, zeros
from flowvocoder.flows.coupling import AffineCoupling
from flowvocoder.flows.lapped import LappedTransform
from flowvocoder.flows.level import level_couplings
from flowvocoder.flows.pitch import PitchPredictor, lag_range
from flowvocoder.flows.pointwise import PointwiseLU, even_odd, swapped_halves, time_slots
from flowvocoder.flows.scale import ConditionalScale
from flowvocoder.flows.wavenet import WaveNet
from flowvocoder.mel.frontend import band_centres, interpolation, unit_noise_level
from flowvocoder.mel.spec import MelSpec
from flowvocoder.models.flow_vocoder import FlowVocoder
from flowvocoder.postfilter.guide import FineSpectrum
from flowvocoder.units import PCM16_STEP

LOWEST = math.log(PCM16_STEP / math.sqrt(12.0))
"""Log standard deviation of the dequantisation noise: no band of the orthogonal transform has less."""

SPEECH_LEVEL, SPEECH_SPREAD = -5.0, 2.5
"""Mean and standard deviation of the log level of speech in a band, in nats over white noise of unit variance."""


class MelEncoder(nn.Module):
    """Mel at frame rate to context at block rate: (B, n_mels, F) -> (B, n_mels + channels, N).

    The first channels are the mel itself, standardised and repeated; the others are features of it with a receptive
    field of 2 * layers + 3 frames, so that what every coupling needs to know (pitch, voicing, envelope) is worked out
    once, at the lower rate.

    Args:
        ahead: so many of its layers + 1 convolutions look a frame ahead, the others only back.
    """

    level: Tensor

    def __init__(self, spec: MelSpec, channels: int, layers: int, blocks_per_frame: int, ahead: int):
        super().__init__()
        self.blocks_per_frame = blocks_per_frame
        nats = math.log(10.0) if spec.log == "log10" else 1.0  # a unit of the mel
        self.spread = SPEECH_SPREAD / nats
        self.register_buffer("level", unit_noise_level(spec)[:, None] + SPEECH_LEVEL / nats, persistent=False)
        self.start = TimeConv(spec.n_mels, channels, 3, causal=ahead < 1)
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.SiLU(),
                TimeConv(channels, channels, 3, causal=ahead < layer + 2),
                nn.SiLU(),
                TimeConv(channels, channels),
            )
            for layer in range(layers)
        )
        self.up = nn.ConvTranspose1d(channels, channels, 2 * blocks_per_frame, blocks_per_frame, blocks_per_frame // 2)

    def standardise(self, mel: Tensor) -> Tensor:
        """Bands of about mean 0 and variance 1, whatever the convention; log-mels as they are lie far from 0, which
        slows training down (docs/exploration.md)."""
        return (mel - self.level) / self.spread

    def forward(self, mel: Tensor) -> Tensor:
        mel = self.standardise(mel)
        h = self.start(mel)
        for layer in self.layers:
            h = h + layer(h)
        blocks = mel.shape[-1] * self.blocks_per_frame
        h = F.silu(self.up(h)[..., :blocks])
        return torch.cat([mel.repeat_interleave(self.blocks_per_frame, -1).to(h.dtype), h], 1)


class Envelope(nn.Module):
    """Log standard deviation of each band from the context of `MelEncoder`: (B, D, N) -> (B, M, N).

    Starts as the spectral envelope that the mel itself states, interpolated to the bands; a small network corrects it.
    """

    def __init__(self, spec: MelSpec, context: int, block: int, channels: int, causal: bool = False):
        super().__init__()
        self.n_mels = spec.n_mels
        self.skip = TimeConv(spec.n_mels, block, 3, causal=causal)
        self.net = nn.Sequential(
            TimeConv(context, channels, 3, causal=causal),
            nn.SiLU(),
            TimeConv(channels, channels, 3, causal=causal),
            nn.SiLU(),
        )
        self.last = zeros(TimeConv(channels, block))
        self.sample_last = zeros(TimeConv(channels, block))
        with torch.no_grad():
            self.skip.weight.zero_()
            at_block = self.skip.weight[:, :, self.skip.back]
            at_block.copy_(SPEECH_SPREAD * mel_to_bands(spec, block))
            self.skip.bias.fill_(SPEECH_LEVEL)  # type: ignore[union-attr]

    def forward(self, context: Tensor) -> Tensor:
        return self._bounded(self.skip(context[:, : self.n_mels]) + self.last(self.net(context)))

    def sample(self, context: Tensor) -> Tensor:
        """The same for samples: with what a second layer adds, which how they sound teaches, and nothing else."""
        context = context.detach()
        h = self.net(context).detach()
        s = (self.skip(context[:, : self.n_mels]) + self.last(h)).detach()
        return self._bounded(s + self.sample_last(h))

    def _bounded(self, s: Tensor) -> Tensor:
        # A soft lower bound: mels go down to -100 dB and more, dequantised audio does not.
        s = s.to(torch.promote_types(s.dtype, torch.float32))
        return LOWEST + F.softplus(s - LOWEST, beta=4.0)


def mel_to_bands(spec: MelSpec, block: int) -> Tensor:
    """What interpolates levels of mel bands, linearly in Hz and constant beyond the first and the last: (M, n_mels)."""
    hz = (torch.arange(block) + 0.5) * spec.sample_rate / (2 * block)
    return interpolation(band_centres(spec), hz).T


class LapGlow(FlowVocoder):
    """Pitch prediction, lapped transform, conditional scale, level couplings, 1x1 convolutions and WaveNet couplings.

    Args:
        spec: the mels it understands; `config.block` divides `spec.hop_length`.
        config: sizes, as `flowvocoder.config.check` allows them.
    """

    def __init__(self, spec: MelSpec, config: LapGlowConfig):
        block = config.block
        ahead = config.encoder_layers + 1 if config.encoder_ahead < 0 else config.encoder_ahead
        rate = spec.hop_length // block
        encoder = MelEncoder(spec, config.encoder_channels, config.encoder_layers, rate, ahead)
        context, causal = spec.n_mels + config.encoder_channels, config.causal
        layers: list[Bijection] = []
        if config.pitch:
            lags = lag_range(spec.sample_rate)
            hidden, shapes, pulses = config.pitch_channels, config.pitch_shapes, config.pitch_pulses
            layers.append(PitchPredictor(context, *lags, hidden, causal, shapes, pulses))
        layers.append(LappedTransform(block))
        layers.append(ConditionalScale(Envelope(spec, context, block, config.scale_channels, causal)))
        layers += level_couplings(block, config.level_sets, context, config.level_channels, causal)
        # Neighbouring bands share harmonics, so the first coupling learns odd bands from even ones, the next the other
        # way round.
        start = even_odd(block) @ time_slots(block, config.time_slots)
        for _ in range(config.flows):
            layers.append(PointwiseLU(start))
            start = swapped_halves(block)
            net = WaveNet(block // 2, block, context, config.channels, config.layers, config.kernel, causal)
            layers.append(AffineCoupling(block, net))
        super().__init__(spec, encoder, Chain(layers), block)
        self.config = config
        if config.fine_channels:
            self.fine = FineSpectrum(spec, config.fine_channels, config.fine_layers)

    def auxiliary_losses(self, audio: Tensor, mel: Tensor) -> dict[str, Tensor]:
        """What teaches the pitch predictor its lag and its gains."""
        first = self.flow.layers[0]  # type: ignore[index]
        if not isinstance(first, PitchPredictor):
            return super().auxiliary_losses(audio, mel)
        lag, gain = first.own_losses(audio[:, None], self.encoder(mel))
        return {"pitch": lag, "gain": gain}
