"""Parquet files of mels that lie, grow, or would run something."""

import functools
import io
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.abuse import seeds
from tests.abuse.case import Case
from tests.abuse.recordings import CHECKPOINT

PICKLE = b"cos\nsystem\n(X\x0e\x00\x00\x00touch ../owned1tR."
BANDS = pa.list_(pa.list_(pa.float32()))


def parquets() -> Iterator[Any]:
    """Writers of a file, each with the command that reads it."""
    for make in (*_columns(), *_claims(), *_damaged()):
        yield functools.partial(_spoken, make=make)


def _spoken(box: Path, make: Any) -> Case:
    (box / "in" / "m.parquet").write_bytes(make())
    return Case(("synth", "in/m.parquet", "out/y.parquet", *CHECKPOINT), keeps=True)


def _file(table: pa.Table, **options: Any) -> bytes:
    written = io.BytesIO()
    pq.write_table(table, written, **options)
    return written.getvalue()


def _good(rows: int = 2) -> pa.Table:
    return pa.table({"id": [str(n) for n in range(rows)], "mel": pa.array([seeds.mel().tolist()] * rows, BANDS)})


def _of(column: Any, name: str = "mel") -> Any:
    return lambda: _file(pa.table({name: column}))


def _columns() -> Iterator[Any]:
    """Columns of kinds that no mel has, and mels with holes."""
    mel = seeds.mel().tolist()
    yield _of(pa.array([mel, None, [], [[]], [mel[0]], mel[:79], [*mel[:79], mel[0][:3]]], BANDS))
    yield _of(pa.array([[*mel[:79], None], [[None] * 20] * 80, None], BANDS))
    yield _of(pa.array([[[float("nan")] * 20] * 80, [[float("inf")] * 20] * 80, [[1e38] * 20] * 80], BANDS))
    yield _of(pa.array([np.array(mel, np.float16).tolist()], pa.list_(pa.list_(pa.float16()))))
    yield _of(pa.array([[[1, 2]] * 80], pa.list_(pa.list_(pa.int64()))))
    yield _of(pa.array([[[["a"]]]], pa.list_(pa.list_(pa.list_(pa.string())))))
    yield _of(pa.array([[[("a", 1)]]], pa.list_(pa.map_(pa.string(), pa.int32()))))
    yield _of(pa.array([[{"a": mel}]], pa.list_(pa.struct([("a", BANDS)]))))
    yield _of(pa.nulls(3))
    yield _of(pa.array([b"", b"\x93NUMPY", None, PICKLE, seeds.mels()["a.npy"]]))
    yield _of(pa.array([b"\x93NUMPY\1\0\x46\0{'descr': '<f4', 'fortran_order': False, 'shape': (80, 1000000000)}\n"]))
    yield _of(pa.array([mel], BANDS), "m" * 10**6)
    yield _of(pa.array([mel], BANDS), "\x1b[2J\n\0")
    yield lambda: _file(pa.table([pa.array([mel], BANDS)] * 2, names=["mel", "mel"]))
    yield lambda: _file(pa.table({f"mel{n}": pa.array([mel], BANDS) for n in range(3)}))
    yield lambda: _file(pa.table({f"c{n}": [0] for n in range(5000)}))
    yield lambda: _file(pa.table({"mel": pa.array([], BANDS)}))
    yield lambda: _file(pa.table({}))
    kind = BANDS
    for _ in range(200):
        kind = pa.list_(kind)
    yield _of(pa.nulls(1, kind))
    field = pa.field("mel", pa.binary(), metadata={"ARROW:extension:name": "arrow.py_extension_type",
                                                   "ARROW:extension:metadata": PICKLE})  # fmt: skip
    yield lambda: _file(pa.table([pa.array([PICKLE])], schema=pa.schema([field])))
    yield lambda: _file(_good().replace_schema_metadata({"pandas": b"[" * 100_000, "huggingface": b"\xff" * 10}))
    yield lambda: _file(_good(), store_schema=False).replace(b"mel", b"m\xffl")


def _claims() -> Iterator[Any]:
    """Small files of many values, and of fewer than they say."""
    yield lambda: _file(pa.table({"mel": _repeated(8_000_000)}), compression="zstd")
    yield lambda: _file(pa.table({"mel": pa.array([bytes(30_000_000)])}), compression="zstd", use_dictionary=False)
    aside = pa.array(["a" * 20_000_000] * 2)
    yield lambda: _file(_good().append_column("text", aside), compression="zstd")
    yield functools.partial(lying, 30_000_000, 1000)
    for version in ("1.0", "2.4", "2.6"):
        for page in ("1.0", "2.0"):
            yield functools.partial(_file, _good(), version=version, data_page_version=page, compression="gzip")


def _repeated(values: int) -> pa.Array:
    """One row of one band of zeros, which take no room in a file."""
    band = pa.ListArray.from_arrays(pa.array([0, values], pa.int32()), pa.array(np.zeros(values, np.float32)))
    return pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), band)


def lying(true: int, claimed: int) -> bytes:
    """A file whose footer says of a column of so many bytes that it has fewer."""
    content = _file(pa.table({"mel": pa.array([bytes(true)])}), compression="zstd", use_dictionary=False)
    size = pq.ParquetFile(io.BytesIO(content)).metadata.row_group(0).column(0).total_uncompressed_size
    before = _varint(2 * size)
    assert before in content
    return content.replace(before, _varint(2 * claimed, len(before)))


def _varint(number: int, length: int = 0) -> bytes:
    """As Thrift writes it, in as many bytes or more."""
    parts = []
    while number or len(parts) < length or not parts:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(parts[:-1]) + bytes([parts[-1] & 0x7F])


def _damaged() -> Iterator[Any]:
    content = _file(_good(3))
    yield lambda: b"PAR1"
    yield lambda: b"PAR1PAR1"
    yield lambda: b"PARE" + content[4:-4] + b"PARE"
    yield lambda: content[:-8] + b"\xff\xff\xff\x7fPAR1"
    yield lambda: content[:-8] + b"\xff\xff\xff\xffPAR1"
    yield lambda: content[: len(content) // 2]
    drawn = random.Random(0)
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    for number in range(24):
        broken = bytearray(content)
        bounds = (4, footer) if number < 12 else (footer, len(content) - 8)
        for _ in range(1 + number % 3):
            broken[drawn.randrange(*bounds)] ^= 1 << drawn.randrange(8)
        yield functools.partial(bytes, broken)
