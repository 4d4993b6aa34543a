"""A part of a recording said anew, and all else kept; or the same at another speed."""

import math

import torch
from torch import Tensor

from flowvocoder.errors import AudioError, ConfigError
from flowvocoder.vocoder import Vocoder

TRANSITION = 0.01
"""Seconds at both ends of a span, within it, where the recording fades into what is new."""

AROUND = 1.0
"""Seconds before and after a span that go through the flow with it."""

SLOWEST, FASTEST = 0.25, 4.0


def redo(
    vocoder: Vocoder, audio: Tensor, start: float, end: float, seed: int = 0, temperature: float | None = None
) -> Tensor:
    """Audio (T,) at the voice's rate, in which the samples of a span are drawn anew given the same mel.

    The recording's own latent is decoded before and after the span, so that pitch and phase lead into it. Samples
    outside the span are those of the recording, bit by bit.

    Args:
        start, end: seconds; the transitions lie within.
        seed: of the noise.
        temperature: of the noise; None: the voice's own.

    Raises:
        AudioError: the span is not in the recording, or shorter than two transitions.
    """
    rate, hop, fade = vocoder.sample_rate, vocoder.spec.hop_length, round(TRANSITION * vocoder.sample_rate)
    first, last = round(start * rate), round(end * rate)
    if first >= last:
        raise AudioError(f"the span from {start} to {end} s ends before it begins")
    if first < 0 or last > len(audio):
        raise AudioError(f"the span from {start} to {end} s is not within the recording's {len(audio) / rate:.3f} s")
    if last - first < 2 * fade:
        raise AudioError(f"the span from {start} to {end} s is shorter than two transitions of {TRANSITION} s")
    begin = max(0, (first - round(AROUND * rate)) // hop * hop)
    piece = audio[begin : last + round(AROUND * rate)]
    z, mel = vocoder.encode(piece)
    fresh = vocoder.draw_noise(mel, temperature, seed)
    block = vocoder.model.block
    inside = slice((first - begin) // block, math.ceil((last - begin) / block))
    z[..., inside] = fresh[..., inside]
    made = vocoder.decode(z, mel)[0].to(audio)[first - begin : last - begin]
    weight = torch.ones(last - first, dtype=audio.dtype)
    ramp = torch.sin(0.5 * math.pi * (torch.arange(fade, dtype=audio.dtype) + 0.5) / fade).square()
    weight[:fade], weight[-fade:] = ramp, ramp.flip(0)
    done = audio.clone()
    done[first:last] = torch.lerp(audio[first:last], made.clamp(-1.0, 1.0), weight)
    return done


def at_speed(vocoder: Vocoder, audio: Tensor, speed: float) -> Tensor:
    """Audio (T,) at the voice's rate, made of its own mel and latent on another time axis: (round(T / speed),).

    Raises:
        ConfigError: slower or faster than 4 times.
    """
    if not SLOWEST <= speed <= FASTEST:
        raise ConfigError(f"the speed must be from {SLOWEST} to {FASTEST}, not {speed}")
    z, mel = vocoder.encode(audio)
    samples, hop = round(len(audio) / speed), vocoder.spec.hop_length
    frames, blocks = -(-samples // hop), hop // vocoder.model.block
    at = (torch.arange(frames, device=mel.device) * speed).clamp_max(mel.shape[2] - 1)
    low = at.floor().long()
    high, share = (low + 1).clamp_max(mel.shape[2] - 1), (at - at.floor()).to(mel)
    other = torch.lerp(mel[..., low], mel[..., high], share)
    columns = (torch.arange(frames * blocks, device=z.device) * speed).round().long().clamp_max(z.shape[2] - 1)
    return vocoder.decode(z[..., columns], other)[0, :samples].clamp(-1.0, 1.0)
