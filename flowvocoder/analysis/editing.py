"""A part of a recording said anew, and all else kept; or the same at another pitch or speed."""

import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from flowvocoder.audio.files import Samples
from flowvocoder.audio.resample import resample
from flowvocoder.audio.stretch import resampled, stretched, with_envelope_of
from flowvocoder.errors import AudioError, ConfigError
from flowvocoder.vocoder import Vocoder

TRANSITION = 0.01
"""Seconds at both ends of a span, within it, where the recording fades into what is new."""

AROUND = 1.0
"""Seconds before and after a span that go through the flow with it."""

PITCH, SPEED, FORMANTS = (-12.0, 12.0), (0.25, 4.0), (0.5, 2.0)
"""Limits, in semitones and as factors."""

SHORTEST = 0.1


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


def redone(vocoder: Vocoder, samples: Samples, rate: int, spans: Iterable[tuple[float, float]], seed: int = 0,
           temperature: float | None = None) -> Samples:  # fmt: skip
    """As `redo`, for spans of audio (T,) at any rate: all else keeps its own samples. Raises AudioError as `redo`."""
    audio, done = torch.from_numpy(resample(samples, rate, vocoder.sample_rate)), samples.copy()
    for start, end in spans:
        made = redo(vocoder, audio, start, end, seed, temperature).numpy()
        back = resample(made, vocoder.sample_rate, rate)
        first, last = (round(time * rate) for time in (start, end))
        piece = back[first : min(last, len(done))]  # to another rate and back, the end may lose a sample
        done[first : first + len(piece)] = piece
    return done


def moved(samples: Samples, rate: int, pitch: float = 0.0, speed: float = 1.0, formants: float = 1.0) -> Samples:
    """Audio (T,) of the same speaker at another pitch or speed: (round(T / speed),).

    It is made of the recording's own samples, at any rate: stretched in time by WSOLA, resampled to the pitch, and put
    under its own spectral envelope again, so that the voice stays the same. Its level stays, too.

    Args:
        rate: in Hz.
        pitch: semitones up.
        speed: times as fast.
        formants: factor on the resonances of the vocal tract; above 1 is a smaller speaker.

    Raises:
        ConfigError: a number outside of its limits.
        AudioError: shorter than a piece of `SHORTEST` seconds.
    """
    for what, value, (least, most) in (
        ("pitch", pitch, PITCH),
        ("speed", speed, SPEED),
        ("formants", formants, FORMANTS),
    ):
        if not least <= value <= most:
            raise ConfigError(f"the {what} must be from {least:g} to {most:g}, not {value:g}")
    if len(samples) < SHORTEST * rate:
        raise AudioError(f"{len(samples)} samples ({len(samples) / rate:.3f} s) are too few: {SHORTEST} s at least")
    factor, length = 2.0 ** (pitch / 12.0), round(len(samples) / speed)
    done = samples
    if pitch or speed != 1.0:
        done = stretched(samples, round(length * factor), rate)
    if pitch:
        done = resampled(done, length)
    if pitch or formants != 1.0:
        done = with_envelope_of(done, samples, rate, factor, formants)
        powers = (float(np.square(x, dtype=np.float64).mean()) for x in (samples, done))
        done = done * np.float32(math.sqrt(next(powers) / max(next(powers), 1e-12)))
    return done.clip(-1.0, 1.0)
