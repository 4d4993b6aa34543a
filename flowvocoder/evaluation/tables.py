"""An evaluation for people: its table in Markdown."""

import math
from collections.abc import Mapping
from typing import Any

from flowvocoder.evaluation.measures import MEASURES, Measure
from flowvocoder.evaluation.report import markdown_table
from flowvocoder.evaluation.results import Evaluation
from flowvocoder.evaluation.statistics import Summary


def markdown(evaluation: Evaluation) -> str:
    """Means of every system, then the differences to the first one, for each corpus; and what is missing."""
    settings = evaluation.settings
    chosen = "held-out utterances" if settings["held_out"] else "all utterances"
    lines = [
        f"# {evaluation.systems[0]}",
        "",
        f"Temperature {settings['temperature'] if settings['temperature'] is not None else 'of the checkpoint'},"
        f" {_iterations(settings)},"
        f" {_seeds(settings['seed'], settings['draws'])}, {chosen}. Mean ± standard deviation over utterances, and in"
        " brackets the 95 % bootstrap interval of the mean.",
    ]  # fmt: skip
    for group in evaluation.groups:
        lines += ["", f"## {group}: {_counted(len(evaluation.utterances(group)))}", "", *means(evaluation, group)]
        if len(evaluation.systems) > 1:
            lines += ["", f"{evaluation.systems[0]} less the others, utterance by utterance (bold: the interval leaves"
                      " out 0):", "", *differences(evaluation, group)]  # fmt: skip
    missing = [f"{row.system}: {row.utterance}: {note}" for row in evaluation.rows for note in row.notes]
    for title, sentences in (("Not defined", missing), ("Not measured", evaluation.failures)):
        if sentences:
            lines += ["", f"## {title}", "", *(f"- {sentence}" for sentence in sentences)]
    return "\n".join(lines) + "\n"


def _iterations(settings: Mapping[str, Any]) -> str:
    plain = f"{settings['gl_iters']} mel-consistency iterations and {settings['low_band_iters']} over low bands"
    if not settings["rounds"]:
        return plain
    return f"{settings['rounds']} frame-by-frame rounds and {settings['low_rounds']} below 1 kHz for every hop"


def means(evaluation: Evaluation, group: str) -> list[str]:
    """Lines of a Markdown table: a row for each measure, a column for each system."""
    count = len(evaluation.utterances(group))
    rows = []
    for measure in MEASURES.values():
        found = [evaluation.summary(group, system, measure.name) for system in evaluation.systems]
        if any(found):
            cells = [_mean(summary, measure, count) for summary in found]
            rows.append([measure.heading, *cells, *_by_draw(evaluation, group, measure)])
    several = [f"{evaluation.systems[0]}, each draw"] if evaluation.settings["draws"] > 1 else []
    return markdown_table(["measure", *evaluation.systems, *several], rows)


def differences(evaluation: Evaluation, group: str) -> list[str]:
    """The same for the first system less each of the others."""
    others = evaluation.systems[1:]
    rows = []
    for measure in MEASURES.values():
        found = [evaluation.difference(group, other, measure.name) for other in others]
        if any(found) and measure.better in ("higher", "lower"):
            rows.append([measure.heading, *(_difference(summary, measure) for summary in found)])
    return markdown_table(["measure", *(f"less {other}" for other in others)], rows)


def _by_draw(evaluation: Evaluation, group: str, measure: Measure) -> list[str]:
    """A cell, if there are several draws: the means of the first system for each."""
    if evaluation.settings["draws"] == 1:
        return []
    means = evaluation.by_draw(group, evaluation.systems[0], measure.name)
    return [", ".join("-" if math.isnan(mean) else f"{mean:.{measure.digits}f}" for mean in means)]


def _seeds(first: int, draws: int) -> str:
    return f"seed {first}" if draws == 1 else f"mean of {draws} draws, seeds {first} to {first + draws - 1}"


def _counted(utterances: int) -> str:
    return "1 utterance" if utterances == 1 else f"{utterances} utterances"


def _mean(summary: Summary | None, measure: Measure, expected: int) -> str:
    if summary is None:
        return "-"
    digits = measure.digits
    count = "" if summary.n == expected else f", n = {summary.n}"
    if summary.sd is None:
        return f"{summary.mean:.{digits}f}{count}"
    spread = f"± {summary.sd:.{digits}f} [{summary.low:.{digits}f}, {summary.high:.{digits}f}]"
    return f"{summary.mean:.{digits}f} {spread}{count}"


def _difference(summary: Summary | None, measure: Measure) -> str:
    if summary is None:
        return "-"
    digits = measure.digits
    if summary.sd is None:
        return f"{summary.mean:+.{digits}f}"
    text = f"{summary.mean:+.{digits}f} [{summary.low:+.{digits}f}, {summary.high:+.{digits}f}]"
    return f"**{text}**" if round(summary.low, digits) > 0 or round(summary.high, digits) < 0 else text
