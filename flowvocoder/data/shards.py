"""Folders of shards: tar files in the layout of WebDataset, a JSON file about each, `index.json` about all.

docs/reference/formats.md describes the format. This module reads; `flowvocoder.prepare` writes.
"""

import dataclasses
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flowvocoder.errors import DataError
from flowvocoder.files import reason

FORMAT = 1
INDEX, PLAN = "index.json", "plan.json"


@dataclasses.dataclass(frozen=True)
class Shard:
    """One tar file and what is in it."""

    path: Path
    split: str
    lengths: npt.NDArray[np.int64]  # samples of each utterance, in their order


@dataclasses.dataclass(frozen=True)
class Member:
    """One utterance of a shard, as it is stored."""

    about: dict[str, Any]  # id, speaker, rate, samples, ...
    audio: bytes  # of a FLAC file
    mel: bytes | None  # of a .npy file


def is_shard_folder(path: Path) -> bool:
    """Whether `prepare` wrote this folder, or has started to."""
    return (path / PLAN).is_file() or (path / INDEX).is_file()


def open_shards(folder: Path) -> tuple[int, list[Shard]]:
    """(rate in Hz, shards in the order of their names).

    Raises:
        DataError: not finished, of a newer format, or damaged.
    """
    path = folder / INDEX
    if not path.is_file():
        raise DataError(f"{folder}: is not finished: run `flowvocoder prepare` again to continue")
    index = read_json(path)
    try:
        if index["format"] > FORMAT:
            raise DataError(f"{path}: has format {index['format']}, this version reads up to {FORMAT}")
        return int(index["settings"]["rate"]), [_open(folder, shard) for shard in index["shards"]]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: is damaged ({type(error).__name__}: {error})") from error


def read_members(path: Path) -> Iterator[Member]:
    """The utterances of a tar file, read from its start to its end.

    Raises:
        DataError: it cannot be read, or holds something else.
    """
    parts: dict[str, bytes] = {}
    current = ""
    try:
        with tarfile.open(path, "r:") as tar:
            for info in tar:
                key, _, extension = info.name.partition(".")
                if key != current and parts:
                    yield _member(parts)
                    parts = {}
                current = key
                file = tar.extractfile(info)
                parts[extension] = file.read() if file is not None else b""
        if parts:
            yield _member(parts)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({reason(error)})") from error
    except (tarfile.TarError, KeyError, ValueError) as error:
        raise DataError(f"{path}: is damaged ({type(error).__name__}: {error})") from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises DataError."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({reason(error)})") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is damaged (not JSON)") from error
    if not isinstance(values, dict):
        raise DataError(f"{path}: is damaged (not a JSON object)")
    return values


def _open(folder: Path, shard: dict[str, Any]) -> Shard:
    path = folder / f"{shard['name']}.tar"
    size = path.stat().st_size if path.is_file() else -1
    if size != shard["bytes"]:
        have = "is missing" if size < 0 else f"has {size} bytes"
        raise DataError(f"{path}: {have}, the index says {shard['bytes']}")
    about = path.with_suffix(".json")
    lengths = np.array(read_json(about)["lengths"], dtype=np.int64)
    if (len(lengths), int(lengths.sum())) != (shard["utterances"], shard["samples"]):
        have = f"{len(lengths)} utterances, {lengths.sum()} samples"
        raise DataError(f"{about}: tells of {have}, the index of {shard['utterances']} and {shard['samples']}")
    return Shard(path, shard["split"], lengths)


def _member(parts: dict[str, bytes]) -> Member:
    return Member(json.loads(parts["json"]), parts["flac"], parts.get("npy"))
