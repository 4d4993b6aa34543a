"""`density sample`: new rows of a table."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from flowvocoder.cli.command import Command
from flowvocoder.cli.common import check_output, set_machine
from flowvocoder.cli.density import TABLES, Columns, load_density
from flowvocoder.cli.options import add_machine, positive_int, seed
from flowvocoder.errors import DensityError

if TYPE_CHECKING:
    import numpy as np


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("density", metavar="DIR", type=Path, help="folder that `density fit` wrote")
    parser.add_argument("out", metavar="OUT", type=Path, help=f"table to write: {TABLES}")
    parser.add_argument("-n", "--rows", type=positive_int, default=1000, metavar="N", help="rows (default 1000)")
    parser.add_argument("--given", metavar="NAME=VALUE", type=_given, action="append", default=[],
                        help="value of a column of the context; once for each of them")  # fmt: skip
    parser.add_argument("--seed", type=seed, default=0, help="random seed; the same gives the same rows (default 0)")
    add_machine(parser)


def run(arguments: argparse.Namespace) -> int:
    """Draws and writes."""
    import numpy as np

    from flowvocoder.density.tables import SUFFIXES, Table, write_table

    check_output(arguments.out, SUFFIXES)
    set_machine(arguments)
    density, columns = load_density(arguments.density, arguments.device)
    context = _context(dict(arguments.given), columns)
    random = np.random.RandomState(np.random.MT19937(arguments.seed))
    write_table(
        arguments.out, Table(density.sample(arguments.rows, context=context, random_state=random), columns.rows)
    )
    print(f"{arguments.out}: {arguments.rows} rows")
    return 0


def _context(given: dict[str, float], columns: Columns) -> "np.ndarray | None":
    """One row for all samples, in the order of the density's columns."""
    import numpy as np

    if set(given) != set(columns.context):
        wanted = ", ".join(columns.context) or "none, for it has no context"
        raise DensityError(f"--given names {', '.join(given) or 'no column'}; this density needs {wanted}")
    return np.array([[given[name] for name in columns.context]]) if given else None


def _given(text: str) -> tuple[str, float]:
    name, _, value = text.rpartition("=")
    try:
        return name, float(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE with a number, not {text!r}") from error


COMMAND = Command("density sample", "draw new rows from a density into a table", options, run)
