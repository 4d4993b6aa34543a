"""Results: one row per utterance and system, kept one file a row so that a run can go on, and what they add up to."""

import dataclasses
import functools
import json
import math
from pathlib import Path
from typing import Any

from flowvocoder.evaluation.measures import MEASURES
from flowvocoder.evaluation.statistics import Summary, paired_difference, summarise
from flowvocoder.files import write_json

EVERYTHING = "all"
"""Group of the utterances of all corpora."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One utterance by one system.

    Attributes:
        draws: for each draw of it, values by the names of MEASURES (NaN: not defined).
        notes: on what is missing.
    """

    utterance: str
    system: str
    draws: list[dict[str, float]]
    notes: list[str]

    @functools.cached_property
    def values(self) -> dict[str, float]:
        """The mean of all draws for which a value is defined."""
        names = dict.fromkeys(name for draw in self.draws for name in draw)
        return {name: _mean([draw.get(name, math.nan) for draw in self.draws]) for name in names}

    @property
    def place(self) -> tuple[str, str]:
        """Utterance and system."""
        return self.utterance, self.system

    @property
    def corpus(self) -> str:
        """The corpus of the utterance."""
        return self.utterance.partition("/")[0]

    def to_dict(self) -> dict[str, Any]:
        """As JSON knows it: null for what is not defined."""
        several = {"draws": [_nulls(draw) for draw in self.draws]} if len(self.draws) > 1 else {}
        about = {"utterance": self.utterance, "system": self.system, "notes": self.notes}
        return {**about, "values": _nulls(self.values), **several}


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

    def by_draw(self, group: str, system: str, measure: str) -> list[float]:
        """The mean over utterances of each draw, NaN where there is none."""
        rows = [r for r in self.rows if r.system == system and group in (r.corpus, EVERYTHING)]
        count = min((len(row.draws) for row in rows), default=0)
        return [_mean([row.draws[draw].get(measure, math.nan) for row in rows]) for draw in range(count)]

    def summary(self, group: str, system: str, measure: str) -> Summary | None:
        """Mean, standard deviation and interval; None if nothing was measured."""
        return summarise(self.values(group, system, measure))

    def difference(self, group: str, other: str, measure: str) -> Summary | None:
        """The first system less another, utterance by utterance; None also for what another rate makes incomparable."""
        rates = self.settings["sample_rates"]
        if MEASURES[measure].per_sample and rates.get(self.systems[0]) != rates.get(other):
            return None
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
        return _present({name: self.summary(group, system, name) for name in MEASURES})

    def _differences(self, group: str, other: str) -> dict[str, Any]:
        return _present({name: self.difference(group, other, name) for name in MEASURES})


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
            draws = [
                {name: math.nan if v is None else float(v) for name, v in values.items()}
                for values in stored.get("draws", [stored["values"]])
            ]
            row = Row(utterance, system, draws, [str(note) for note in stored["notes"]])
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


def _mean(values: list[float]) -> float:
    known = [v for v in values if not math.isnan(v)]
    return math.fsum(known) / len(known) if known else math.nan


def _nulls(values: dict[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(v) else v for name, v in values.items()}


def _present(summaries: dict[str, Summary | None]) -> dict[str, Any]:
    return {name: dataclasses.asdict(s) for name, s in summaries.items() if s is not None}
