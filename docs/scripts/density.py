"""Makes the table of docs/results/density.md: every family on mixtures of Gaussians, whose density is known.

Run it as `python docs/scripts/density.py --dims 2 8 32 --out density.md`.
"""

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from tables import table

from flowvocoder.density import FAMILIES, FlowDensity
from flowvocoder.density.sets import Mixture
from flowvocoder.files import writing


def row(family: str, arguments: argparse.Namespace) -> tuple[str, ...]:
    """For all dims: nats that the mean of new rows is below the truth's, and seconds of a core for the fit."""
    cells = [f"`{family}`"]
    for dims in arguments.dims:
        truth, generator = Mixture.of(dims), np.random.default_rng(arguments.seed)
        rows, new = truth.draw(arguments.rows, generator), truth.draw(arguments.test_rows, generator)
        start = time.process_time()
        density = FlowDensity(family, seed=arguments.seed).fit(rows)
        seconds = time.process_time() - start
        cells += [f"{truth.log_prob(new).mean() - density.score(new):.3f}", f"{seconds:.0f}"]
        print(*cells, flush=True)
    return tuple(cells)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--dims", nargs="+", type=int, default=[2, 8, 32])
    parser.add_argument("--rows", type=int, default=8000)
    parser.add_argument("--test-rows", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args(words)
    head = [cell for width in arguments.dims for cell in (f"{width}-D: nats below the truth", "s")]
    rows = []
    for family in arguments.families:
        rows.append(row(family, arguments))
        with writing(arguments.out) as temporary:  # after every family: all of them take an hour
            temporary.write_text(table(("family", *head), rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
