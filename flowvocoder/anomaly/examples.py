"""Examples to fit a detector to: crops of clean recordings, altered as other microphones would, whole or damaged."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

import flowvocoder.anomaly.vocoders  # noqa: F401 (registers its damages)
from flowvocoder.anomaly.damages import DAMAGES, Clean, to_16_bit
from flowvocoder.anomaly.discontinuities import BREAKS, candidates
from flowvocoder.anomaly.features import Features, band_edge, features
from flowvocoder.anomaly.framing import FRAMES, RATE, at_rate
from flowvocoder.anomaly.spectrograms import EVERY, fine_spectra, spectrogram
from flowvocoder.anomaly.steady import steady
from flowvocoder.audio.files import Recording, Samples, read_as_stored
from flowvocoder.audio.resample import resample
from flowvocoder.data.corpus import find_utterances
from flowvocoder.errors import AudioError, DataError

SHORTEST, LONGEST = 1.0, 8.0
"""Seconds of an example, of which each doubling is as frequent."""

DAMAGED = 3
"""Damaged copies of each crop."""

KEPT = 4
"""One recording in so many of a frequent speaker is for calibration only."""

RATES = 22050, 24000, 44100, 48000

BROKEN = dict(zip(BREAKS, ("clicks", "splice"), strict=True))
"""The damage that each discontinuity is learned from."""

RESAMPLED = "playback rate"
"""The damage that leaves a band edge."""

STAYS = "tone", "mains hum"
"""The damages that leave lines that stay."""

SEEN = (
    "second speaker", "tone", "playback rate", "clipping, soft", "mains hum", "noise", "reverberation", "music",
    "time-stretching", "clipping, resampled after", "second speaker", "tone", "playback rate", "second speaker",
    "Opus, 16 to 8 kbit/s", "constant offset", "clipping, hard", "tone", "playback rate", "second speaker",
    "clipping, soft", "mains hum", "noise", "reverberation", "music", "time-stretching",
    "clipping, resampled after", "tone", "playback rate", "second speaker", "mains hum",
)  # fmt: skip
"""Damages that spectrograms are learned from, in turns: those that are hard to tell more often. Of vocoders, they would
learn the one voice that they are shown, and find others less often."""

KINDS_SEEN = tuple(dict.fromkeys(SEEN))
"""Each once."""

LIKELIER = {"second speaker": 4.5, "playback rate": 2.7}
"""How many times as likely as others these damages are held to be, since their evidence is weak. Chosen on the speakers
held out."""

LONGEST_SEEN = 6.0
"""Seconds of such a crop."""

LONGEST_BROKEN, HIT, BESIDE = 4.0, 0.0015, 0.03
"""Seconds of a crop with discontinuities, those that a candidate may be off, and those that count as neither."""


class Example(NamedTuple):
    """Columns (F, `len(FEATURES)`) of a crop, and the number of the damage done to it: -1 for none."""

    features: Features
    damage: int


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Files by speaker, and the number of each speaker's folder."""

    speakers: tuple[tuple[Path, ...], ...]
    folders: tuple[int, ...]

    @classmethod
    def of(cls, folders: Sequence[Path]) -> "Corpus":
        """Of recordings as `find_utterances` finds them. Where nobody says who speaks, a folder is one speaker.

        Raises:
            AudioError, DataError: as `find_utterances`.
        """
        groups: dict[tuple[int, str | None], list[Path]] = {}
        for number, folder in enumerate(folders):
            if folder.is_file():
                raise DataError(f"{folder}: is a file, not a folder of recordings")
            for utterance in sorted(find_utterances(folder), key=lambda one: one.path):
                groups.setdefault((number, utterance.speaker), []).append(utterance.path)
        return cls(tuple(map(tuple, groups.values())), tuple(number for number, _ in groups))

    def split(self, share: float, seed: int) -> "tuple[Corpus, Corpus]":
        """What to learn from, and what to calibrate with: other speakers, so far as there are enough of them.

        Speakers of more than a tenth of all recordings are in both: one in `KEPT` of their recordings calibrates.

        Raises:
            DataError: too few recordings.
        """
        total = sum(map(len, self.speakers))
        if total < 8:
            raise DataError(f"{total} recordings are too few to fit and to calibrate: 8 at least")
        small = [i for i, files in enumerate(self.speakers) if len(files) <= 0.1 * total]
        every = KEPT
        if len(small) < 4:
            small, every = [], 2
        held = set(np.random.default_rng(seed).permutation(small)[: round(share * len(small))].tolist())
        first, second = [], []
        for i, (files, folder) in enumerate(zip(self.speakers, self.folders, strict=True)):
            kept = files[every - 1 :: every] if i not in small else files if i in held else ()
            rest = tuple(sorted(set(files) - set(kept)))
            first += [(rest, folder)] * bool(rest)
            second += [(kept, folder)] * bool(kept)
        return Corpus._of(first), Corpus._of(second)

    @classmethod
    def _of(cls, speakers: "list[tuple[tuple[Path, ...], int]]") -> "Corpus":
        return cls(tuple(files for files, _ in speakers), tuple(folder for _, folder in speakers))

    def in_turn(self, index: int) -> "Corpus":
        """That of one folder: all in turn, so that none counts more for having more speakers."""
        folders = sorted(set(self.folders))
        mine = folders[index % len(folders)]
        return Corpus._of([(s, f) for s, f in zip(self.speakers, self.folders, strict=True) if f == mine])

    def recording(self, rng: np.random.Generator, speaker: int | None = None) -> tuple[Recording, int]:
        """A random recording of a random speaker or of that one. Raises AudioError: none of ten tried can be used."""
        error = AudioError("no recording can be used")
        for _ in range(10):
            who = int(rng.integers(len(self.speakers))) if speaker is None else speaker
            files = self.speakers[who]
            try:
                recording = read_as_stored(files[int(rng.integers(len(files)))])
                if len(recording.samples) > 0.5 * recording.sample_rate and float(np.abs(recording.samples).max()) > 0:
                    return recording, who
            except AudioError as problem:
                error = problem
        raise error


def examples(index: int, corpus: Corpus, seed: int) -> Iterator[Example]:
    """A crop as it is, and damaged in `DAMAGED` ways: a function of the arguments."""
    rng = np.random.default_rng([seed, index])
    clean = crop(corpus, rng)
    yield untouched(clean)
    for turn in range(DAMAGED):
        chosen = (index * DAMAGED + turn) % len(DAMAGES)  # in turns, so that there are as many of each
        samples, _ = list(DAMAGES.values())[chosen].apply(clean, float(rng.uniform()), rng)
        yield Example(features(to_16_bit(samples), clean.rate), chosen)


class Training(NamedTuple):
    """What is learned from: whole pieces, candidates for discontinuities, band edges (1, E), lines that stay (1, S),
    and spectra (T, W)."""

    pieces: Sequence[Example]
    breaks: Sequence[Example]
    edges: Sequence[Example]
    steady: Sequence[Example]
    spectra: Sequence[Example]


def breaks(index: int, corpus: Corpus, seed: int) -> Iterator[Example]:
    """Candidates (F, V) of a crop as it is, with clicks and with a splice, by what they are: -1 for none."""
    rng = np.random.default_rng([seed, index])
    clean = crop(corpus, rng, LONGEST_BROKEN)
    yield Example(_candidates(clean.samples, clean.rate)[0], -1)
    for kind, name in enumerate(BROKEN.values()):
        damaged = DAMAGES[name].apply(clean, float(rng.uniform()), rng)
        found, seconds = _candidates(to_16_bit(damaged.samples), clean.rate)
        # the span of a splice is wider than its place, which is the middle; a click is as long as its span
        middles = np.array([(start + end) / 2 for start, end in damaged.spans or ()])
        halves = np.array([(end - start) / 2 if name != "splice" else 0.0 for start, end in damaged.spans or ()])
        away = (np.abs(seconds[:, None] - middles) - halves).min(1)
        yield Example(found[away <= HIT], kind)
        yield Example(found[away > BESIDE], -1)


def edges(index: int, corpus: Corpus, seed: int) -> Iterator[Example]:
    """The band edge of a crop as it is, -1, and played at another rate, 0."""
    rng = np.random.default_rng([seed, index])
    clean = crop(corpus, rng)
    faster = to_16_bit(DAMAGES[RESAMPLED].apply(clean, float(rng.uniform()), rng).samples)
    for kind, samples in ((-1, clean.samples), (0, faster)):
        columns = band_edge(samples, clean.rate, int(len(samples) / clean.rate * FRAMES))
        yield Example(np.mean(columns, 1)[None].astype(np.float32), kind)


def stays(index: int, corpus: Corpus, seed: int) -> Iterator[Example]:
    """Lines that stay of a crop as it is, -1, and with each of `STAYS`, by its number."""
    rng = np.random.default_rng([seed, index])
    clean = crop(corpus, rng, LONGEST_SEEN)
    for kind, name in enumerate(("", *STAYS), -1):
        damaged = to_16_bit(DAMAGES[name].apply(clean, float(rng.uniform()), rng).samples) if name else clean.samples
        audio, count = at_rate(damaged, clean.rate), int(len(damaged) / clean.rate * FRAMES)
        yield Example(steady(fine_spectra(audio, count), audio, count).mean(0, keepdims=True), kind)


def spectra(index: int, corpus: Corpus, seed: int) -> Iterator[Example]:
    """Spectra of a crop as it is, -1, and damaged in `DAMAGED` ways, which are numbers of `KINDS_SEEN`."""
    rng = np.random.default_rng([seed, index])
    clean = crop(corpus, rng, LONGEST_SEEN)
    yield Example(_spectrogram(clean.samples, clean.rate), -1)
    for turn in range(DAMAGED):
        name = SEEN[(index * DAMAGED + turn) % len(SEEN)]
        samples = to_16_bit(DAMAGES[name].apply(clean, float(rng.uniform()), rng).samples)
        yield Example(_spectrogram(samples, clean.rate), KINDS_SEEN.index(name))


def _spectrogram(samples: Samples, rate: int) -> Features:
    audio, count = at_rate(samples, rate), int(len(samples) / rate * FRAMES)
    return spectrogram(fine_spectra(audio, count), audio, samples, rate, count)[::EVERY]


def _candidates(samples: Samples, rate: int) -> tuple[Features, npt.NDArray[np.float64]]:
    found, seconds = candidates(samples, rate, int(len(samples) / rate * FRAMES), FRAMES)
    return found.astype(np.float32), seconds


def untouched(clean: Clean) -> Example:
    """The example of a clean crop."""
    return Example(features(clean.samples, clean.rate), -1)


def crop(corpus: Corpus, rng: np.random.Generator, longest: float = LONGEST, altered: bool = True) -> Clean:
    """A stretch of a recording, 16 bits at `RATE` or more; `altered`: as another microphone would have given it."""
    recording, who = corpus.recording(rng)
    first, length = int(rng.integers(2**31)), SHORTEST * (longest / SHORTEST) ** float(rng.uniform())
    change, others = altered and rng.uniform() < 0.4, rng.integers(2**31, size=2).tolist()
    rate = int(rng.choice(RATES)) if recording.sample_rate < RATE or change else recording.sample_rate
    samples = _cut(recording, first, length, rate)
    samples = to_16_bit(_altered(samples, rate, rng) if altered else samples)

    def other(number: int, speaker: int) -> Samples:
        own = np.random.default_rng(number)
        return _cut(corpus.recording(own, speaker)[0], int(own.integers(2**31)), longest, rate)

    speakers = len(corpus.speakers)
    second = (who + 1 + others[1] % max(1, speakers - 1)) % speakers
    return Clean(samples, rate, lambda: other(others[0], who), lambda: other(others[1], second))


def _cut(recording: Recording, first: int, seconds: float, rate: int) -> Samples:
    """So many seconds from a place that a large number says, at another rate."""
    length = round(seconds * recording.sample_rate)
    start = first % max(1, len(recording.samples) - length + 1)
    samples = recording.samples[start : start + length]
    return samples if rate == recording.sample_rate else resample(samples, recording.sample_rate, rate)


def _altered(samples: Samples, rate: int, rng: np.random.Generator) -> Samples:
    """Through another microphone, at another level, perhaps upside down: nothing of that is a fault."""
    if rng.uniform() < 0.6:
        hz = np.fft.rfftfreq(len(samples), 1.0 / rate)
        octaves = np.log2(np.maximum(hz, 40.0) / 1000.0)
        db = rng.uniform(-1.5, 1.5) * octaves.clip(-3, 3)
        for _ in range(3):
            db += rng.uniform(-5.0, 5.0) * np.exp(
                -0.5 * ((octaves - rng.uniform(-4, 3.4)) / rng.uniform(0.4, 1.5)) ** 2
            )
        samples = np.fft.irfft(np.fft.rfft(samples) * 10.0 ** (db / 20.0), len(samples)).astype(np.float32)
    loudest = float(np.abs(samples).max()) + 1e-9
    gain = rng.choice([-1.0, 1.0]) * 10.0 ** (-rng.uniform(0.0, 20.0) / 20.0) / loudest if rng.uniform() < 0.8 else 1.0
    return samples * np.float32(gain)
