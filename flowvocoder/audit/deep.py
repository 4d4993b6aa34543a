"""The deep audit: an anomaly detector hears every utterance, and writes down what it found, so that it can go on."""

import dataclasses
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flowvocoder.data.manifest import Line
from flowvocoder.errors import AudioError, DataError, OutputError
from flowvocoder.files import reason

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Deep:
    """How an utterance is heard.

    Attributes:
        detector: folder; None: the package's own.
        false_alarms: share of clean utterances that are called anomalous.
    """

    detector: Path | None = None
    false_alarms: float = 0.01

    def row(self, line: Line, signal: npt.NDArray[np.float64] | None, rate: int) -> Row:
        """What is written of an utterance; no score where there is no audio (T,), or too little."""
        row: Row = {"line": line.number, "id": line.entry.id}
        try:
            if signal is None:
                return {**row, "score": None}
            verdict = _detector(self.detector).score(signal.astype(np.float32).clip(-1.0, 1.0), rate, self.false_alarms)
        except AudioError:
            return {**row, "score": None}
        return {**row, **verdict.as_json(line.entry.path)}

    def detail(self, row: Row) -> str | None:
        """What the audit says of a row; nothing where nothing was found."""
        if row["score"] is None or (row["p_value"] > self.false_alarms and not row["spans"]):
            return None
        spans = ", ".join(f"{s['kind']} {s['start']:.2f}-{s['end']:.2f} s" for s in row["spans"][:4])
        more = f" and {len(row['spans']) - 4} more" * (len(row["spans"]) > 4)
        return f"p = {row['p_value']:.4f}: {spans or 'unlike clean speech'}{more}"


@functools.cache
def _detector(folder: Path | None) -> Any:
    from flowvocoder.anomaly import AnomalyDetector

    return AnomalyDetector.load(folder)


class DeepReport:
    """A file of rows, one a line of JSON, after a line that says how they were made. What is there is not done again.

    Args:
        path: of the file; made if it is not there.
        deep: how utterances are heard.

    Raises:
        CheckpointError, ConfigError: the detector cannot be loaded, or not give so few false alarms.
        DataError: the file is something else, or was written with another detector or share of false alarms.
        OutputError: it cannot be written.
    """

    def __init__(self, path: Path, deep: Deep):
        detector = _detector(deep.detector)
        detector.calibration.threshold(deep.false_alarms)
        scores = detector.calibration.scores
        self.path = path
        header = {"deep_report": 1, "false_alarms": deep.false_alarms, "calibration": [len(scores), float(scores[-1])]}
        try:
            if not path.exists() or not path.stat().st_size:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(header) + "\n", encoding="utf-8")
            self._file = path.open("r+b")
            self._check(self._file.readline(), header)
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({reason(error)})") from error

    def known(self, lines: Iterator[Line]) -> Iterator[tuple[Line, Row | None]]:
        """Each line of a manifest with its row, as long as the file has rows. Raises DataError: of another manifest."""
        whole, there = self._file.tell(), True
        for line in lines:
            row = self._next() if there else None
            if row is not None:
                whole = self._file.tell()
                if (row.get("line"), row.get("id")) != (line.number, line.entry.id):
                    said = (
                        f"line {row.get('line')} is {row.get('id')!r}, the manifest's {line.number} {line.entry.id!r}"
                    )
                    raise DataError(f"{self.path}: is of another manifest: {said}: name another file")
            elif there:  # here a killed program stopped, maybe within a line
                there = False
                self._file.seek(whole)
                self._file.truncate()
            yield line, row

    def add(self, row: Row) -> None:
        """Write one row more. Raises OutputError."""
        try:
            self._file.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
            self._file.flush()
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({reason(error)})") from error

    def _next(self) -> Row | None:
        text = self._file.readline()
        try:
            row = json.loads(text) if text.endswith(b"\n") else None
        except ValueError:
            return None
        whole = isinstance(row, dict) and "score" in row and (row["score"] is None or {"p_value", "spans"} <= set(row))
        return row if whole else None

    def _check(self, text: bytes, header: Row) -> None:
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        if not isinstance(found, dict) or "deep_report" not in found:
            raise DataError(f"{self.path}: is no report of `audit --deep`: name another file")
        if found != header:
            raise DataError(f"{self.path}: was written with another detector or --false-alarms: name another file")
