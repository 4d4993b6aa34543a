"""`density score`: how likely the rows of a table are."""

import argparse
import json
import math
from pathlib import Path

from flowvocoder.cli.command import Command
from flowvocoder.cli.common import set_machine
from flowvocoder.cli.density import TABLES, load_density
from flowvocoder.cli.options import add_machine


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("density", metavar="DIR", type=Path, help="folder that `density fit` wrote")
    parser.add_argument("data", metavar="DATA", type=Path, help=f"table with the same columns: {TABLES}")
    parser.add_argument("--json", action="store_true", help="as JSON, with the nats of every row")
    add_machine(parser)


def run(arguments: argparse.Namespace) -> int:
    """Mean nats and bits per dimension."""
    from flowvocoder.density.tables import read_whole

    set_machine(arguments)
    density, columns = load_density(arguments.density, arguments.device)
    rows, context = columns.arrays(read_whole(arguments.data, (*columns.rows, *columns.context)))
    nats = density.score_samples(rows, context=context)
    mean = float(nats.mean())
    bits = -mean / (density.n_features_in_ * math.log(2.0))
    if arguments.json:
        found = {"file": str(arguments.data), "rows": len(nats), "mean_nats": mean, "bits_per_dimension": bits}
        print(json.dumps({**found, "nats": nats.tolist()}))
    else:
        print(f"{arguments.data}: {len(nats)} rows, mean {mean:.4f} nats, {bits:.4f} bits per dimension")
    return 0


COMMAND = Command("density score", "exact log-density of a table's rows, in nats and bits per dimension", options, run)
