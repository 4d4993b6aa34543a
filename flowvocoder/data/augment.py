"""Segments as other speakers, rooms and lines would have given them: random changes of a recording.

Every change of the spectrum is a factor on one Fourier transform of the segment and what lies around it; so is a
resampling, by a transform of another length. Circular ends are faded out and lie outside of what is used.
"""

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from flowvocoder.audio.bandwidth import band_edge
from flowvocoder.audio.files import Recording, Samples, at_rate
from flowvocoder.audio.levels import frame_levels, speech_level
from flowvocoder.config import DataSettings
from flowvocoder.mel.frontend import band_centres
from flowvocoder.mel.spec import MelSpec, edge_padding
from flowvocoder.units import PCM16_STEP

Curve = npt.NDArray[np.float64]

FULL = 0.97
"""A recording that reaches this share of half the sample rate is full: a good resampler has its edge above."""

ROLL_OFF = 0.93
"""Of half the sample rate: where resampling to fewer samples begins to fall, as soxr's does."""

MARGIN = 1024
"""Samples at both ends of a transform that are not used; the outer half of them is faded."""

HIGHEST_PEAK = 0.999

BUMPS = 3
"""Of the equaliser."""


@dataclasses.dataclass(frozen=True)
class Source:
    """A recording to cut altered segments from.

    Attributes:
        padded: with reflections at its ends.
        first, length: where its own samples begin in `padded`, and how many they are.
        rate: in Hz.
        edge: Hz above which it holds nothing.
        level: of its speech, dBFS.
    """

    padded: Samples
    first: int
    length: int
    rate: int
    edge: float
    level: float


class Augmenter:
    """Cuts segments, with the context that their mels need, and alters them at random.

    What comes out is rounded to 16 bits, as a recording of it would be.

    Args:
        spec: of the mels.
        segment: samples of a segment, whole frames.
    """

    def __init__(self, spec: MelSpec, segment: int, data: DataSettings):
        self.band, self.settings = data.band, data.augment
        self.sample_rate, self.segment = spec.sample_rate, segment
        self.left = edge_padding(spec)[0]
        self.span = segment + spec.n_fft - spec.hop_length
        self.size = fast_length(self.span + 2 * MARGIN)
        self.shown = highest_shown(spec)
        self.fastest = data.augment.resample_most if data.augment.resample > 0 else 1.0
        self.highest_rate = math.ceil(spec.sample_rate * self.fastest)  # Hz; more is never heard
        hz = np.linspace(0.0, spec.sample_rate / 2, self.size // 2 + 1)
        self.hz, self.octaves = hz, np.log2(np.maximum(hz, 50.0) / 1000.0)

    def source(self, stored: Recording) -> Source:
        """A recording as it is stored, made ready to be cut."""
        edge, nothing_above = band_edge(stored.samples.astype(np.float64), stored.sample_rate)
        if not nothing_above:  # a noise suppressor's, say: what is above is its own, and learned
            edge = stored.sample_rate / 2
        kept = at_rate(stored, min(stored.sample_rate, self.highest_rate) if self.fastest > 1 else self.sample_rate)
        samples, rate = kept.samples, kept.sample_rate
        most = fast_length(round(self.size * self.fastest * rate / self.sample_rate)) / self.size
        before = math.ceil((self.left + MARGIN) * most) + 1
        after = math.ceil((self.size - self.segment - self.left - MARGIN) * most) + 1000
        padded = np.pad(samples, (before, after), mode="reflect")
        return Source(padded, before, len(samples), rate, edge, speech_level(frame_levels(samples, rate)))

    def is_cut_off(self, source: Source, speed: float = 1.0) -> bool:
        """Whether it ends where mels do not show it, below what full recordings hold."""
        return self.band == "shown" and self.shown < source.edge * speed < FULL * self.sample_rate / 2

    def __call__(self, source: Source, place: float, rng: np.random.Generator) -> Samples:
        """A segment with its context, (T + n_fft - hop_length,), from a place of 0 to 1 in the recording."""
        count, speed = self._speed(source, rng)
        colour, noise, band = self._colour(rng), self._noise(source.level, rng), self._band(source, speed, rng)
        begin = source.first + math.floor(place * (max(0.0, source.length - self.segment * count / self.size) + 1))
        if count == self.size and colour is None and noise is None and band is None:
            samples: npt.NDArray[np.floating[Any]] = source.padded[begin - self.left : begin - self.left + self.span]
        else:
            first = begin - round((self.left + MARGIN) * count / self.size)
            spectrum = self._spectrum(source.padded[first : first + count])
            if colour is not None:
                spectrum = spectrum * colour
            if noise is not None:
                spectrum = spectrum + noise
            if band is not None:
                spectrum = spectrum * band
            samples = np.fft.irfft(spectrum, self.size)[MARGIN : MARGIN + self.span]
        return self._levelled(samples, rng)

    def _speed(self, source: Source, rng: np.random.Generator) -> tuple[int, float]:
        """(samples of the recording that one transform takes, how much faster and higher it becomes)."""
        normal = self.size * source.rate / self.sample_rate
        if not self._happens(self.settings.resample, rng):
            return round(normal), 1.0
        speed = self.fastest ** rng.uniform(-1.0, 1.0)
        longest = source.length / self.segment * self.size  # a short recording cannot be made much shorter
        count = fast_length(round(min(normal * speed, max(normal, longest))))
        return count, count / normal

    def _colour(self, rng: np.random.Generator) -> npt.NDArray[np.complex128] | Curve | None:
        """What equaliser, tilt and room do."""
        settings, curves = self.settings, []
        if self._happens(settings.equaliser, rng):
            for _ in range(BUMPS):
                centre, width = rng.uniform(self.octaves[0], self.octaves[-1]), rng.uniform(0.3, 1.5)
                bump = np.exp(-0.5 * ((self.octaves - centre) / width) ** 2)
                curves.append(settings.equaliser_db * rng.uniform(-1.0, 1.0) * bump)
        if self._happens(settings.tilt, rng):
            curves.append(settings.tilt_db * rng.uniform(-1.0, 1.0) * self.octaves)
        colour = 10.0 ** (sum(curves) / 20.0) if curves else None
        if self._happens(settings.room, rng):
            return self._room(rng) * (1.0 if colour is None else colour)
        return colour

    def _room(self, rng: np.random.Generator) -> npt.NDArray[np.complex128]:
        """Direct sound and, 3 to 20 dB weaker, noise that decays exponentially (Moorer 1979), duller than it.

        The transform is circular: what reverberates at the start is the segment's own end.
        """
        seconds = rng.uniform(min(0.1, self.settings.room_seconds), self.settings.room_seconds)
        time = np.arange(self.size) / self.sample_rate
        tail = rng.standard_normal(self.size) * np.exp(-math.log(1000.0) / seconds * time)
        tail[: int(rng.uniform(0.002, 0.02) * self.sample_rate)] = 0.0
        spectrum = np.fft.rfft(tail) / (1.0 + self.hz / rng.uniform(1000.0, 8000.0))
        energy = np.square(np.abs(spectrum)).mean()
        return 1.0 + spectrum * math.sqrt(10.0 ** (-rng.uniform(3.0, 20.0) / 10.0) / energy)

    def _noise(self, level: float, rng: np.random.Generator) -> npt.NDArray[np.complex128] | None:
        """Noise below speech of this level: white, or with less in the treble."""
        if not self._happens(self.settings.noise, rng):
            return None
        softest = max(60.0, self.settings.noise_db)
        rms = 10.0 ** ((level - rng.uniform(self.settings.noise_db, softest)) / 20.0)
        shape = 10.0 ** (rng.uniform(-4.5, 0.0) * self.octaves / 20.0)
        shape *= rms * math.sqrt(self.size / np.square(shape).mean() / 2.0)
        return np.asarray(shape * (rng.standard_normal(len(shape)) + 1j * rng.standard_normal(len(shape))))

    def _band(self, source: Source, speed: float, rng: np.random.Generator) -> Curve | None:
        """A low-pass: a line's or codec's, or the one that a recording needs that is cut off."""
        edge = self.shown if self.is_cut_off(source, speed) else math.inf
        if self._happens(self.settings.lowpass, rng):
            lowest = min(self.settings.lowpass_hz, self.shown)
            edge = min(edge, lowest * (self.shown / lowest) ** rng.uniform())
            width = edge * rng.uniform(0.02, 0.1)
        else:
            width = 0.02 * self.shown
        if edge < math.inf:
            return falling(self.hz, edge - width, edge)
        if source.rate * speed > self.sample_rate:
            half = self.sample_rate / 2
            return falling(self.hz, ROLL_OFF * half, half)
        return None

    def _spectrum(self, samples: Samples) -> npt.NDArray[np.complex128]:
        """Of samples (N,), at the bins of `size` samples: they become so many, in the same time at another speed."""
        faded = samples.astype(np.float64)
        ramp = np.sin(np.linspace(0.0, math.pi / 2, MARGIN // 2 * len(samples) // self.size)) ** 2
        faded[: len(ramp)] *= ramp
        faded[-len(ramp) :] *= ramp[::-1]
        spectrum = np.zeros(len(self.hz), np.complex128)
        bins = np.fft.rfft(faded)[: len(self.hz)]
        spectrum[: len(bins)] = bins * (self.size / len(samples))
        return spectrum

    def _levelled(self, samples: npt.NDArray[np.floating[Any]], rng: np.random.Generator) -> Samples:
        gain = 1.0
        if self._happens(self.settings.level, rng):
            gain = 10.0 ** (self.settings.level_db * rng.uniform(-1.0, 1.0) / 20.0)
        peak = float(np.abs(samples).max())
        gain = min(gain, HIGHEST_PEAK / max(peak, HIGHEST_PEAK if gain <= 1.0 else 1e-9))
        return (np.rint(samples * (gain / PCM16_STEP)) * PCM16_STEP).astype(np.float32)

    @staticmethod
    def _happens(probability: float, rng: np.random.Generator) -> bool:
        return probability > 0.0 and rng.uniform() < probability


def fast_length(samples: int) -> int:
    """The next number of samples that a transform is quick for."""
    from scipy.fft import next_fast_len  # takes a while to import

    return int(next_fast_len(samples, real=True))


def highest_shown(spec: MelSpec) -> float:
    """The highest frequency in Hz at which a recording may end so that its mel shows it by two empty bands."""
    return float(band_centres(spec)[max(0, spec.n_mels - 3)])


def falling(hz: Curve, passed: float, stopped: float) -> Curve:
    """1 up to `passed` Hz, 0 from `stopped` on, half a period of a cosine between."""
    share = np.clip((hz - passed) / max(stopped - passed, 1e-9), 0.0, 1.0)
    return 0.5 + 0.5 * np.cos(math.pi * share)
