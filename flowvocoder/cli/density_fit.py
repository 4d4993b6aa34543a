"""`density fit`: a normalizing flow fitted to a table."""

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from flowvocoder.cli.command import Command
from flowvocoder.cli.common import check_output, set_machine
from flowvocoder.cli.density import TABLES, Columns, about, names
from flowvocoder.cli.options import add_machine, folder, seed
from flowvocoder.density.families import FAMILIES
from flowvocoder.errors import DensityError

if TYPE_CHECKING:
    from flowvocoder.density import FlowDensity
    from flowvocoder.density.tables import Table

SETTINGS = ("family", "layers", "hidden", "shape", "steps", "batch", "lr", "patience", "held_out", "dequantise",
            "objective", "trace", "dtype", "device", "seed")  # fmt: skip
"""Options that are parameters of `FlowDensity`."""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", metavar="DATA", type=Path, help=f"table: {TABLES}")
    parser.add_argument("--out", metavar="DIR", type=folder, required=True, help="folder for the density")
    parser.add_argument("--family", choices=[*FAMILIES], default="nsf-c", metavar="NAME",
                        help=f"family of flows: {', '.join(FAMILIES)} (default nsf-c)")  # fmt: skip
    parser.add_argument("--columns", metavar="NAMES", type=names,
                        help="columns to model, with commas between; numbers from 0 on where the table has no names"
                        " (default: all but those of --context)")  # fmt: skip
    parser.add_argument("--context", metavar="NAMES", type=names, default=(),
                        help="columns that the density is given: p(columns | context)")  # fmt: skip
    parser.add_argument("--skip-bad", action="store_true", help="leave out rows that miss a value instead of stopping")
    parser.add_argument("--layers", type=int, metavar="N", help="layers (default: the family's)")
    parser.add_argument("--hidden", type=int, metavar="N", help="width of the networks (default: the family's)")
    parser.add_argument("--shape", type=_shape, metavar="C,H,W", help="rows are images of this shape (glow, realnvp)")
    parser.add_argument("--steps", type=int, metavar="N", help="most steps of training (default: by the rows)")
    parser.add_argument("--batch", type=int, default=512, metavar="N", help="rows a step (default 512)")
    parser.add_argument("--lr", type=float, help="largest learning rate (default: the family's)")
    parser.add_argument("--patience", type=int, default=10, metavar="N",
                        help="looks at the held-out rows, every 50 steps, that may pass without a gain"
                        " (default 10)")  # fmt: skip
    parser.add_argument("--held-out", type=float, default=0.1, metavar="SHARE", help="of the rows (default 0.1)")
    parser.add_argument("--dequantise", type=float, default=0.0, metavar="STEP",
                        help="between neighbouring values of quantised data, 1 for integers (default 0)")  # fmt: skip
    parser.add_argument("--objective", choices=["likelihood", "flow-matching"], default="likelihood",
                        help="what cnf is trained by (default likelihood)")  # fmt: skip
    parser.add_argument("--trace", choices=["exact", "hutchinson"], default="exact",
                        help="divergence that cnf is trained with (default exact); scores are exact")  # fmt: skip
    parser.add_argument(
        "--dtype", choices=["float32", "float64"], default="float32", help="precision (default float32)"
    )
    parser.add_argument("--seed", type=seed, default=0, help="random seed; the same gives the same density (default 0)")
    parser.add_argument("--plot", metavar="PNG", type=Path, help="also plot data and samples, pair by pair of columns")
    add_machine(parser)


def run(arguments: argparse.Namespace) -> int:
    """Fits, saves, and says the held-out nats."""
    from flowvocoder.density import FlowDensity
    from flowvocoder.density.folder import check

    check(arguments.out)
    if arguments.plot:
        check_output(arguments.plot, (".png",))
    set_machine(arguments)
    density = FlowDensity(**{name: getattr(arguments, name) for name in SETTINGS})
    table, columns = _table(arguments)
    rows, context = columns.arrays(table)
    with about(arguments.data):
        density.fit(rows, context=context)
    _name_columns(density, columns)
    density.save(arguments.out)
    _say(arguments, density, len(rows))
    if arguments.plot:
        _plot(arguments, density, table, columns)
    return 0


def _table(arguments: argparse.Namespace) -> "tuple[Table, Columns]":
    """What is fitted, without bad rows if they are to be left out."""
    from flowvocoder.density.tables import read_table, read_whole

    if both := set(arguments.columns or ()) & set(arguments.context):
        raise DensityError(f"column {min(both)!r} is in --columns and in --context")
    wanted = None if arguments.columns is None else (*arguments.columns, *arguments.context)
    if not arguments.skip_bad:
        table = read_whole(arguments.data, wanted)
    else:
        whole = (table := read_table(arguments.data, wanted)).whole()
        print(f"{arguments.data}: {len(table.values) - len(whole.values)} of {len(table.values)} rows left out",
              file=sys.stderr)  # fmt: skip
        table = whole
    rows = arguments.columns or tuple(name for name in table.names if name not in arguments.context)
    if missing := set(arguments.context) - set(table.names):
        raise DensityError(f"{arguments.data}: has no column {min(missing)!r}: there are {', '.join(table.names[:8])}")
    if not rows:
        raise DensityError(f"{arguments.data}: all columns are in --context, none is left to model")
    return table, Columns(rows, arguments.context)


def _name_columns(density: "FlowDensity", columns: Columns) -> None:
    """Lets the density keep the names, unless they are but the places of the columns."""
    import numpy as np

    if (*columns.rows, *columns.context) != tuple(map(str, range(len(columns.rows) + len(columns.context)))):
        density.feature_names_in_ = np.array(columns.rows, dtype=object)
        density.context_names_in_ = list(columns.context)


def _say(arguments: argparse.Namespace, density: "FlowDensity", rows: int) -> None:
    last, best = density.history_[-1], max(density.history_, key=lambda state: state.held_out)
    bits = -best.held_out / (density.n_features_in_ * math.log(2.0))
    print(f"{arguments.out}: {density.family}, {rows} rows, {last.step} steps: {best.held_out:.4f} nats held out,"
          f" {bits:.4f} bits per dimension")  # fmt: skip


def _plot(arguments: argparse.Namespace, density: "FlowDensity", table: "Table", columns: Columns) -> None:
    from flowvocoder.density.plots import save_pairs

    density.__dict__.pop("feature_names_in_", None)
    rows, context = columns.arrays(table)
    drawn = density.sample(len(rows), context=context, random_state=arguments.seed)
    save_pairs(arguments.plot, {"data": rows, "samples": drawn}, columns.rows)


def _shape(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(size) for size in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be channels,height,width, not {text!r}") from error


COMMAND = Command("density fit", "fit the density of a table by a normalizing flow", options, run)
