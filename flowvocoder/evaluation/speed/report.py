"""What was measured of training, as a table and as JSON."""

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from flowvocoder.evaluation.speed.training import Setting, Speed

Results = Sequence[tuple[Setting, Speed | str]]


COLUMNS = (
    "preset", "batch", "precision", "processes", "audio s/s", "steps/s", "s/step (fastest to slowest)",
    "processor s/step", "peak GB", "GFLOP/step", "of matmul peak, GFLOP/s", "scaling",
)  # fmt: skip


def describe(device: str, threads: int | None) -> dict[str, Any]:
    """The machine, for the record."""
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else _processor()
    return {
        "device": device,
        "name": name,
        "threads": threads or torch.get_num_threads(),
        "torch": str(torch.__version__),
        "date": time.strftime("%Y-%m-%d"),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return "CPU"


def markdown(results: Results, machine: dict[str, Any]) -> str:
    """A table, a row a setting; scaling is the audio rate over that of one process times the processes."""
    alone = {dataclasses.replace(s, processes=1): r.audio_rate for s, r in results
             if isinstance(r, Speed) and s.processes == 1}  # fmt: skip
    lines = [
        f"{machine['name']}, {machine['threads']} thread(s) a process, PyTorch {machine['torch']}, {machine['date']}.",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|" + "---|" * len(COLUMNS),
    ]
    for setting, result in results:
        if isinstance(result, str):
            cells = [setting.preset, setting.batch, setting.precision, setting.processes, result]
            cells += [""] * (len(COLUMNS) - len(cells))
        else:
            cells = _cells(result, alone.get(dataclasses.replace(setting, processes=1)))
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


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


def to_json(results: Results, machine: dict[str, Any]) -> str:
    """Everything, `error` in place of figures for what could not be measured."""
    rows = [
        result.to_dict() if isinstance(result, Speed) else {"setting": dataclasses.asdict(setting), "error": result}
        for setting, result in results
    ]
    return json.dumps({"machine": machine, "results": rows}, indent=1) + "\n"
