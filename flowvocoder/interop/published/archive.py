"""The two containers that `torch.save` writes: a zip archive (since PyTorch 1.6), and a stream of pickles before."""

import io
import struct
import zipfile
from pathlib import Path
from typing import IO, Any, TypeAlias

import torch
from torch import Tensor

from flowvocoder.errors import CheckpointError
from flowvocoder.files import reading
from flowvocoder.interop.published.pickles import StorageRecord, TensorRecord, read_pickle

MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of a stream
PROTOCOL = 1001  # the second
MAX_PICKLE = 64 * 2**20  # bytes

DTYPES = {
    "Float": torch.float32, "Double": torch.float64, "Half": torch.float16, "BFloat16": torch.bfloat16,
    "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
    "Bool": torch.bool,
}  # fmt: skip

Storages: TypeAlias = dict[str, Tensor]
"""Storages by key, each one-dimensional."""


def read_archive(path: Path) -> tuple[Any, Storages]:
    """What a file written by `torch.save` holds, as plain data and records, and its storages.

    Raises:
        CheckpointError: unreadable, truncated, not of PyTorch, or asking for what no checkpoint needs.
    """
    if not path.exists():
        raise CheckpointError(f"{path}: no such file")
    with reading(path, CheckpointError, "truncated or damaged"), path.open("rb") as file:
        start = file.read(4)
        file.seek(0)
        if start == b"PK\x03\x04":
            return _read_zip(path, file)
        if start[:1] == b"\x80":
            return _read_stream(path, file)
    raise CheckpointError(f"{path}: neither a zip archive nor a pickle: not a checkpoint of PyTorch")


def tensor(record: TensorRecord, storages: Storages) -> Tensor:
    """A copy of the numbers that a record describes."""
    if 0 in record.size:
        return torch.zeros(record.size)
    return storages[record.storage.key].as_strided(record.size, record.stride, record.offset).clone()


def _read_zip(path: Path, file: IO[bytes]) -> tuple[Any, Storages]:
    size = path.stat().st_size
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        total = sum(entry.file_size for entry in archive.infolist())
        if total > size or any(e.compress_type != zipfile.ZIP_STORED for e in entries.values()):
            raise CheckpointError(
                f"{path}: a zip of {size} bytes that unpacks to {total}: PyTorch never compresses, refused"
            )
        folder = next((name.removesuffix("data.pkl") for name in entries if name.endswith("/data.pkl")), None)
        if folder is None or entries[folder + "data.pkl"].file_size > MAX_PICKLE:
            raise CheckpointError(f"{path}: a zip archive, but not one of PyTorch: no data.pkl in it")
        order = folder + "byteorder"
        _check_byte_order(path, order not in entries or archive.read(order).strip() == b"little")
        content, records = read_pickle(io.BytesIO(archive.read(folder + "data.pkl")), path)
        data = {key: archive.read(f"{folder}data/{key}") for key in records}
    return content, {key: _numbers(path, records[key], data[key]) for key in records}


def _read_stream(path: Path, file: IO[bytes]) -> tuple[Any, Storages]:
    stream = _Limited(file, MAX_PICKLE)
    magic, _ = read_pickle(stream, path)
    if magic != MAGIC or read_pickle(stream, path)[0] != PROTOCOL:
        raise CheckpointError(f"{path}: a pickle, but not a checkpoint of PyTorch")
    system, _ = read_pickle(stream, path)
    _check_byte_order(path, isinstance(system, dict) and system.get("little_endian") is True)
    content, records = read_pickle(stream, path)
    keys, _ = read_pickle(stream, path)
    if not isinstance(keys, list) or not all(isinstance(k, str) for k in keys) or sorted(keys) != sorted(records):
        raise CheckpointError(f"{path}: damaged: the storages it lists are not those that its tensors need")
    size = path.stat().st_size
    storages = {}
    for key in keys:
        record, header = records[key], file.read(8)
        needed = record.count * _dtype(record).itemsize
        fits = header == struct.pack("<Q", record.count) and needed <= size - file.tell()
        storages[key] = _numbers(path, record, file.read(needed) if fits else b"")
    return content, storages


class _Limited:
    """A stream that yields at most `limit` bytes, whatever length a pickle states."""

    def __init__(self, file: IO[bytes], limit: int):
        self.file = file
        self.left = limit

    def read(self, size: int = -1, /) -> bytes:
        data = self.file.read(self.left if size < 0 else min(size, self.left))
        self.left -= len(data)
        return data

    def readline(self) -> bytes:
        data = self.file.readline(self.left)
        self.left -= len(data)
        return data


def _check_byte_order(path: Path, little: bool) -> None:
    if not little:
        raise CheckpointError(f"{path}: written on a big-endian machine, which is not supported")


def _numbers(path: Path, record: StorageRecord, data: bytes) -> Tensor:
    dtype = _dtype(record)
    if len(data) < record.count * dtype.itemsize:
        raise CheckpointError(
            f"{path}: truncated: storage {record.key[:40]!r} has {len(data)} bytes for {record.count} elements"
        )
    return torch.frombuffer(bytearray(data), dtype=dtype) if data else torch.zeros(0, dtype=dtype)


def _dtype(record: StorageRecord) -> torch.dtype:
    return DTYPES[record.kind.rpartition(".")[2].removesuffix("Storage")]
