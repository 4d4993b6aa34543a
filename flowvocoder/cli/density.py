"""What the `density` commands share: a fitted density, and the columns of a table that it is about."""

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from flowvocoder.errors import DensityError

if TYPE_CHECKING:
    import numpy as np

    from flowvocoder.density import FlowDensity
    from flowvocoder.density.tables import Table

TABLES = "CSV, .npy, .npz or Parquet"


class Columns(NamedTuple):
    """Names of the columns of rows and of their context; numbers from 0 on where the file names none."""

    rows: tuple[str, ...]
    context: tuple[str, ...]

    def arrays(self, table: "Table") -> "tuple[np.ndarray, np.ndarray | None]":
        """Rows (N, D), and contexts (N, K) if there are any."""
        return table.take(self.rows), table.take(self.context) if self.context else None


@contextlib.contextmanager
def about(data: Path | str) -> Iterator[None]:
    """Puts the name of the data before what is wrong with them."""
    try:
        yield
    except DensityError as error:
        raise DensityError(f"{data}: {error}") from error


def names(text: str) -> tuple[str, ...]:
    """Names or numbers of columns, with commas between."""
    found = tuple(name.strip() for name in text.split(","))
    if "" in found or len(set(found)) < len(found):
        raise argparse.ArgumentTypeError(f"must be different names with commas between, not {text!r}")
    return found


def load_density(folder: Path, device: str) -> "tuple[FlowDensity, Columns]":
    """A fitted density, and the columns it was fitted to."""
    from flowvocoder.density import FlowDensity

    density = FlowDensity.load(folder, device)
    # Taken from the density: scikit-learn warns of arrays, which have no names, where it expects some.
    rows = density.__dict__.pop("feature_names_in_", map(str, range(density.n_features_in_)))
    context = density.context_names_in_ or map(str, range(density.n_features_in_, sum(widths(density))))
    return density, Columns(tuple(rows), tuple(context))


def widths(density: "FlowDensity") -> tuple[int, int]:
    """Columns of rows and of contexts."""
    return density.n_features_in_, density.n_context_
