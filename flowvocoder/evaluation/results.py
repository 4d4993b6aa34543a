"""Results: one row per utterance and system, kept one file a row so that a run can go on, and what they add up to."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from flowvocoder.evaluation.measures import MEASURES
from flowvocoder.evaluation.statistics import Summary, paired_difference, summarise
from flowvocoder.files import writing

EVERYTHING = "all"
"""Group of the utterances of all corpora."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One utterance by one system: values by the names of MEASURES (NaN: not defined), and notes on what is missing."""

    utterance: str
    system: str
    values: dict[str, float]
    notes: list[str]

    @property
    def corpus(self) -> str:
        """The corpus of the utterance."""
        return self.utterance.partition("/")[0]

    def to_dict(self) -> dict[str, Any]:
        """As JSON knows it: null for what is not defined."""
        return {**dataclasses.asdict(self), "values": _nulls(self.values)}


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What `evaluate_checkpoint` returns.

    Attributes:
        settings: how it was made, JSON values.
        systems: names; the first is the checkpoint that was evaluated.
        failures: one sentence for every utterance that could not be measured.
    """

    settings: dict[str, Any]
    systems: list[str]
    rows: list[Row]
    failures: list[str]

    @property
    def groups(self) -> list[str]:
        """Corpora, and EVERYTHING if there are several."""
        corpora = list(dict.fromkeys(row.corpus for row in self.rows))
        return corpora if len(corpora) == 1 else [*corpora, EVERYTHING]

    def utterances(self, group: str) -> list[str]:
        """The ids in a group."""
        found = dict.fromkeys(r.utterance for r in self.rows if group in (r.corpus, EVERYTHING))
        return list(found)

    def values(self, group: str, system: str, measure: str) -> list[float]:
        """One value for each of `utterances(group)`, NaN where there is none."""
        by_id = {r.utterance: r.values for r in self.rows if r.system == system}
        return [by_id.get(u, {}).get(measure, math.nan) for u in self.utterances(group)]

    def summary(self, group: str, system: str, measure: str) -> Summary | None:
        """Mean, standard deviation and interval; None if nothing was measured."""
        return summarise(self.values(group, system, measure))

    def difference(self, group: str, other: str, measure: str) -> Summary | None:
        """The first system less another, utterance by utterance."""
        return paired_difference(*(self.values(group, s, measure) for s in (self.systems[0], other)))

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        return {
            "settings": self.settings,
            "systems": self.systems,
            "summary": {g: {s: self._summaries(g, s) for s in self.systems} for g in self.groups},
            "difference": {g: {s: self._differences(g, s) for s in self.systems[1:]} for g in self.groups},
            "utterances": [row.to_dict() for row in self.rows],
            "failures": self.failures,
        }

    def _summaries(self, group: str, system: str) -> dict[str, Any]:
        return _present({m.name: self.summary(group, system, m.name) for m in MEASURES})

    def _differences(self, group: str, other: str) -> dict[str, Any]:
        return _present({m.name: self.difference(group, other, m.name) for m in MEASURES})


class Cache:
    """Rows in a folder, `system/corpus/stem.json`, each with the key of what it was computed from.

    Args:
        folder: None keeps nothing.
    """

    def __init__(self, folder: Path | None):
        self.folder = folder

    def get(self, utterance: str, system: str, key: str) -> Row | None:
        """The row, if it is there, whole, and made from the same things."""
        path = self._path(utterance, system)
        if path is None or not path.is_file():
            return None
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            values = {name: math.nan if v is None else float(v) for name, v in stored["values"].items()}
            row = Row(utterance, system, values, [str(note) for note in stored["notes"]])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return row if stored["key"] == key else None

    def put(self, row: Row, key: str) -> None:
        """Raises OutputError if it cannot be written."""
        path = self._path(row.utterance, row.system)
        if path is not None:
            write_json(path, {"key": key, **row.to_dict()})

    def _path(self, utterance: str, system: str) -> Path | None:
        return None if self.folder is None else self.folder / place(system, utterance, ".json")


def place(system: str, utterance: str, suffix: str) -> Path:
    """Where a file about an utterance goes inside a folder: `system/corpus/name`, never out of it."""
    folder = system.replace("/", "-").replace("\\", "-")
    parts = [part if part.strip(".") else "_" for part in utterance.split("/")]
    return Path(folder, *parts[:-1], parts[-1] + suffix)


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Raises OutputError if it cannot be written."""
    with writing(path) as temporary:
        temporary.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _nulls(values: dict[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(v) else v for name, v in values.items()}


def _present(summaries: dict[str, Summary | None]) -> dict[str, Any]:
    return {name: dataclasses.asdict(s) for name, s in summaries.items() if s is not None}
