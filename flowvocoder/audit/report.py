"""An audit for people and for programs: a table, JSON, a plot."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flowvocoder.audit.audit import Audit, Tally
from flowvocoder.files import writing

SHOWN = 3
"""Examples of each fault in the table."""


def table(audit: Audit) -> Iterator[str]:
    """Lines of text: totals, one line for each check, the verdict."""
    rate = audit.limits.rate
    minutes = float(audit.seconds.sum(dtype=np.float64)) / 60.0
    yield f"{audit.manifest}: {audit.utterances} utterances, {minutes:.1f} min; training takes {rate} Hz"
    level, width = _middle(audit.level_db), _middle(audit.bandwidth_hz)
    yield f"speech level {level:.1f} dBFS (median), bandwidth {width / 1000:.1f} kHz (median)"
    yield f"{'check':<11}{'harmful':>8}{'note':>8}"
    for kind, tally in audit.tallies.items():
        yield f"{kind:<11}{tally.harmful or '-':>8}{tally.notes or '-':>8}"
        worst = sorted(tally.examples, key=lambda example: not example[2].harmful)
        for line, utterance_id, finding in worst[:SHOWN]:
            yield f"{'':<11}line {line}: {utterance_id}: {finding.detail}"
        if tally.harmful + tally.notes > SHOWN:
            yield f"{'':<11}... (--json lists more)"
    if audit.harmful:
        yield f"{audit.harmful} of {audit.utterances} utterances are harmful to training"
    else:
        yield "nothing is harmful to training"


def as_json(audit: Audit) -> dict[str, Any]:
    """The same as plain values, with up to 1000 utterances for each check."""
    return {
        "manifest": str(audit.manifest),
        "utterances": audit.utterances,
        "minutes": round(float(audit.seconds.sum(dtype=np.float64)) / 60.0, 3),
        "rate": audit.limits.rate,
        "harmful_utterances": audit.harmful,
        "seconds": _percentiles(audit.seconds),
        "level_dbfs": _percentiles(audit.level_db),
        "bandwidth_hz": _percentiles(audit.bandwidth_hz),
        "checks": {kind: _tally(tally) for kind, tally in audit.tallies.items()},
    }


def save_plot(audit: Audit, path: Path) -> None:
    """Distributions of duration, level and bandwidth as a PNG. Raises OutputError if it cannot be written."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    panels = (
        (audit.seconds, "duration, s"),
        (audit.level_db, "speech level, dBFS"),
        (audit.bandwidth_hz / 1000.0, "bandwidth, kHz"),
    )
    for axis, (values, label) in zip(figure.subplots(1, 3), panels, strict=True):
        axis.hist(values[np.isfinite(values)], bins=40, color="#3b6ea5")
        axis.set_xlabel(label)
        axis.set_ylabel("utterances")
    figure.suptitle(f"{audit.manifest.name}: {audit.utterances} utterances, {audit.harmful} harmful to training")
    with writing(path) as temporary:
        figure.savefig(temporary, format="png")


def _tally(tally: Tally) -> dict[str, Any]:
    found = [{"line": n, "id": i, "harmful": f.harmful, "detail": f.detail} for n, i, f in tally.examples]
    return {"harmful": tally.harmful, "notes": tally.notes, "utterances": found}


def _percentiles(values: npt.NDArray[np.floating[Any]]) -> dict[str, float] | None:
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    points = (0, 5, 50, 95, 100)
    return {f"p{p}": round(float(v), 3) for p, v in zip(points, np.percentile(known, points), strict=True)}


def _middle(values: npt.NDArray[np.floating[Any]]) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")
