"""What a comparison found, as a Markdown table, JSON and a plot."""

import dataclasses
import importlib.metadata
import json
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from flowvocoder.audio.plots import new_figure
from flowvocoder.density.comparison import LIBRARIES, Budget, summary
from flowvocoder.density.families import FAMILIES, MODELS
from flowvocoder.files import writing
from flowvocoder.units import ceil_div


class Column(NamedTuple):
    """A column of the table: the measure's key, what stands above it, and digits behind the point."""

    key: str
    title: str
    digits: int


COLUMNS = (
    Column("parameters", "parameters", 0),
    Column("nats", "nats", 3),
    Column("tighter", "tighter bound", 3),
    Column("wasserstein", "sliced Wasserstein", 3),
    Column("mmd", "MMD", 4),
    Column("modes", "modes", 1),
    Column("kl", "KL a latent", 2),
    Column("collapsed", "collapsed", 2),
    Column("reconstruction", "reconstruction", 3),
    Column("fit_seconds", "fit s", 1),
    Column("sample_seconds", "sample s", 3),
)


class Compared(NamedTuple):
    """One data set's rows of `compare`.

    Attributes:
        name: of the set.
        truth: mean log-density of its rows in nats, where it is known.
        rows: of `compare`.
    """

    name: str
    truth: float | None
    rows: list[dict[str, Any]]


def write_report(out: Path, sets: Sequence[Compared], budget: Budget) -> None:
    """Writes `report.md`, `results.json` and `plot.png` into `out`. Raises OutputError if it cannot be written."""
    found = {"budget": dataclasses.asdict(budget), "versions": versions(), "sets": [s._asdict() for s in sets]}
    texts = {"report.md": markdown(sets, budget), "results.json": json.dumps(found, indent=1) + "\n"}
    for name, text in texts.items():
        with writing(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    with writing(out / "plot.png") as temporary:
        plot(sets).savefig(temporary, format="png")


def versions() -> dict[str, str]:
    """Of Python, torch and the libraries compared with, as far as they are installed."""
    found = {"python": platform.python_version()}
    for name in ("torch", *LIBRARIES):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def markdown(sets: Iterable[Compared], budget: Budget) -> str:
    """A table for every set, its models in the order of their nats."""
    head = (f"At most {budget.steps} steps of {budget.batch} rows, networks as wide as gives about {budget.parameters}"
            f" parameters, {len(budget.seeds)} seeds: mean ± standard deviation.\n")  # fmt: skip
    return "\n".join([head, *(table(compared) for compared in sets)])


def table(compared: Compared) -> str:
    """The table of one set. A VAE's nats are a bound, which ≥ says."""
    models = summary(compared.rows)
    columns = [column for column in COLUMNS if any(column.key in values for values in models.values())]
    order = sorted(models, key=lambda name: -models[name].get("nats", (-1e300, 0.0))[0])
    truth = "" if compared.truth is None else f", truth {compared.truth:.3f} nats"
    lines = [f"## {compared.name}{truth}\n", _line(["model", *(column.title for column in columns)]),
             _line(["---"] * (len(columns) + 1))]  # fmt: skip
    for name in order:
        failed = sum("error" in row for row in compared.rows if row["model"] == name)
        cells = [_cell(name, models[name], column) for column in columns]
        lines.append(_line([f"{name} ({failed} diverged)" if failed else name, *cells]))
    return "\n".join(lines) + "\n"


def plot(sets: Sequence[Compared]) -> Any:
    """Nats over seconds to fit, a panel a set: ours in blue, other models in green, other libraries in orange."""
    columns = min(3, len(sets))
    rows = ceil_div(len(sets), columns)
    figure = new_figure(4.6 * columns, 3.6 * rows)
    for axes, compared in zip(figure.subplots(rows, columns, squeeze=False).flat, sets, strict=False):
        _panel(axes, compared)
    return figure


def _panel(axes: Any, compared: Compared) -> None:
    for name, values in summary(compared.rows).items():
        if "nats" in values:
            (seconds, _), (nats, spread) = values["fit_seconds"], values["nats"]
            colour = "C0" if name in FAMILIES else "C2" if name in MODELS else "C1"
            axes.errorbar(seconds, nats, spread, fmt="o", color=colour)
            axes.annotate(name, (seconds, nats), fontsize=7, xytext=(4, 2), textcoords="offset points")
    if compared.truth is not None:
        axes.axhline(compared.truth, linestyle=":", color="grey")
    axes.set(title=compared.name, xlabel="seconds to fit", ylabel="held-out nats", xscale="log")


def _cell(name: str, values: dict[str, tuple[float, float]], column: Column) -> str:
    if column.key not in values:
        return "-"
    mean, spread = (f"{value:.{column.digits}f}" for value in values[column.key])
    bound = "≥ " if column.key == "tighter" or (column.key == "nats" and name == "vae") else ""
    return bound + mean + (f" ± {spread}" if float(spread) else "")


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
