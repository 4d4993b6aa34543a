"""Speed of synthesis and of training: tables, JSON, a chart."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flowvocoder.evaluation.report import machine_line, markdown_table
from flowvocoder.evaluation.speed.inference import Result, StreamResult
from flowvocoder.evaluation.speed.training import Setting, Speed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Results = Sequence[tuple[Setting, Speed | str]]


COLUMNS = (
    "preset", "batch", "precision", "processes", "audio s/s", "steps/s", "s/step (fastest to slowest)",
    "processor s/step", "peak GB", "GFLOP/step", "of matmul peak, GFLOP/s", "scaling",
)  # fmt: skip


def training_markdown(results: Results, machine: dict[str, Any]) -> str:
    """A table, a row a setting; scaling is the audio rate over that of one process times the processes."""
    alone = {dataclasses.replace(s, processes=1): r.audio_rate for s, r in results
             if isinstance(r, Speed) and s.processes == 1}  # fmt: skip
    rows = []
    for setting, result in results:
        if isinstance(result, str):
            cells: list[object] = [setting.preset, setting.batch, setting.precision, setting.processes, result]
            rows.append(cells + [""] * (len(COLUMNS) - len(cells)))
        else:
            rows.append(_cells(result, alone.get(dataclasses.replace(setting, processes=1))))
    return "\n".join([f"{machine_line(machine)}.", "", *markdown_table(COLUMNS, rows)]) + "\n"


def _cells(speed: Speed, alone: float | None) -> list[object]:
    """Of a row; `alone` is the audio rate of one process."""
    setting, (median, fastest, slowest) = speed.setting, speed.seconds
    several = setting.processes > 1 and alone is not None
    return [
        setting.preset,
        setting.batch,
        speed.dtype,
        setting.processes,
        f"{speed.audio_rate:.1f}",
        f"{1 / median:.2f}",
        f"{median:.3f} ({fastest:.3f} to {slowest:.3f})",
        f"{speed.busy:.3f}",
        f"{speed.memory / 1e9:.2f}",
        "" if speed.flops is None else f"{speed.flops / 1e9:.1f}",
        "" if speed.share is None else f"{_percent(speed.share)} of {speed.peak / 1e9:.0f}",
        f"{speed.audio_rate / alone / setting.processes:.0%}" if several and alone else "",
    ]


def _percent(share: float) -> str:
    """Two figures, since small models on a fast GPU are far below 1 %."""
    return f"{100 * share:.2g}%"


def training_values(results: Results, machine: dict[str, Any]) -> dict[str, Any]:
    """Everything as JSON values, `error` in place of figures for what could not be measured."""
    rows = [
        result.to_dict() if isinstance(result, Speed) else {"setting": dataclasses.asdict(setting), "error": result}
        for setting, result in results
    ]
    return {"machine": machine, "results": rows}


def synthesis_values(
    command: str, machine: dict[str, Any], results: Sequence[Result], streams: Sequence[StreamResult]
) -> dict[str, Any]:
    """Everything as JSON values."""
    return {
        "command": command,
        "machine": machine,
        "results": [dataclasses.asdict(r) for r in results],
        "streaming": [dataclasses.asdict(s) for s in streams],
    }


def synthesis_markdown(
    command: str, machine: dict[str, Any], results: Sequence[Result], streams: Sequence[StreamResult]
) -> str:
    """Two tables, with the command and the machine above them."""
    lines = [f"`{command}`, {machine_line(machine)}", ""]
    lines += markdown_table(
        ("system", "engine", "threads", "M params", "s", "batch", "x real time", "median", "GMAC/s of audio",
         "peak MB"),
        [
            (r.name, r.engine, r.threads, f"{r.parameters / 1e6:.1f}", f"{r.seconds:g}", r.batch,
             f"{r.speed:.1f}", f"{r.median:.1f}", "" if r.gmacs is None else f"{r.gmacs:.2f}",
             "" if r.peak_mb is None else f"{r.peak_mb:.0f}")
            for r in results
        ],
    )  # fmt: skip
    if streams:
        times = [
            [f"{v:.1f}" for v in (s.chunk, s.chunk / s.p50, s.fastest, s.p50, s.p99, s.first_audio, s.look_ahead)]
            for s in streams
        ]
        lines += ["", *markdown_table(
            ("streaming", "engine", "frames", "chunk ms", "x real time", "fastest ms", "p50 ms", "p99 ms",
             "first audio ms", "look-ahead ms"),
            [(s.name, s.engine, s.frames, *row) for s, row in zip(streams, times, strict=True)],
        )]  # fmt: skip
    return "\n".join(lines) + "\n"


def synthesis_chart(results: Sequence[Result]) -> "Figure":
    """A bar for each result."""
    from matplotlib.figure import Figure

    labels = [f"{r.name} {r.engine}, {r.seconds:g} s x {r.batch}, {r.threads} thread(s)" for r in results]
    figure = Figure(figsize=(8, 0.6 + 0.3 * len(results)), dpi=120, layout="constrained")
    axes = figure.subplots()
    colours = {name: f"C{i}" for i, name in enumerate(dict.fromkeys(r.name for r in results))}
    bars = axes.barh(labels, [r.speed for r in results], color=[colours[r.name] for r in results])
    axes.bar_label(bars, fmt="%.1f", padding=2)
    axes.invert_yaxis()
    axes.set_xlabel("x real time (best round)")
    axes.spines[["top", "right"]].set_visible(False)
    return figure
