"""Spans of audio that is still coming in."""

import numpy as np

from flowvocoder.anomaly.detector import FALSE_ALARMS, LOCAL, MARGIN, PIECE, AnomalyDetector, is_silent
from flowvocoder.anomaly.evidence import LINES
from flowvocoder.anomaly.features import SHORTEST, features
from flowvocoder.anomaly.framing import FRAMES
from flowvocoder.anomaly.spans import JOIN, Span, find_spans
from flowvocoder.audio.files import Samples
from flowvocoder.errors import AudioError

STEP = 2
"""Seconds that are looked at together."""

LONGEST = 60.0
"""Seconds of a span; a longer one is given in parts."""


class AnomalyStream:
    """Give it samples with `push`, and get the spans that have ended; `flush` at the end.

    A span is known `STEP + MARGIN` seconds after its end at the latest. What is anomalous only as a whole is found for
    every 10 seconds.

    Args:
        detector: what looks.
        sample_rate: Hz.
        false_alarms: share of 10 seconds of clean speech in which a span is found.

    Raises:
        ConfigError: the calibration cannot give so few false alarms.
    """

    def __init__(self, detector: AnomalyDetector, sample_rate: int, false_alarms: float = FALSE_ALARMS):
        self._detector, self._rate, self._share = detector, sample_rate, false_alarms
        self._threshold = detector.calibration.threshold(false_alarms)
        self._buffer, self._given = np.zeros(0, np.float32), 0
        self._before = 0  # seconds of the buffer that were judged already
        self._evidence, self._origin = np.zeros((0, len(LINES))), 0  # frames not given out, the first's number
        self._piece: list[np.ndarray] = []
        self._piece_start, self._found_in_piece, self._silent = 0, False, True

    def push(self, samples: Samples) -> list[Span]:
        """Spans that ended, after samples (T,) in [-1, 1)."""
        self._given += len(samples)
        self._buffer = np.concatenate([self._buffer, samples.astype(np.float32)])
        found: list[Span] = []
        while len(self._buffer) >= (self._before + STEP + MARGIN) * self._rate:
            self._look(STEP)
            found += self._ended(last=False)
            gone = max(0, self._before + STEP - MARGIN)
            self._buffer, self._before = self._buffer[gone * self._rate :], self._before + STEP - gone
        return found

    def flush(self) -> list[Span]:
        """Spans in what is left. Raises AudioError: all together is less than `SHORTEST` seconds."""
        if self._given < SHORTEST * self._rate:
            raise AudioError(
                f"{self._given} samples ({self._given / self._rate:.3f} s) are too few: {SHORTEST} s at least"
            )
        if len(self._buffer) >= (self._before + SHORTEST) * self._rate:
            self._look(None)
        return self._ended(last=True)

    def _look(self, seconds: int | None) -> None:
        """Judges the next seconds of the buffer, or all that is left."""
        first = self._before * FRAMES
        end = None if seconds is None else first + seconds * FRAMES
        last = None if seconds is None else (self._before + seconds + MARGIN) * self._rate
        found = features(self._buffer[:last], self._rate)
        self._evidence = np.concatenate([self._evidence, self._detector.look(found, first, end).frames])
        self._piece.append(found[first:end])
        own = slice(self._before * self._rate, None if seconds is None else (self._before + seconds) * self._rate)
        self._silent &= is_silent(self._buffer[own])

    def _ended(self, last: bool) -> list[Span]:
        spans = find_spans(self._evidence, self._threshold)
        open_from = len(self._evidence) - (0 if last else JOIN * FRAMES + 1)
        given = [s for s in spans if s.end * FRAMES <= open_from or s.end - s.start > LONGEST]
        done = round(given[-1].end * FRAMES) if given else 0
        if len(given) == len(spans):  # nothing is open; a span may still grow to the left
            done = max(done, len(self._evidence) - FRAMES)
        shifted = [s._replace(start=s.start + self._origin / FRAMES, end=s.end + self._origin / FRAMES) for s in given]
        self._found_in_piece |= bool(spans)
        self._evidence, self._origin = self._evidence[done:], self._origin + done
        return shifted + self._whole(last)

    def _whole(self, last: bool) -> list[Span]:
        """A span of the last ten seconds, if they are anomalous, and no span in them says why."""
        frames = sum(map(len, self._piece))
        if not frames or (frames < PIECE * FRAMES and not last):
            return []
        piece = self._detector.silence(frames) if self._silent else self._detector.look(np.concatenate(self._piece))
        start, found = self._piece_start, self._found_in_piece
        self._piece, self._piece_start, self._found_in_piece, self._silent = [], start + frames, False, True
        kind = self._detector.kind(piece)
        if (found and kind in LOCAL) or self._detector.calibration.p_value(piece.score) > self._share:
            return []
        return [Span(start / FRAMES, (start + frames) / FRAMES, piece.score, kind)]
