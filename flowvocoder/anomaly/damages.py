"""What goes wrong with recordings, done to clean ones: each damage at a strength of 0 (weak) to 1 (strong)."""

import dataclasses
import io
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import soundfile as sf

from flowvocoder.audio.files import Samples
from flowvocoder.audio.pcm16 import from_pcm16, to_pcm16
from flowvocoder.audio.resample import resample
from flowvocoder.extras import librosa

Spans = list[tuple[float, float]]
"""Seconds where it is broken."""


class Damaged(NamedTuple):
    """Audio (T,), and where it is broken; None: everywhere."""

    samples: Samples
    spans: Spans | None = None


@dataclasses.dataclass(frozen=True)
class Clean:
    """What is damaged: audio (T,) at a rate in Hz; and what gives another take of the speaker, and another speaker."""

    samples: Samples
    rate: int
    take: Callable[[], Samples]
    speaker: Callable[[], Samples]

    @property
    def peak(self) -> float:
        return float(np.abs(self.samples).max()) + 1e-9

    @property
    def rms(self) -> float:
        """Of the loud half of the samples' frames: pauses do not count."""
        return loudness(self.samples)


Rng = np.random.Generator
Apply = Callable[[Clean, float, Rng], Damaged]


class Damage(NamedTuple):
    """One way to break a recording, and the kind that it is reported as."""

    kind: str
    apply: Apply


DAMAGES: dict[str, Damage] = {}
"""By name, in the order of the tables."""


def damage(name: str, kind: str) -> Callable[[Apply], Apply]:
    """Registers a function as a damage."""

    def register(apply: Apply) -> Apply:
        DAMAGES[name] = Damage(kind, apply)
        return apply

    return register


def loudness(samples: Samples) -> float:
    """Root mean square of the loudest half of frames of 1024 samples."""
    frames = samples[: max(1, len(samples) // 1024) * 1024]
    powers = np.sort(np.square(frames[: len(frames) // 1024 * 1024].reshape(-1, 1024), dtype=np.float64).mean(1))
    return math.sqrt(float(powers[len(powers) // 2 :].mean())) + 1e-9 if len(powers) else 1e-9


def _between(weak: float, strong: float, strength: float) -> float:
    """On a logarithmic scale."""
    return weak * (strong / weak) ** strength


@damage("clipping, hard", "clipping")
def _hard(clean: Clean, strength: float, rng: Rng) -> Damaged:
    limit = _between(0.7, 0.3, strength) * clean.peak
    gain = rng.uniform(0.3, 1.0) / limit
    return Damaged(clean.samples.clip(-limit, limit) * np.float32(gain), _where(np.abs(clean.samples) > limit, clean))


@damage("clipping, soft", "clipping")
def _soft(clean: Clean, strength: float, rng: Rng) -> Damaged:
    drive = _between(1.5, 6.0, strength)
    samples = np.tanh(drive * clean.samples / clean.peak) * np.float32(rng.uniform(0.3, 0.9))
    return Damaged(samples, _where(np.abs(clean.samples) * drive > clean.peak, clean))


@damage("clipping, resampled after", "clipping")
def _resampled(clean: Clean, strength: float, rng: Rng) -> Damaged:
    clipped, spans = _hard(clean, strength, rng)
    other = int(rng.choice([rate for rate in (32000, 44100, 48000) if rate != clean.rate]))
    return Damaged(
        _fit(resample(resample(clipped, clean.rate, other), other, clean.rate) * np.float32(0.8), clean), spans
    )


@damage("packets lost, zeros", "loss")
def _zeros(clean: Clean, strength: float, rng: Rng) -> Damaged:
    samples, spans = clean.samples.copy(), []
    for first, end in _packets(clean, strength, rng):
        samples[first:end] = 0.0
        spans.append((first / clean.rate, end / clean.rate))
    return Damaged(samples, spans)


@damage("packets lost, repeated", "loss")
def _repeated(clean: Clean, strength: float, rng: Rng) -> Damaged:
    samples, spans = clean.samples.copy(), []
    for first, end in _packets(clean, strength, rng):
        samples[first:end] = samples[first - (end - first) : first]
        spans.append((first / clean.rate, end / clean.rate))
    return Damaged(samples, spans)


@damage("packets lost, concealed", "loss")
def _concealed(clean: Clean, strength: float, rng: Rng) -> Damaged:
    """Pitch periods before the gap go on, softer and softer, to silence in 57 ms, and are cross-faded with the rest."""
    samples, spans = clean.samples.copy(), []
    for first, end in _packets(clean, strength, rng):
        period, fade = _period(clean.samples[:first], clean.rate), round(0.004 * clean.rate)
        size = min(end - first + fade, len(samples) - first)
        last = samples[first - period : first]
        made = np.resize(last, size) * (1.0 - np.arange(size, dtype=np.float32) / (0.057 * clean.rate)).clip(0.0)
        weight = np.ones(size, np.float32)
        weight[-min(fade, size) :] = np.linspace(1.0, 0.0, min(fade, size), dtype=np.float32)
        samples[first : first + size] = weight * made + (1.0 - weight) * samples[first : first + size]
        spans.append((first / clean.rate, (first + size) / clean.rate))
    return Damaged(samples, spans)


@damage("clicks", "click")
def _clicks(clean: Clean, strength: float, rng: Rng) -> Damaged:
    samples, spans = clean.samples.copy(), []
    for _ in range(round(_between(1, 8, strength))):
        length = max(2, round(rng.uniform(0.0001, 0.002) * clean.rate))
        shape = rng.standard_normal(length) * np.exp(-np.arange(length) / (0.3 * length))
        shape *= _between(0.15, 0.8, strength) * clean.peak * rng.uniform(0.7, 1.3) / np.abs(shape).max()
        first = int(rng.integers(0, max(1, len(samples) - length)))
        samples[first : first + length] += shape[: len(samples) - first].astype(np.float32)
        spans.append((first / clean.rate, (first + length) / clean.rate))
    return Damaged(samples, sorted(spans))


@damage("splice", "splice")
def _splice(clean: Clean, strength: float, rng: Rng) -> Damaged:
    """Cut in the middle of speech and gone on with another take, at another level the stronger it is."""
    place = _speech_at(clean, rng, 0.25, 0.75)
    rest = len(clean.samples) - place
    take = clean.take()
    loud = np.flatnonzero(np.abs(take) > 0.3 * np.abs(take).max())
    begin = int(rng.choice(loud)) if len(loud) else 0
    other = np.resize(take[begin:] if len(take) > begin + rest // 2 else take, rest)
    louder = clean.rms / loudness(take) * 10.0 ** (9.0 * strength * rng.choice([-1.0, 1.0]) / 20.0)
    samples = np.concatenate([clean.samples[:place], other * np.float32(louder)])
    at = place / clean.rate
    return Damaged(samples, [(max(0.0, at - 0.005), at + 0.005)])


@damage("mains hum", "hum")
def _hum(clean: Clean, strength: float, rng: Rng) -> Damaged:
    time, mains = np.arange(len(clean.samples)) / clean.rate, rng.choice([50.0, 60.0])
    hum = sum(
        rng.uniform(0.2, 1.0) / k**0.5 * np.sin(2 * np.pi * (k * mains * time + rng.uniform())) for k in range(1, 9)
    )
    return Damaged(_add(clean, np.asarray(hum), 45.0 - 20.0 * strength))


@damage("tone", "tone")
def _tone(clean: Clean, strength: float, rng: Rng) -> Damaged:
    time = np.arange(len(clean.samples)) / clean.rate
    hz = np.exp(rng.uniform(np.log(300.0), np.log(9000.0)))
    return Damaged(_add(clean, np.sin(2 * np.pi * hz * time), 50.0 - 20.0 * strength))


@damage("noise", "noise")
def _noise(clean: Clean, strength: float, rng: Rng) -> Damaged:
    """30 to 20 dB below the speech: white, or falling by up to 6 dB an octave."""
    spectrum = np.fft.rfft(rng.standard_normal(len(clean.samples)))
    colour = np.maximum(np.arange(len(spectrum)), 20.0) ** -rng.choice([0.0, 0.5, 1.0])
    return Damaged(_add(clean, np.fft.irfft(spectrum * colour, len(clean.samples)), 30.0 - 10.0 * strength))


@damage("MP3, 48 to 16 kbit/s", "codec")
def _mp3(clean: Clean, strength: float, rng: Rng) -> Damaged:
    # libsndfile's levels are shares of the way from MPEG-2's highest constant rate, 160 kbit/s, to its lowest, 8
    kbits = _between(48.0, 16.0, strength)
    return Damaged(_coded(clean, 22050, "MP3", "MPEG_LAYER_III", 1.0 - (kbits - 8.0) / 152.0, "CONSTANT"))


@damage("Opus, 16 to 8 kbit/s", "codec")
def _opus(clean: Clean, strength: float, rng: Rng) -> Damaged:
    # libsndfile's levels are shares of the way from 256 kbit/s to 6
    kbits = _between(16.0, 8.0, strength)
    return Damaged(_coded(clean, 24000, "OGG", "OPUS", 1.0 - (kbits - 6.0) / 250.0))


@damage("telephone", "codec")
def _telephone(clean: Clean, strength: float, rng: Rng) -> Damaged:
    """At 8 kHz: mu-law, GSM 06.10, or GSM twice."""
    passes = round(2 * strength)
    coded = _coded(clean, 8000, "WAV", "GSM610" if passes else "ULAW")
    return Damaged(_coded(dataclasses.replace(clean, samples=coded), 8000, "WAV", "GSM610") if passes == 2 else coded)


@damage("band limit", "bandwidth")
def _band(clean: Clean, strength: float, rng: Rng) -> Damaged:
    from scipy import signal

    cutoff = _between(7500.0, 3800.0, strength) * rng.uniform(0.95, 1.05)
    low = signal.ellip(8, 0.1, 70.0, cutoff, fs=clean.rate, output="sos")
    return Damaged(signal.sosfiltfilt(low, clean.samples).astype(np.float32))


@damage("playback rate", "speed")
def _speed(clean: Clean, strength: float, rng: Rng) -> Damaged:
    """Faster or slower by 2 to 5 %."""
    factor = 1.0 + _between(0.02, 0.045, strength) * rng.choice([-1.0, 1.0])
    return Damaged(resample(clean.samples, round(clean.rate * factor), clean.rate))


@damage("reverberation", "reverberation")
def _reverberation(clean: Clean, strength: float, rng: Rng) -> Damaged:
    """Noise that decays exponentially (Moorer 1979), 8 to 0 dB below the direct sound, by 60 dB in 0.3 to 0.9 s."""
    from scipy import signal

    seconds = _between(0.3, 0.9, strength)
    time = np.arange(round(seconds * clean.rate)) / clean.rate
    tail = rng.standard_normal(len(time)) * np.exp(-math.log(1000.0) / seconds * time) * (time > 0.003)
    tail *= 10.0 ** (-(8.0 - 8.0 * strength) / 20.0) / np.sqrt(np.square(tail).sum())
    tail[0] = 1.0
    return Damaged(_as_loud(signal.fftconvolve(clean.samples, tail)[: len(clean.samples)].astype(np.float32), clean))


@damage("music", "music")
def _music(clean: Clean, strength: float, rng: Rng) -> Damaged:
    """Chords of four notes that decay, and a drum: 25 to 10 dB below the speech."""
    time = np.arange(len(clean.samples)) / clean.rate
    beat, music = rng.uniform(0.25, 0.6), np.zeros(len(time))
    for start in np.arange(0.0, time[-1], beat):
        since = time[round(start * clean.rate) :] - start
        here, root = music[-len(since) :], 110.0 * 2.0 ** (rng.integers(0, 12) / 12.0)
        for note in (0, 4, 7, 12):
            for harmonic in range(1, 7):
                hz = harmonic * root * 2.0 ** (note / 12.0)
                here += np.sin(2 * np.pi * hz * since + rng.uniform(0, 6)) * np.exp(-since * (1 + harmonic)) / harmonic
        here += rng.uniform(0.0, 2.0) * rng.standard_normal(len(since)) * np.exp(-since * 40.0)
    return Damaged(_add(clean, music, 25.0 - 15.0 * strength))


@damage("second speaker", "speaker")
def _speaker(clean: Clean, strength: float, rng: Rng) -> Damaged:
    """20 to 8 dB below the first."""
    other = np.resize(clean.speaker(), len(clean.samples)).astype(np.float64)
    return Damaged(_add(clean, other, 20.0 - 12.0 * strength))


@damage("time-stretching", "stretch")
def _stretch(clean: Clean, strength: float, rng: Rng) -> Damaged:
    """By a phase vocoder, 7 to 30 % slower or faster."""
    rate = (1.0 + _between(0.07, 0.3, strength)) ** rng.choice([-1.0, 1.0])
    return Damaged(np.asarray(librosa().effects.time_stretch(clean.samples, rate=rate, n_fft=2048), np.float32))


@damage("constant offset", "dc")
def _offset(clean: Clean, strength: float, rng: Rng) -> Damaged:
    return Damaged(clean.samples + np.float32(_between(0.005, 0.05, strength) * rng.choice([-1.0, 1.0])))


def to_16_bit(samples: Samples) -> Samples:
    """As a file of 16 bits would hold them; what is above full scale is made quieter first."""
    loudest = float(np.abs(samples).max()) if len(samples) else 0.0
    return from_pcm16(to_pcm16(samples * np.float32(0.99 / loudest) if loudest > 0.99 else samples)[0])


def _coded(
    clean: Clean, rate: int, format: str, subtype: str, level: float | None = None, mode: str | None = None
) -> Samples:
    file = io.BytesIO()
    samples = to_16_bit(resample(clean.samples, clean.rate, rate))
    sf.write(file, samples, rate, subtype, format=format, compression_level=level, bitrate_mode=mode)
    file.seek(0)
    return _fit(resample(sf.read(file, dtype="float32")[0], rate, clean.rate), clean)


def _fit(samples: Samples, clean: Clean) -> Samples:
    return np.pad(samples, (0, max(0, len(clean.samples) - len(samples))))[: len(clean.samples)]


def _add(clean: Clean, other: npt.NDArray[np.float64], db: float) -> Samples:
    level = np.sqrt(np.square(other).mean()) + 1e-12
    return clean.samples + (other * (clean.rms * 10.0 ** (-db / 20.0) / level)).astype(np.float32)


def _as_loud(samples: Samples, clean: Clean) -> Samples:
    return samples * np.float32(clean.rms / loudness(samples))


def _where(broken: npt.NDArray[np.bool_], clean: Clean, join: float = 0.05) -> Spans:
    """Runs of samples, those less than `join` seconds apart as one."""
    places = np.flatnonzero(broken)
    if not len(places):
        return []
    cuts = np.flatnonzero(np.diff(places) > join * clean.rate)
    firsts, lasts = places[np.r_[0, cuts + 1]], places[np.r_[cuts, len(places) - 1]]
    return [(a / clean.rate, (b + 1) / clean.rate) for a, b in zip(firsts.tolist(), lasts.tolist(), strict=True)]


def _packets(clean: Clean, strength: float, rng: Rng) -> list[tuple[int, int]]:
    """First and end of one to five packets of 10 ms up to 20 or 250, in speech, apart from each other."""
    found: list[tuple[int, int]] = []
    for _ in range(round(_between(1, 5, strength))):
        seconds = _between(0.010, _between(0.020, 0.250, strength), float(rng.uniform()))
        length = min(round(seconds * clean.rate), len(clean.samples) // 6)
        first = _speech_at(clean, rng, 0.1, 0.9)
        if first > 2 * length and all(first > b + 2 * length or first + 2 * length < a for a, b in found):
            found.append((first, min(first + length, len(clean.samples))))
    length = round(0.010 * clean.rate)
    return sorted(found) or [(len(clean.samples) // 2, len(clean.samples) // 2 + length)]


def _speech_at(clean: Clean, rng: Rng, low: float, high: float) -> int:
    """A sample within these shares of the recording, where it is not silent."""
    size = max(1, round(0.02 * clean.rate))
    level = np.abs(clean.samples[: len(clean.samples) // size * size]).reshape(-1, size).mean(1)
    level[: int(low * len(level))] = 0.0
    level[int(high * len(level)) :] = 0.0
    loud = np.flatnonzero(level > 0.25 * level.max())
    return int(rng.choice(loud)) * size + int(rng.integers(size)) if len(loud) else len(clean.samples) // 2


def _period(before: Samples, rate: int) -> int:
    """Samples after which the end of a signal repeats itself best, of 2.5 to 15 ms."""
    window, shortest, longest = round(0.01 * rate), round(0.0025 * rate), round(0.015 * rate)
    end = before[-window:]
    matches = []
    for lag in range(shortest, min(longest, len(before) - window)):
        earlier = before[-window - lag : -lag]
        matches.append(float(end @ earlier) / (float(np.linalg.norm(earlier)) + 1e-9))
    return shortest + int(np.argmax(matches)) if matches else min(len(before), longest)
