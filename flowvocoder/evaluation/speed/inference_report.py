"""Results as JSON, Markdown and a picture."""

import dataclasses
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from flowvocoder.evaluation.speed.inference import Result, StreamResult
from flowvocoder.files import writing


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), name)
    except OSError:
        pass
    return {
        "cpu": name,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def write_report(folder: Path, command: str, results: Sequence[Result], streams: Sequence[StreamResult]) -> None:
    """Write bench.json, bench.md and bench.png.

    Raises:
        OutputError: the folder cannot be written to.
    """
    values = {
        "command": command,
        "machine": machine(),
        "results": [dataclasses.asdict(r) for r in results],
        "streaming": [dataclasses.asdict(s) for s in streams],
    }
    with writing(folder / "bench.json") as file:
        file.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    with writing(folder / "bench.md") as file:
        file.write_text(markdown(command, results, streams), encoding="utf-8")
    with writing(folder / "bench.png") as file:
        _draw(file, results)


def markdown(command: str, results: Sequence[Result], streams: Sequence[StreamResult]) -> str:
    """Two tables, with the command and the machine above them."""
    about = machine()
    lines = [f"`{command}`, {about['gpu'] or about['cpu']}, {about['threads']} thread(s), torch {about['torch']}", ""]
    rows = [
        (
            r.name, r.engine, f"{r.parameters / 1e6:.1f}", f"{r.seconds:g}", r.batch, f"{r.speed:.1f}",
            f"{r.median:.1f}",
            "" if r.gmacs is None else f"{r.gmacs:.2f}", "" if r.peak_mb is None else f"{r.peak_mb:.0f}",
        )
        for r in results
    ]  # fmt: skip
    lines += _table(
        ("system", "engine", "M params", "s", "batch", "x real time", "median", "GMAC/s of audio", "peak MB"), rows
    )
    if streams:
        lines.append("")
        lines += _table(
            ("streaming", "engine", "frames", "chunk ms", "p50 ms", "p99 ms", "first audio ms", "look-ahead ms"),
            [
                (
                    s.name,
                    s.engine,
                    s.frames,
                    *(f"{v:.1f}" for v in (s.chunk, s.p50, s.p99, s.first_audio, s.look_ahead)),
                )
                for s in streams
            ],
        )
    return "\n".join(lines) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    return [f"| {' | '.join(map(str, row))} |" for row in (head, ["---"] * len(head), *rows)]


def _draw(path: Path, results: Sequence[Result]) -> None:
    from matplotlib.figure import Figure

    labels = [f"{r.name} {r.engine}, {r.seconds:g} s x {r.batch}" for r in results]
    figure = Figure(figsize=(8, 0.6 + 0.3 * len(results)), layout="constrained")
    axes = figure.subplots()
    colours = {name: f"C{i}" for i, name in enumerate(dict.fromkeys(r.name for r in results))}
    bars = axes.barh(labels, [r.speed for r in results], color=[colours[r.name] for r in results])
    axes.bar_label(bars, fmt="%.1f", padding=2)
    axes.invert_yaxis()
    axes.set_xlabel("x real time (best round)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120, format="png")
