"""Shards of mels, which a stranger may have made: tar files in the layout of WebDataset, and Parquet files."""

import contextlib
import functools
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple, TypeAlias

from flowvocoder.errors import MelError
from flowvocoder.extras import library
from flowvocoder.files import reading, reason, writing
from flowvocoder.mel.arrays import MOST_VALUES, Array, read_npy
from flowvocoder.mel.thrift import Thrift
from flowvocoder.tars import add_member, members

SUFFIXES = (".tar", ".parquet")

MEL, AUDIO = "mel", "audio"
"""Columns of Parquet files."""

MOST_IN_GROUP = MOST_VALUES
"""Values of a column in a Parquet file's row group, since a single row may have them all."""

MOST_FOOTER = 2**24
"""Bytes of what describes a Parquet file's columns: of a row group with one of them, some hundred."""

MOST_PAGE_HEAD = 2**20
"""Bytes of what a page says of itself: of one with its statistics, some hundred."""

Speak: TypeAlias = Callable[[Array, Path], bytes]
"""A `.wav` file's content of an array that should be a mel. The path is for messages."""


class Spoken(NamedTuple):
    """How many recordings a shard now has, and why the other mels have none."""

    written: int
    refused: list[str]


def speak_shard(path: Path, output: Path, speak: Speak) -> Spoken:
    """Write a shard of recordings from one of mels, of its kind. Memory is that of one mel and its recording.

    In a tar file each `NAME.npy` gives a `NAME.wav`; other members are passed over. In a Parquet file the column `mel`,
    or the only one of that kind, gives the column `audio` as the library `datasets` has it, of bytes and a path; other
    columns stay. A row of mel holds lists of numbers, a list for each band, or the content of a `.npy` file.

    Raises:
        MelError: unreadable, damaged, without mels, or none of them can be spoken.
        OutputError: it cannot be written.
        ConfigError: a Parquet file without the library to read it.
    """
    refused: list[str] = []

    def attempt(mel: Callable[[], Array], name: str) -> bytes | None:
        try:
            return speak(mel(), path / name)
        except MelError as error:
            refused.append(str(error))
            return None

    with writing(output) as temporary:
        written = (_tar if path.suffix.lower() == ".tar" else _parquet)(path, temporary, attempt)
        if not written:
            raise MelError(refused[0] if refused else f"{path}: holds no mels")
    return Spoken(written, refused)


_Attempt: TypeAlias = Callable[[Callable[[], Array], str], bytes | None]


def _tar(path: Path, output: Path, attempt: _Attempt) -> int:
    written = 0
    with _opened(path) as file, tarfile.open(output, "w", format=tarfile.PAX_FORMAT) as spoken:
        found = members(file, path, MelError)
        while True:
            with reading(path, MelError, "not a tar file, or damaged"):
                member = next(found, None)
            if member is None:
                return written
            name = PurePosixPath(member[0])
            if name.suffix != ".npy":
                continue
            if name.is_absolute() or ".." in name.parts:
                raise MelError(f"{path}: has a member {str(name)[:60]!r}, which is outside of any folder")
            audio = attempt(functools.partial(read_npy, member[1], path / name), str(name))
            if audio is not None:
                add_member(spoken, str(name.with_suffix(".wav")), audio)
                written += 1


def _parquet(path: Path, output: Path, attempt: _Attempt) -> int:
    arrow, parquet = library("pyarrow", "parquet"), library("pyarrow.parquet", "parquet")
    written = number = 0
    with _opened(path) as opened:
        with reading(path, MelError, "not a Parquet file"):
            file = parquet.ParquetFile(opened, buffer_size=2**20)
            column = _column(path, file.schema_arrow)
            _check_claims(path, opened)
        audio = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
        place = file.schema_arrow.get_field_index(column)
        schema = file.schema_arrow.set(place, arrow.field(AUDIO, audio)).remove_metadata()
        rows = file.iter_batches(batch_size=1)
        with parquet.ParquetWriter(output, schema) as spoken:
            while True:
                with reading(path, MelError, "damaged"):
                    row = next(rows, None)
                if row is None:
                    return written
                name = f"row {number}"
                content = attempt(functools.partial(_of_row, path / name, row.column(place)), name)
                if content is not None:
                    columns = row.columns
                    columns[place] = arrow.array([{"bytes": content, "path": f"{number:09d}.wav"}], audio)
                    spoken.write_batch(arrow.record_batch(columns, schema=schema))
                    written += 1
                number += 1


def _opened(path: Path) -> contextlib.AbstractContextManager[io.BufferedReader]:
    if not path.is_file():
        raise MelError(f"{path}: {'not a regular file' if path.exists() else 'no such file'}")
    try:
        return path.open("rb")
    except OSError as error:
        raise MelError(f"{path}: cannot be read ({reason(error)})") from error


def _column(path: Path, schema: Any) -> str:
    """The column of mels."""
    if AUDIO in schema.names:
        raise MelError(f"{path}: has a column {AUDIO!r} already")
    fitting = [field.name for field in schema if _is_nested(field.type) or _is_binary(field.type)]
    if fitting.count(MEL) == 1 or len(fitting) == 1:
        return MEL if MEL in fitting else str(fitting[0])
    raise MelError(f"{path}: expected a column {MEL!r} of lists of lists of numbers, or of .npy files; there are"
                   f" {', '.join(str(name)[:40] for name in schema.names[:8]) or 'none'}")  # fmt: skip


def _is_nested(kind: Any) -> bool:
    types = library("pyarrow.types", "parquet")

    def is_list(kind: Any) -> bool:
        return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))

    kind = getattr(kind, "storage_type", kind)
    return is_list(kind) and is_list(kind.value_type) and bool(types.is_floating(kind.value_type.value_type))


def _is_binary(kind: Any) -> bool:
    types = library("pyarrow.types", "parquet")
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _check_claims(path: Path, file: IO[bytes]) -> None:
    """Refuse row groups that may need more memory than a mel, before one is read."""
    file.seek(-8, os.SEEK_END)
    length = int.from_bytes(file.read(4), "little")
    if length > MOST_FOOTER:
        raise MelError(f"{path}: describes its columns in {length} bytes, at most {MOST_FOOTER} are read")
    file.seek(-8 - length, os.SEEK_END)
    about = Thrift(file.read(length)).struct()
    for number, group in enumerate(about[_ROW_GROUPS]):
        for chunk in group[_COLUMNS]:
            values, size = chunk[_ABOUT][_VALUES], chunk[_ABOUT][_BYTES]
            if values > MOST_IN_GROUP or size > 4 * MOST_IN_GROUP:
                raise MelError(f"{path}: row group {number} claims {values} values in {size} bytes, at most"
                               f" {MOST_IN_GROUP} values of 4 bytes are read: write fewer rows in each")  # fmt: skip
            _check_pages(path, file, chunk[_ABOUT])


_ROW_GROUPS, _COLUMNS, _ABOUT, _VALUES, _BYTES, _PACKED, _DATA, _DICTIONARY = 4, 1, 3, 5, 6, 7, 9, 11
"""Numbers of fields in a Parquet file's footer, as parquet.thrift has them."""


def _check_pages(path: Path, file: IO[bytes], about: dict[int, Any]) -> None:
    """Refuse pages that unpack to more than the footer says of their column: the library believes the pages."""
    at, size, values = about[_DATA], 0, 0
    at = min(at, about.get(_DICTIONARY) or at)
    end = at + about[_PACKED]
    while at < end:
        head, length = _page_head(file, at)
        size += head[_PAGE_BYTES]
        values += head.get(_PAGE, head.get(_PAGE_2, {})).get(1, 0)
        if not 0 <= head[_PAGE_BYTES] <= size <= about[_BYTES] or values > about[_VALUES] or head[_PAGE_PACKED] < 0:
            raise MelError(f"{path}: has pages of {values} values in {size} bytes where its footer claims"
                           f" {about[_VALUES]} in {about[_BYTES]}")  # fmt: skip
        at += length + head[_PAGE_PACKED]


def _page_head(file: IO[bytes], at: int) -> tuple[dict[int, Any], int]:
    """What a page says of itself, and in how many bytes."""
    for most in (1024, MOST_PAGE_HEAD):
        file.seek(at)
        thrift = Thrift(file.read(most))
        with contextlib.suppress(LookupError):
            return thrift.struct(), thrift.read
    raise ValueError("the head of a page is damaged")


_PAGE_BYTES, _PAGE_PACKED, _PAGE, _PAGE_2 = 2, 3, 5, 8
"""Numbers of fields in the head of a page."""


def _of_row(where: Path, column: Any) -> Array:
    """The array in a column of one row."""
    cell = (column.storage if hasattr(column, "storage") else column)[0]
    if not cell.is_valid:
        raise MelError(f"{where}: has no mel")
    if _is_binary(column.type):
        return read_npy(library("pyarrow", "parquet").BufferReader(cell.as_buffer()), where)
    with reading(where, MelError, "no list of lists of numbers, all as long"):
        numbers = cell.values.flatten()
        if len(numbers) > MOST_VALUES:
            raise MelError(f"{where}: holds {len(numbers)} values, at most {MOST_VALUES} are read")
        lengths = library("pyarrow.compute", "parquet").list_value_length(cell.values).unique()
        missing = numbers.null_count + lengths.null_count
        if len(lengths) != 1 or missing:
            raise ValueError(f"{len(lengths)} lengths, {missing} missing")
        array: Array = numbers.to_numpy(zero_copy_only=False).reshape(len(cell.values), -1)
        return array
