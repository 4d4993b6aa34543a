"""A whole manifest: every utterance by itself, then what only shows between them; and writing it without the faults."""

import array
import collections
import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from flowvocoder.audit.deep import Deep, DeepReport, Row
from flowvocoder.audit.measure import KINDS, Finding, Limits, Measurement, measure, measure_deep
from flowvocoder.data.manifest import Entry, Line, number_of_lines, path_from, read_lines, read_manifest, write_manifest
from flowvocoder.errors import DataError
from flowvocoder.mel.spec import MelSpec
from flowvocoder.parallel import Crashed, ordered_map
from flowvocoder.progress import progress

EXAMPLES = 1000
"""Findings of one kind that are kept with their utterance; beyond that they are only counted."""


@dataclasses.dataclass
class Tally:
    """Findings of one kind."""

    harmful: int = 0
    notes: int = 0
    examples: list[tuple[int, str, Finding]] = dataclasses.field(default_factory=list)  # (line, utterance id, finding)

    def add(self, line: int, utterance_id: str, finding: Finding) -> None:
        self.harmful += finding.harmful
        self.notes += not finding.harmful
        if len(self.examples) < EXAMPLES:
            self.examples.append((line, utterance_id, finding))


class Audit:
    """What an audit found. Holds some 30 bytes an utterance, however long their texts and many their faults.

    Args:
        manifest: to audit.
        limits: where a fault begins.
        spec: convention of mels that say none.
        jobs: processes.
        deep: how an anomaly detector hears the utterances too, and
        report: where it writes that down, to go on from there.

    Raises:
        DataError: the manifest cannot be read, or is empty.
    """

    def __init__(self, manifest: Path, limits: Limits, spec: MelSpec, jobs: int = 1, deep: Deep | None = None,
                 report: Path | None = None):  # fmt: skip
        self.manifest, self.limits = manifest, limits
        self.tallies = {kind: Tally() for kind in KINDS}
        self._seconds, self._level, self._bandwidth = (array.array("f") for _ in range(3))
        self._content = array.array("Q")
        self._harmed = bytearray()  # by entry: whether it has a harmful fault that no correction fixes
        self._corrections: dict[int, tuple[int, int]] = {}  # entry: (rate in Hz, duration in samples) of the file
        if deep is None or report is None:
            work = functools.partial(measure, folder=manifest.parent, limits=limits, spec=spec)
            results = ordered_map(work, read_lines(manifest), jobs, ahead=16)
            for result in progress(results, "audit", "file", number_of_lines(manifest)):
                self._take(_of_crash(result.item) if isinstance(result, Crashed) else result)
        else:
            hear = functools.partial(measure_deep, folder=manifest.parent, limits=limits, spec=spec, deep=deep)
            self._hear(DeepReport(report, deep), hear, jobs)
        if not self._harmed:
            raise DataError(f"{manifest}: holds no utterance")
        self._find_duplicates()

    @property
    def utterances(self) -> int:
        return len(self._harmed)

    @property
    def harmful(self) -> int:
        """Utterances with a fault that is harmful to training."""
        return sum(1 for harmed in self._harmed if harmed) + len(self._corrections)

    @property
    def seconds(self) -> npt.NDArray[np.float32]:
        """Duration of each utterance, (utterances,)."""
        return np.frombuffer(self._seconds, dtype=np.float32)

    @property
    def level_db(self) -> npt.NDArray[np.float32]:
        """Speech level in dBFS of each, NaN where there is no audio."""
        return np.frombuffer(self._level, dtype=np.float32)

    @property
    def bandwidth_hz(self) -> npt.NDArray[np.float32]:
        """Where the spectrum falls off a cliff, else the Nyquist frequency; NaN where there is no audio."""
        return np.frombuffer(self._bandwidth, dtype=np.float32)

    def fix(self, output: Path) -> int:
        """Write the manifest without harmful utterances and with the files' own rates and lengths; how many are left.

        Audio is not touched. Paths are made to fit the new manifest's folder.

        Raises:
            DataError: nothing would be left.
            OutputError: it cannot be written.
        """
        if all(self._harmed):
            raise DataError(f"{self.manifest}: every utterance has a harmful fault: {output} is not written")
        return write_manifest(output, self._fixed(output))

    def _fixed(self, output: Path) -> Iterator[Entry]:
        folder = self.manifest.parent
        moved = folder.resolve() != output.parent.resolve()
        for place, entry in enumerate(read_manifest(self.manifest)):
            if self._harmed[place]:
                continue
            if place in self._corrections:
                rate, duration = self._corrections[place]
                entry = dataclasses.replace(entry, rate=rate, duration=duration)
            if moved:
                mel = entry.mel_file(folder)
                entry = dataclasses.replace(
                    entry,
                    path=path_from(output.parent, entry.audio_file(folder)),
                    mel=None if mel is None else path_from(output.parent, mel),
                )
            yield entry

    def _hear(self, report: DeepReport, work: Callable[[tuple[Line, Row | None]], Measurement], jobs: int) -> None:
        known = collections.deque[bool]()  # of what is in work: whether the report has it

        def items() -> Iterator[tuple[Line, Row | None]]:
            for line, row in report.known(read_lines(self.manifest)):
                known.append(row is not None)
                yield line, row

        total = number_of_lines(self.manifest)
        for result in progress(ordered_map(work, items(), jobs, ahead=16), "audit --deep", "file", total):
            one = _of_crash(result.item[0]) if isinstance(result, Crashed) else result
            self._take(one)
            if not known.popleft():
                report.add(one.deep or {"line": one.line, "id": one.id, "score": None})

    def _take(self, result: Measurement) -> None:
        place = len(self._harmed)
        for finding in result.findings:
            self.tallies[finding.kind].add(result.line, result.id, finding)
        harmful = any(finding.harmful for finding in result.findings)
        if harmful and result.fixable:
            self._corrections[place] = (result.rate, result.duration)
        self._harmed.append(harmful and not result.fixable)
        self._seconds.append(result.seconds)
        self._level.append(result.level_db)
        self._bandwidth.append(result.bandwidth_hz)
        self._content.append(result.content)

    def _find_duplicates(self) -> None:
        first = _first_of_equals(np.frombuffer(self._content, dtype=np.uint64))
        if not first:
            return
        names = dict.fromkeys(first.values(), "")
        for place, (entry, line, _) in enumerate(read_lines(self.manifest)):
            if place in names:
                names[place] = entry.id
            if place in first:
                finding = Finding("duplicate", True, f"the same audio as {names[first[place]]}")
                self.tallies[finding.kind].add(line, entry.id, finding)
                self._harmed[place] = True
                self._corrections.pop(place, None)


def _of_crash(item: Line) -> Measurement:
    entry, line, _ = item
    finding = Finding("unreadable", True, f"{entry.path} crashes the decoder or needs more memory than there is")
    return Measurement(entry.id, line, (finding,), entry.duration / entry.rate)


def _first_of_equals(content: npt.NDArray[np.uint64]) -> dict[int, int]:
    """{place: earlier place of the same content}; 0 is no content."""
    order = np.argsort(content, kind="stable")
    ordered = content[order]
    same = np.flatnonzero((ordered[1:] == ordered[:-1]) & (ordered[1:] != 0)) + 1
    first: dict[int, int] = {}
    for position in same:
        earlier = int(order[position - 1])
        first[int(order[position])] = first.get(earlier, earlier)
    return first
