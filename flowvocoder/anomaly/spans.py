"""Where a recording is broken: stretches of frames whose evidence exceeds a threshold."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flowvocoder.anomaly.evidence import LINES
from flowvocoder.anomaly.framing import FRAMES

Array = npt.NDArray[np.float64]

JOIN = 0.1
"""Seconds between two spans that become one."""

EDGE = 0.5
"""A span goes on to both sides as long as its frames have this share of its highest evidence."""


class Span(NamedTuple):
    """Seconds, the highest evidence in between, and what it looks like."""

    start: float
    end: float
    score: float
    kind: str


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What was found in one recording.

    Attributes:
        score: the more, the more anomalous; log-odds.
        p_value: the share of clean recordings that score as high.
        spans: where.
    """

    score: float
    p_value: float
    spans: tuple[Span, ...]

    def as_json(self, file: str) -> dict[str, Any]:
        """The fixed form."""
        spans = [
            {"start": round(s.start, 3), "end": round(s.end, 3), "score": round(s.score, 3), "kind": s.kind}
            for s in self.spans
        ]
        return {"file": file, "score": round(self.score, 4), "p_value": round(self.p_value, 5), "spans": spans}


def find_spans(evidence: Array, threshold: float) -> list[Span]:
    """Spans in which the evidence (F, K) of any line reaches a threshold above 0."""
    highest = evidence.max(1)
    found: list[tuple[int, int]] = []
    for first, end in _runs(highest >= threshold):
        low = min(threshold, EDGE * float(highest[first:end].max()))
        while first > 0 and highest[first - 1] >= low:
            first -= 1
        while end < len(highest) and highest[end] >= low:
            end += 1
        if found and first - found[-1][1] <= JOIN * FRAMES:
            first, end = found[-1][0], max(end, found.pop()[1])
        found.append((first, end))
    return [_span(evidence[first:end], first) for first, end in found]


def _span(evidence: Array, first: int) -> Span:
    kind = list(LINES.values())[int(evidence.max(0).argmax())]
    return Span(first / FRAMES, (first + len(evidence)) / FRAMES, float(evidence.max()), kind)


def _runs(which: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.diff(which.astype(np.int8), prepend=0, append=0)
    return list(zip(np.flatnonzero(edges > 0).tolist(), np.flatnonzero(edges < 0).tolist(), strict=True))
