"""The class that people use: fit to what is normal, score recordings, find spans, save and load."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from flowvocoder.anomaly.calibration import Calibration
from flowvocoder.anomaly.evidence import EDGE_KIND, LINES, MOST, Evidence, train
from flowvocoder.anomaly.features import REACH, SHORTEST, Features, features
from flowvocoder.anomaly.folder import load as load_folder
from flowvocoder.anomaly.folder import save as save_folder
from flowvocoder.anomaly.framing import FRAMES
from flowvocoder.anomaly.novelty import Novelty
from flowvocoder.anomaly.spans import Span, Verdict, find_spans
from flowvocoder.audio.arrays import Numbers
from flowvocoder.audio.files import Samples
from flowvocoder.errors import AudioError
from flowvocoder.threads import own_threads

if TYPE_CHECKING:
    from flowvocoder.anomaly.examples import Example, Training
    from flowvocoder.anomaly.fitting import Settings

BUNDLED = Path(__file__).parent / "bundled"
"""The detector of the package."""

FALSE_ALARMS = 0.01
"""Share of clean recordings that are called anomalous, unless another one is asked for."""

PIECE = 10
"""Seconds that are looked at together: a recording of less is one piece."""

MARGIN = math.ceil(REACH + 0.5)
"""Seconds to each side that evidence may depend on: those of the features, and of the network."""

SILENCE, ENDS = "silence", 0.2
"""The kind of digital silence, and seconds of it that an end may have and still be judged."""

LOCAL = frozenset(LINES.values())
"""The kinds that are looked for every frame. Only others, or what has no span, are said of a piece as a whole."""

NOVEL = 4.0
"""Deviations from clean speech's usual log-density, beyond which novelty by itself counts."""

Array = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Piece:
    """What was found in a piece.

    Attributes:
        frames: (F, K), what each line says of each frame; 1 is rare in clean speech.
        odds: (N + 1 + K,), log-odds of each damage, of another playback rate by the band edge, and of each line.
        novelty: how many deviations less likely than clean speech it is.
        silent: all samples are the same.
    """

    frames: Array
    odds: Array
    novelty: float
    silent: bool = False

    @property
    def score(self) -> float:
        """Log-odds that it is damaged; what is unlike all clean speech counts as well."""
        if self.silent:
            return MOST
        return float(np.logaddexp.reduce(self.odds)) + min(max(0.0, self.novelty - NOVEL), MOST)


class AnomalyDetector:
    """Finds what is broken in recordings of speech, and where.

    >>> import numpy as np
    >>> detector = AnomalyDetector.load()
    >>> hum = 0.1 * np.sin(2 * np.pi * 50 * np.arange(22050) / 22050)
    >>> verdict = detector.score(hum, 22050)
    >>> 0.0 < verdict.p_value <= 1.0, isinstance(verdict.spans, tuple)
    (True, True)

    Args:
        evidence: the network and the lines.
        novelty: the flow.
        usual: mean and deviation of the novelty of clean speech.
        calibration: what clean speech scores.
        damages: the kind of each, (N,).
    """

    def __init__(
        self,
        evidence: Evidence,
        novelty: Novelty,
        usual: tuple[float, float],
        calibration: Calibration,
        damages: tuple[str, ...],
    ):
        self.evidence, self.novelty, self.usual = evidence, novelty, usual
        self.calibration, self.damages, self.kinds = calibration, damages, (*damages, EDGE_KIND, *LINES.values())

    @classmethod
    def fit(cls, folders: Sequence[str | Path], settings: "Settings | None" = None, work: Path | None = None,
            jobs: int = 1) -> "AnomalyDetector":  # fmt: skip
        """Learn what is normal from folders of clean recordings: these are damaged in all ways that the package knows.

        A part of the speakers is held out, and what their recordings score gives p-values.

        Args:
            folders: each with a `speakers.csv`, or of one speaker.
            work: folder for what is done so far, from which an interrupted fit goes on.
            jobs: processes.

        Raises:
            DataError: a folder has no recordings, or all together too few.
        """
        from flowvocoder.anomaly.examples import Corpus
        from flowvocoder.anomaly.fitting import Settings, calibration_crops, training

        settings = settings or Settings()
        corpus, held_out = Corpus.of([Path(f) for f in folders]).split(settings.held_out, settings.seed)
        learned = training(corpus, settings, work, jobs)
        return cls.fitted(learned, calibration_crops(held_out, settings, work, jobs), settings.seed)

    @classmethod
    def fitted(cls, learned: "Training", clean: "Sequence[Example]", seed: int = 0) -> "AnomalyDetector":
        """Of examples, and clean crops of others."""
        from flowvocoder.anomaly.damages import DAMAGES
        from flowvocoder.anomaly.examples import KINDS_SEEN, LIKELIER, STAYS

        with own_threads():
            seen, stay = ([list(DAMAGES).index(name) for name in names] for names in (KINDS_SEEN, STAYS))
            prior = [math.log(LIKELIER.get(name, 1.0)) for name in DAMAGES]
            evidence = train(learned, clean[::2], seen, stay, prior, seed)
            novelty = Novelty.fit([e.features for e in learned.pieces if e.damage < 0], seed)
        return cls.calibrated(evidence, novelty, tuple(damage.kind for damage in DAMAGES.values()), clean)

    @classmethod
    def calibrated(cls, evidence: Evidence, novelty: Novelty, damages: tuple[str, ...],
                   clean: "Sequence[Example]") -> "AnomalyDetector":  # fmt: skip
        """Of what was learned, and clean crops of others: half of them say what is usual, half give p-values."""
        values = np.array([float(novelty(e.features).mean()) for e in clean[::2]])
        usual = float(np.median(values)), float(values.std()) + 1e-6
        held = clean[1::2]
        seconds = sum(len(e.features) for e in held) / FRAMES
        nothing = Calibration(np.zeros(0), np.zeros(0), seconds)
        detector = cls(evidence.calibrated(clean[::2]), novelty, usual, nothing, damages)
        pieces = [detector.look(e.features) for e in held]
        scores, peaks = [p.score for p in pieces], [p.frames.max() for p in pieces]
        detector.calibration = Calibration.of(np.array(scores), np.array(peaks), seconds)
        return detector

    @classmethod
    def load(cls, path: str | Path | None = None) -> "AnomalyDetector":
        """The detector that `save` wrote; None: the package's own.

        Raises:
            CheckpointError: missing, truncated, altered, of a newer format, or no detector.
        """
        return cls(*load_folder(BUNDLED if path is None else Path(path)))

    def save(self, path: str | Path) -> None:
        """Writes the folder `path`. Raises OutputError: it cannot be written, or something else is there."""
        save_folder(Path(path), self.evidence, self.novelty, self.usual, self.calibration, self.damages)  # fmt: skip

    def score(self, audio: Numbers, sample_rate: int, false_alarms: float = FALSE_ALARMS) -> Verdict:
        """Score, p-value and spans of audio (T,) in [-1, 1) at any rate in Hz.

        Raises:
            AudioError: not one channel of numbers in that range, or less than 0.1 s.
            ConfigError: the calibration cannot give so few false alarms.
        """
        self.calibration.threshold(false_alarms)
        return self.verdict(list(self.pieces(as_samples(audio), sample_rate)), false_alarms)

    def verdict(self, pieces: Sequence[Piece], false_alarms: float = FALSE_ALARMS) -> Verdict:
        """What all pieces of a recording say together. Raises ConfigError as `score`."""
        threshold = self.calibration.threshold(false_alarms)
        score = max(piece.score for piece in pieces)
        p_value = self.calibration.p_value(score, len(pieces))
        evidence = np.concatenate([piece.frames for piece in pieces])
        spans = find_spans(evidence, threshold)
        if self.calibration.p_value(score) <= false_alarms:
            wholes = [one for one in self._wholes(pieces, false_alarms) if not spans or one.kind not in LOCAL]
            spans = sorted([*spans, *wholes], key=lambda one: one.start)
        return Verdict(score, p_value, tuple(spans))

    def spans(self, audio: Numbers, sample_rate: int, false_alarms: float = FALSE_ALARMS) -> list[Span]:
        """Where it is broken, and what that looks like. Raises as `score`."""
        return list(self.score(audio, sample_rate, false_alarms).spans)

    def pieces(self, samples: Samples, rate: int, length: int = PIECE) -> Iterator[Piece]:
        """What is found in each `length` seconds of audio (T,), with what lies around it.

        Digital silence at both ends is not judged. A piece of nothing else, or a recording, is `silent`.
        """
        if len(samples) < SHORTEST * rate:
            raise AudioError(f"{len(samples)} samples ({len(samples) / rate:.3f} s) are too few: {SHORTEST} s at least")
        first, last = _sounding(samples, rate)
        before, after = (round(n / rate * FRAMES) for n in (first, len(samples) - last))
        for piece, ends in self._pieces(samples[first:last], rate, length):
            frames = np.pad(piece.frames, ((before, after if ends else 0), (0, 0)))
            yield dataclasses.replace(piece, frames=frames)
            before = 0

    def _pieces(self, samples: Samples, rate: int, length: int) -> Iterator[tuple[Piece, bool]]:
        """Each, and whether it is the last."""
        seconds = len(samples) / rate
        for start in range(0, max(1, math.ceil(seconds - 0.5)), length):
            ends = start + length >= seconds - 0.5
            own = samples[start * rate : None if ends else (start + length) * rate]
            if is_silent(own):
                yield self.silence(round(len(own) / rate * FRAMES)), ends
                continue
            before = min(start, MARGIN)
            last = len(samples) if ends else round((start + length + MARGIN) * rate)
            found = features(samples[(start - before) * rate : last], rate)
            yield self.look(found, before * FRAMES, None if ends else (before + length) * FRAMES), ends

    def silence(self, frames: int) -> Piece:
        """What there is to say of so many frames of samples that are all the same."""
        return Piece(np.zeros((frames, len(LINES))), np.zeros(len(self.kinds)), 0.0, True)

    def kind(self, piece: Piece) -> str:
        """What a piece as a whole looks like."""
        return SILENCE if piece.silent else self.kinds[int(piece.odds.argmax())]

    def look(self, found: Features, first: int = 0, end: int | None = None) -> Piece:
        """Features (F, D), of which frames from `first` to `end` are judged and the others are what lies around."""
        x = found.astype(np.float64)
        novelty = (float(self.novelty(found[first:end]).mean()) - self.usual[0]) / self.usual[1]
        return Piece(self.evidence.of_frames(x)[first:end], self.evidence.of_piece(x[first:end]), novelty)

    def _wholes(self, pieces: Sequence[Piece], false_alarms: float) -> list[Span]:
        """Pieces that are anomalous as a whole, neighbours of one kind as one."""
        found: list[Span] = []
        frame = 0
        for piece in pieces:
            start, frame = frame, frame + len(piece.frames)
            if self.calibration.p_value(piece.score) > false_alarms:
                continue
            span = Span(start / FRAMES, frame / FRAMES, piece.score, self.kind(piece))
            if found and found[-1].end == span.start and found[-1].kind == span.kind:
                span = Span(found[-1].start, span.end, max(found.pop().score, span.score), span.kind)
            found.append(span)
        return found


def is_silent(samples: Samples) -> bool:
    """Whether all samples are the same."""
    return not len(samples) or bool(samples.min() == samples.max())


def _sounding(samples: Samples, rate: int) -> tuple[int, int]:
    """First sample, and the one after the last, without digital silence of more than `ENDS` at the ends."""
    changes = np.flatnonzero(np.diff(samples))
    if not len(changes):
        return 0, len(samples)
    first, last = int(changes[0]) + 1, int(changes[-1]) + 1
    first, last = (first if first > ENDS * rate else 0), (last if len(samples) - last > ENDS * rate else len(samples))
    return (first, last) if last - first >= SHORTEST * rate else (0, len(samples))


def as_samples(audio: Numbers) -> Samples:
    """One channel (T,) as float32. Raises AudioError."""
    from flowvocoder.audio.arrays import as_audio

    batch = as_audio(audio, torch.zeros(0))
    if len(batch) != 1:
        raise AudioError(f"audio of {len(batch)} channels: expected one")
    return np.asarray(batch[0].numpy(), np.float32)
