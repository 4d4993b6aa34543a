"""What every measurement leaves behind: JSON, a table in Markdown, a chart, and the machine it ran on."""

import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from flowvocoder.files import write_json, writing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def machine(device: str = "cpu", threads: int | None = None) -> dict[str, Any]:
    """What figures were measured on, as JSON values: device and its name, threads, PyTorch's version, date."""
    return {
        "device": device,
        "name": torch.cuda.get_device_name(device) if device.startswith("cuda") else processor(),
        "threads": threads or torch.get_num_threads(),
        "torch": str(torch.__version__),
        "date": time.strftime("%Y-%m-%d"),
    }


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    known = platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), known)


def machine_line(machine: dict[str, Any]) -> str:
    """The same as half a sentence: name, threads, version, date."""
    return f"{machine['name']}, {machine['threads']} thread(s), PyTorch {machine['torch']}, {machine['date']}"


def markdown_table(heading: Sequence[object], rows: Sequence[Sequence[object]]) -> list[str]:
    """Lines of a table in Markdown."""
    return ["| " + " | ".join(map(str, cells)) + " |" for cells in (heading, ["---"] * len(heading), *rows)]


def write_report(folder: Path, values: dict[str, Any], table: str, chart: "Figure | None" = None) -> str:
    """Write `results.json`, `table.md` and, where there is a chart, `chart.png`.

    Returns:
        The folder and the names of the files, for people.

    Raises:
        OutputError: the folder cannot be written to.
    """
    write_json(folder / "results.json", values)
    with writing(folder / "table.md") as temporary:
        temporary.write_text(table, encoding="utf-8")
    if chart is not None:
        with writing(folder / "chart.png") as temporary:
            chart.savefig(temporary, format="png")
    return f"{folder}: results.json, table.md{', chart.png' if chart is not None else ''}"
