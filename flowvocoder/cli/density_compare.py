"""`density compare`: flows, other generative models and other libraries on the same data with the same budget."""

import argparse
from pathlib import Path

from flowvocoder.cli.command import Command
from flowvocoder.cli.density import TABLES, about
from flowvocoder.cli.options import folder, positive, positive_int


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", metavar="DATA", nargs="+",
                        help=f"tables ({TABLES}); known sets by name (any other name lists them); mel:DIR for the mel"
                        " frames of recordings in DIR")  # fmt: skip
    parser.add_argument("--families", metavar="NAME,NAME", default="all",
                        help="flows and other generative models (default all)")  # fmt: skip
    parser.add_argument("--peers", metavar="LIBRARY,LIBRARY", default="",
                        help="other libraries: zuko, normflows; pip install 'flowvocoder[peers]'")  # fmt: skip
    parser.add_argument("--steps", type=positive_int, default=1000, help="most steps of each fit (default 1000)")
    parser.add_argument("--minutes", type=positive, default=0.0, metavar="M",
                        help="of processor time for each fit, in place of --steps; a fit without a gain ends"
                        " earlier")  # fmt: skip
    parser.add_argument("--batch", type=positive_int, default=256, help="rows a step (default 256)")
    parser.add_argument("--parameters", type=positive_int, default=20_000,
                        help="parameters that each model gets as nearly as can be (default 20000)")  # fmt: skip
    parser.add_argument("--rows", type=positive_int, default=4000, help="most rows to fit to (default 4000)")
    parser.add_argument("--samples", type=positive_int, default=2000,
                        help="new rows of each model, and most rows to reconstruct (default 2000)")  # fmt: skip
    parser.add_argument("--seeds", type=positive_int, default=3, help="fits of each model (default 3)")
    parser.add_argument("--out", metavar="REPORT", type=folder, required=True,
                        help="folder for report.md, results.json and plot.png; grows with every fit, and the same"
                        " command goes on where it was stopped")  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Fit and measure every model on every set, but for what the report has already; print where it is."""
    from flowvocoder.density.comparison import Budget, compare, entrants, missing
    from flowvocoder.density.comparison_report import begun, write_plot, write_results
    from flowvocoder.density.sets import data_set
    from flowvocoder.files import check_folder
    from flowvocoder.progress import progress

    names = entrants(_listed(arguments.families), _listed(arguments.peers))
    seeds = tuple(range(arguments.seeds))
    budget = Budget(arguments.steps, arguments.batch, arguments.parameters, arguments.samples, seeds, arguments.minutes)
    sets = {name: data_set(name, arguments.rows) for name in arguments.data}  # a wrong name fails before the work
    check_folder(arguments.out)
    compared = begun(arguments.out, sets, budget)
    for name, data in sets.items():
        rows = compared[name].rows
        fits = missing(names, budget, rows)
        with about(name):
            for row in progress(compare(data, fits, budget), f"compare on {name}", "fit", len(fits)):
                rows.append(row)
                write_results(arguments.out, compared.values(), budget)
        write_plot(arguments.out, compared.values())
    print(Path(arguments.out) / "report.md")
    return 0


def _listed(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


COMMAND = Command("density compare", "compare densities and generative models on one budget", options, run)
