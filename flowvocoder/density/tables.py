"""Tables of numbers as `.csv`, `.npy`, `.npz` and `.parquet` files, which a stranger may have made: no code is run."""

import array
import csv
import io
import itertools
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from flowvocoder.density.arrays import LARGEST
from flowvocoder.errors import DensityError, MelError, OutputError
from flowvocoder.extras import library
from flowvocoder.files import reading, writing
from flowvocoder.mel.arrays import MOST_VALUES, read_npy

SUFFIXES = (".csv", ".npy", ".npz", ".parquet")

MISSING = ("", "na", "n/a", "null", "none")
"""What stands in a CSV file where a number is missing, beside `nan`."""


class Table(NamedTuple):
    """Columns of numbers.

    Attributes:
        values: (N, D) in float64; what is missing is NaN.
        names: of the columns; their numbers from 0 on where the file names none.
    """

    values: np.ndarray
    names: tuple[str, ...]

    def take(self, names: Sequence[str]) -> np.ndarray:
        """The values (N, M) of some columns, in this order."""
        return self.values[:, [self.names.index(name) for name in names]]

    @property
    def bad(self) -> np.ndarray:
        """(N,), whether a row has values that are missing, NaN, infinite or beyond `LARGEST`."""
        return np.asarray(~(np.abs(self.values) <= LARGEST).all(1))

    def whole(self) -> "Table":
        """Without the bad rows."""
        return self._replace(values=self.values[~self.bad])


def read_table(path: Path, columns: Sequence[str] | None = None) -> Table:
    """The columns of a file, all or those named, in the file's order.

    The first line of a CSV file has the names if it is not all numbers.

    Raises:
        DensityError: no such file, damaged, of another kind, too large, no such column, or one that is not numeric.
        ConfigError: a Parquet file without the library to read it.
    """
    readers = {".csv": _csv, ".npy": _npy, ".npz": _npz, ".parquet": _parquet}
    if not path.is_file():
        raise DensityError(f"{path}: {'not a regular file' if path.exists() else 'no such file'}")
    if path.suffix.lower() not in readers:
        raise DensityError(f"{path}: unknown kind of table: use {', '.join(SUFFIXES)}")
    table = readers[path.suffix.lower()](path, columns)
    if not table.values.size:
        raise DensityError(f"{path}: holds no rows")
    return table


def read_whole(path: Path, columns: Sequence[str] | None = None) -> Table:
    """A table without bad rows. Raises as `read_table`, and DensityError if there are any."""
    table = read_table(path, columns)
    if bad := int(table.bad.sum()):
        row = int(table.bad.argmax())
        column = table.names[(np.abs(table.values[row]) <= LARGEST).argmin()]
        raise DensityError(
            f"{path}: {bad} of {len(table.values)} rows have values that are missing, NaN, infinite or beyond"
            f" {LARGEST:g}, the first in row {row + 1} without the header, column {column!r}"
        )
    return table


def write_table(path: Path, table: Table) -> None:
    """Writes `.csv`, `.npy`, `.npz` or `.parquet`, as the name asks; a CSV has no header if names are only numbers.

    Raises:
        OutputError: an unknown kind, or it cannot be written.
        ConfigError: a Parquet file without the library to write it.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise OutputError(f"{path}: unknown kind of table: use {', '.join(SUFFIXES)}")
    if suffix == ".parquet":
        arrow, parquet = library("pyarrow", "parquet"), library("pyarrow.parquet", "parquet")
        columns = dict(zip(table.names, table.values.T, strict=True))
        with writing(path) as temporary:
            parquet.write_table(arrow.table(columns), temporary)
        return
    with writing(path) as temporary, temporary.open("wb") as file:
        if suffix == ".npy":
            np.save(file, table.values)
        elif suffix == ".npz":
            np.savez(file, X=table.values)
        else:
            file.write(_header(table.names).encode())
            np.savetxt(file, table.values, "%.9g", ",")


def _csv(path: Path, columns: Sequence[str] | None) -> Table:
    values = array.array("d")
    with reading(path, DensityError, "not a CSV file"), path.open(newline="", encoding="utf-8-sig") as file:
        lines = csv.reader(file, strict=True)
        first = next(lines, [])
        named = any(_number(cell) is None for cell in first)
        names = [cell.strip() for cell in first] if named else _numbered(len(first))
        chosen = _chosen(path, names, columns)
        for line in itertools.chain([] if named else [first], lines):
            if not line:
                continue
            if len(line) != len(names):
                raise DensityError(f"{path}: line {lines.line_num} has {len(line)} values, expected {len(names)}")
            for column in chosen:
                number = _number(line[column])
                if number is None:
                    where = f"{line[column][:40]!r} in line {lines.line_num}"
                    raise DensityError(f"{path}: column {names[column]!r} is not numeric: it has {where}")
                values.append(number)
            _check_size(path, len(values))
    rows = len(values) // max(len(chosen), 1)
    return Table(np.array(values).reshape(rows, len(chosen)), tuple(names[column] for column in chosen))


def _npy(path: Path, columns: Sequence[str] | None) -> Table:
    with path.open("rb") as file:
        return _of_array(path, _array(file, path), columns)


def _npz(path: Path, columns: Sequence[str] | None) -> Table:
    with reading(path, DensityError, "not an .npz file of numbers"), zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(".npy")]
        name = "X.npy" if "X.npy" in names else names[0] if len(names) == 1 else None
        if name is None:
            raise DensityError(f"{path}: expected one array, or one called X; there are {len(names)}")
        with archive.open(name) as file:
            return _of_array(path, _array(file, path), columns)


def _array(file: IO[bytes], path: Path) -> np.ndarray:
    try:
        return read_npy(file, path, kinds="fiub")
    except MelError as error:
        raise DensityError(str(error)) from error


def _of_array(path: Path, values: np.ndarray, columns: Sequence[str] | None) -> Table:
    if values.ndim not in (1, 2):
        raise DensityError(f"{path}: has shape {values.shape}, expected rows and columns")
    values = values.reshape(len(values), -1)
    names = _numbered(values.shape[1])
    chosen = _chosen(path, names, columns)
    return Table(values[:, chosen].astype(np.float64), tuple(names[column] for column in chosen))


def _parquet(path: Path, columns: Sequence[str] | None) -> Table:
    parquet = library("pyarrow.parquet", "parquet")
    types, arrow = library("pyarrow.types", "parquet"), library("pyarrow", "parquet")
    with reading(path, DensityError, "not a Parquet file"):
        file = parquet.ParquetFile(path)
        names = list(file.schema_arrow.names)
        chosen = _chosen(path, names, columns)
        _check_size(path, file.metadata.num_rows * len(chosen))
        taken = [names[column] for column in chosen]
        for name in taken:
            kind = file.schema_arrow.field(name).type
            if not any(is_it(kind) for is_it in (types.is_floating, types.is_integer, types.is_boolean)):
                raise DensityError(f"{path}: column {name!r} is not numeric: it holds {kind}")
        read = file.read(columns=taken)
        values = [read.column(name).cast(arrow.float64()).to_numpy() for name in taken]
    return Table(np.column_stack(values), tuple(taken))


def _chosen(path: Path, names: Sequence[str], columns: Sequence[str] | None) -> list[int]:
    """The places of the named columns, in the file's order."""
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DensityError(f"{path}: several columns are called {twice[:40]!r}")
    for name in columns or ():
        if name not in names:
            there = ", ".join(names[:8]) + ", ..." * (len(names) > 8)
            raise DensityError(f"{path}: has no column {name!r}: there are {there or 'none'}")
    return [place for place, name in enumerate(names) if columns is None or name in columns]


def _check_size(path: Path, values: int) -> None:
    if values > MOST_VALUES:
        raise DensityError(f"{path}: holds more than the {MOST_VALUES} values that are read")


def _number(cell: str) -> float | None:
    """NaN for a missing one, None for what is no number."""
    try:
        return float(cell)
    except ValueError:
        return np.nan if cell.strip().lower() in MISSING else None


def _numbered(columns: int) -> list[str]:
    return [str(column) for column in range(columns)]


def _header(names: Sequence[str]) -> str:
    if all(name.isdigit() for name in names):
        return ""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(names)
    return text.getvalue()
