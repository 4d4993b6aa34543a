"""Mel encoders: how models bring a mel to the rate of their flows."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowvocoder.flows.convolution import ConvProduct, Product, TimeConv, double, windows
from flowvocoder.flows.envelope import SPEECH_LEVEL, SPEECH_SPREAD
from flowvocoder.flows.multiscale import squeeze
from flowvocoder.flows.streaming import EncoderStep, StepSettings, StreamPosition, StreamState, step_for
from flowvocoder.mel.frontend import unit_noise_level
from flowvocoder.mel.spec import MelSpec
from flowvocoder.units import ceil_div


class MelEncoder(nn.Module):
    """Mel at frame rate to context at block rate: (B, n_mels, F) -> (B, n_mels + channels, N).

    The first channels are the mel itself, standardised and repeated. The others are features of it, with a receptive
    field of 2 * layers + 3 frames. So what every coupling needs (pitch, voicing, envelope) is computed once, at the
    lower rate.

    Args:
        ahead: number of its layers + 1 convolutions that look a frame ahead; the others look back only.
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
        slows training down (docs/results/lab-book.md)."""
        return (mel - self.level) / self.spread

    def forward(self, mel: Tensor) -> Tensor:
        mel = self.standardise(mel)
        h = self.start(mel)
        for layer in self.layers:
            h = h + layer(h)
        blocks = mel.shape[-1] * self.blocks_per_frame
        h = F.silu(self.up(h)[..., :blocks])
        return torch.cat([mel.repeat_interleave(self.blocks_per_frame, -1).to(h.dtype), h], 1)


@step_for(MelEncoder)
class MelEncoderStep(EncoderStep):
    """A `MelEncoder`, some frames at a time."""

    level: Tensor

    def __init__(self, encoder: MelEncoder, settings: StepSettings):
        super().__init__()
        self.register_buffer("level", encoder.level[:, 0].clone())
        self.spread = encoder.spread
        self.rate = encoder.blocks_per_frame
        self.start = ConvProduct(encoder.start)
        first = [ConvProduct(layer[1]) for layer in encoder.layers]  # type: ignore[index]
        self.first = nn.ModuleList(first)
        self.second = nn.ModuleList(ConvProduct(layer[3]) for layer in encoder.layers)  # type: ignore[index]
        # Blocks rate / 2 late, so that those which one new frame completes need that frame and the last one only.
        weight, bias = double(encoder.up)
        taps = [weight[:, :, k : k + self.rate].permute(2, 1, 0).flatten(0, 1) for k in (self.rate, 0)]
        self.up = Product(torch.cat(taps, 1), bias.repeat(self.rate), encoder.up.weight.dtype)
        frames = self.start.ahead + sum(conv.ahead for conv in first)
        self.delay = frames * self.rate + self.rate // 2
        frames = self.start.back + sum(conv.back for conv in first)
        self.back = frames * self.rate + self.rate - self.rate // 2

    def forward(self, mel: Tensor, frames: StreamPosition, state: StreamState) -> Tensor:
        mel = frames.mask((mel - self.level) / self.spread, 0)
        h, delay = self.start(state.extend(mel, self.start.span)), self.start.ahead
        for first, second in zip(self.first, self.second, strict=True):
            assert isinstance(first, ConvProduct)
            extended = state.extend(frames.mask(h, delay), first.span)
            old = first.span - first.ahead
            h = extended[:, old : old + h.shape[1]] + second(F.silu(first(F.silu(extended))))
            delay += first.ahead
        pair = state.extend(frames.mask(h, delay), 1)
        up = F.silu(self.up(torch.cat([pair[:, :-1], pair[:, 1:]], 2)))
        up = up.reshape(up.shape[0], -1, h.shape[2])
        repeated = state.delay(mel.repeat_interleave(self.rate, 1), self.delay)
        return frames.at_rate(self.rate).mask(torch.cat([repeated, up], 2), self.delay)


class TransposedUpsampler(nn.Module):
    """WaveGlow's: one transposed convolution to the sample rate, then groups of samples become channels.

    Shape:
        mel: (B, n_mels, F) -> (B, n_mels * group, F * hop_length / group)
    """

    def __init__(self, spec: MelSpec, window: int, group: int):
        super().__init__()
        self.group = group
        self.hop = spec.hop_length
        self.up = nn.ConvTranspose1d(spec.n_mels, spec.n_mels, window, spec.hop_length)

    def forward(self, mel: Tensor) -> Tensor:
        samples = self.up(mel)[..., : mel.shape[-1] * self.hop]
        return squeeze(samples, self.group)


@step_for(TransposedUpsampler)
class TransposedUpsamplerStep(EncoderStep):
    """A `TransposedUpsampler`, some frames at a time: one product for all samples of a frame."""

    delay = 0

    def __init__(self, encoder: TransposedUpsampler, settings: StepSettings):
        super().__init__()
        weight, bias = double(encoder.up)
        self.rate, group = encoder.hop // encoder.group, encoder.group
        self.span = ceil_div(weight.shape[2], encoder.hop) - 1
        self.back = self.span * self.rate
        padded = F.pad(weight, (0, (self.span + 1) * encoder.hop - weight.shape[2]))
        taps = padded.unflatten(2, (self.span + 1, self.rate, group)).flip(2)  # the oldest frame first
        joined = taps.permute(3, 1, 4, 2, 0).flatten(3).flatten(0, 2)
        self.up = Product(joined, bias[:, None].expand(-1, group).flatten().repeat(self.rate), encoder.up.weight.dtype)

    def forward(self, mel: Tensor, frames: StreamPosition, state: StreamState) -> Tensor:
        past = state.extend(frames.mask(mel, 0), self.span)
        context = self.up(windows(past, self.span, 1)).unflatten(2, (self.rate, -1)).flatten(1, 2)
        return frames.at_rate(self.rate).mask(context, 0)


class Repeat(nn.Module):
    """SqueezeWave's: every frame `times` times.

    Shape:
        mel: (B, n_mels, F) -> (B, n_mels, F * times)
    """

    def __init__(self, times: int):
        super().__init__()
        self.times = times

    def forward(self, mel: Tensor) -> Tensor:
        return mel.repeat_interleave(self.times, -1)


@step_for(Repeat)
class RepeatStep(EncoderStep):
    """A `Repeat`, some frames at a time."""

    delay = back = 0

    def __init__(self, encoder: Repeat, settings: StepSettings):
        super().__init__()
        self.rate = encoder.times

    def forward(self, mel: Tensor, frames: StreamPosition, state: StreamState) -> Tensor:
        return frames.mask(mel, 0).repeat_interleave(self.rate, 1)


class SmoothUpsampler(nn.Module):
    """WaveFlow's and FloWaveNet's: two transposed convolutions over time and neighbouring bands, then groups.

    Shape:
        mel: (B, n_mels, F) -> (B, n_mels * group, F * hop_length / group)
    """

    def __init__(self, spec: MelSpec, group: int):
        super().__init__()
        self.group = group
        self.factors = two_factors(spec.hop_length)
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(1, 1, (3, 2 * factor), (1, factor), (1, factor // 2)) for factor in self.factors
        )

    def forward(self, mel: Tensor) -> Tensor:
        x = mel[:, None]
        for up, factor in zip(self.up, self.factors, strict=True):
            x = F.leaky_relu(up(x)[..., : x.shape[-1] * factor], 0.4)
        return squeeze(x[:, 0], self.group)


def two_factors(hop_length: int) -> tuple[int, int]:
    """The two factors of the hop that are nearest to each other: 16 and 16 for 256."""
    small = next(f for f in range(math.isqrt(hop_length), 0, -1) if hop_length % f == 0)
    return small, hop_length // small
