"""What a comparison found, as a Markdown table, JSON and a plot."""

import dataclasses
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from flowvocoder.audio.plots import new_figure
from flowvocoder.density.comparison import LIBRARIES, Budget, summary
from flowvocoder.density.families import FAMILIES, MODELS
from flowvocoder.density.sets import DataSet
from flowvocoder.errors import DensityError
from flowvocoder.files import read_json, reading, writing
from flowvocoder.units import ceil_div

RESULTS = "results.json"


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
        digest: of its rows to fit to and to compare on.
        truth: mean log-density of its rows in nats, where it is known.
        rows: of `compare`.
    """

    name: str
    digest: str
    truth: float | None
    rows: list[dict[str, Any]]

    @classmethod
    def of(cls, name: str, data: DataSet) -> "Compared":
        """Without any rows of `compare` yet."""
        digest = hashlib.sha256(data.fit.tobytes() + data.test.tobytes()).hexdigest()
        return cls(name, digest, data.truth, [])


def begun(out: Path, sets: Mapping[str, DataSet], budget: Budget) -> dict[str, Compared]:
    """What is to be compared and what was, by name: an earlier comparison in `out` goes on.

    Raises:
        DensityError: what is in `out` is no comparison, or one of another budget, of other rows or by other versions.
    """
    found = _found(out / RESULTS, budget) if (out / RESULTS).exists() else {}
    for name, data in sets.items():
        fresh = Compared.of(name, data)
        if found.setdefault(name, fresh).digest != fresh.digest:
            raise DensityError(f"{out / RESULTS}: has a comparison on other rows of {name}: name another folder")
    return found


def _found(path: Path, budget: Budget) -> dict[str, Compared]:
    problem = "not the results of a comparison: name another folder"
    found = read_json(path, DensityError, problem)
    with reading(path, DensityError, problem):
        sets = {values["name"]: Compared(**values) for values in found["sets"]}
        markdown(sets.values(), budget)
        plot(list(sets.values()))
        was = {"minutes": 0.0, **found["budget"], **found["versions"]}
    now = {**dataclasses.asdict(budget), **versions()}
    for key in was.keys() & now.keys() - {"seeds"}:
        if was[key] != now[key]:
            raise DensityError(f"{path}: was made with {key} {was[key]}, not {now[key]}: name another folder")
    return sets


def write_results(out: Path, sets: Iterable[Compared], budget: Budget) -> None:
    """Writes `results.json` and `report.md` into `out`. Raises OutputError if they cannot be written."""
    sets = [compared for compared in sets if compared.rows]
    found = {"budget": dataclasses.asdict(budget), "versions": versions(), "sets": [s._asdict() for s in sets]}
    texts = {RESULTS: json.dumps(found, indent=1) + "\n", "report.md": markdown(sets, budget)}
    for name, text in texts.items():
        with writing(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def write_plot(out: Path, sets: Iterable[Compared]) -> None:
    """Writes `plot.png` into `out`. Raises OutputError if it cannot be written."""
    with writing(out / "plot.png") as temporary:
        plot([compared for compared in sets if compared.rows]).savefig(temporary, format="png")


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
    sets = list(sets)
    seeds = len({row["seed"] for compared in sets for row in compared.rows})
    most = f"{budget.minutes:g} processor minutes a fit, in steps" if budget.minutes else f"{budget.steps} steps"
    head = (f"At most {most} of {budget.batch} rows, networks as wide as gives about {budget.parameters}"
            f" parameters, {seeds} seeds: mean ± standard deviation. Seconds are of the processor; a seed's models were"
            f" fitted one after another.\n")  # fmt: skip
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
