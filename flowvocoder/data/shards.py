"""Folders of shards: tar files in the layout of WebDataset, a JSON file about each, `index.json` about all.

docs/reference/formats.md describes the format. This module reads; `flowvocoder.prepare` writes.
"""

import dataclasses
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flowvocoder.data.manifest import LARGEST
from flowvocoder.errors import DataError
from flowvocoder.files import read_json, reading
from flowvocoder.tars import members

FORMAT = 2
"""The newest that is read. 1 has FLAC alone."""

AUDIO = "flac", "opus", "ogg"
"""File name extensions of audio in a shard."""

INDEX, PLAN = "index.json", "plan.json"
DAMAGED = "is damaged"


@dataclasses.dataclass(frozen=True)
class Shard:
    """One tar file and what is in it."""

    path: Path
    split: str
    lengths: npt.NDArray[np.int64]  # samples of each utterance, in their order
    sha256: str  # of the tar file
    speakers: tuple[str, ...] = ()  # of each utterance; () where an earlier version did not write them

    @property
    def voices(self) -> list[str]:
        """The speaker of each utterance among those of all corpora; where none is known, the folder is one."""
        folder = self.path.resolve().parent.name
        return [f"{folder}/{speaker}" if speaker else folder for speaker in self.speakers or [""] * len(self.lengths)]


@dataclasses.dataclass(frozen=True)
class Member:
    """One utterance of a shard, as it is stored."""

    about: dict[str, Any]  # id, speaker, rate, samples, ...
    audio: bytes  # of a file
    extension: str  # of that file, one of AUDIO
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
    index = read_json(path, DataError)
    with reading(path, DataError, DAMAGED):
        if index["format"] > FORMAT:
            raise DataError(f"{path}: has format {index['format']}, this version reads up to {FORMAT}")
        return int(index["settings"]["rate"]), [_open(folder, shard) for shard in index["shards"]]


def read_members(shard: Shard) -> Iterator[Member]:
    """The utterances of a shard, read from its start to its end.

    The whole file is hashed first, which takes a few milliseconds for ten megabytes.

    Raises:
        DataError: it cannot be read, has changed since it was written, or holds something else.
    """
    path = shard.path
    parts: dict[str, bytes] = {}
    current = ""
    with reading(path, DataError, DAMAGED), path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != shard.sha256:
            raise DataError(f"{path}: was altered: its SHA-256 is not the one that {INDEX} states")
        for name, content in members(file, path, DataError):
            key, _, extension = name.partition(".")
            if key != current and parts:
                yield _member(parts)
                parts = {}
            current = key
            parts[extension] = content.read()
        if parts:
            yield _member(parts)


def _open(folder: Path, shard: dict[str, Any]) -> Shard:
    path = folder / f"{shard['name']}.tar"
    size = path.stat().st_size if path.is_file() else -1
    if size != shard["bytes"]:
        have = "is missing" if size < 0 else f"has {size} bytes"
        raise DataError(f"{path}: {have}, the index says {shard['bytes']}")
    about = path.with_suffix(".json")
    told = read_json(about, DataError)
    lengths = np.array([_length(value) for value in told["lengths"]], dtype=np.int64)
    speakers = tuple(sys.intern(str(speaker)) for speaker in told.get("speakers", ()))
    if (len(lengths), int(lengths.sum())) != (shard["utterances"], shard["samples"]):
        have = f"{len(lengths)} utterances, {lengths.sum()} samples"
        raise DataError(f"{about}: tells of {have}, the index of {shard['utterances']} and {shard['samples']}")
    if speakers and len(speakers) != len(lengths):
        raise DataError(f"{about}: tells of {len(lengths)} utterances and {len(speakers)} speakers")
    return Shard(path, str(shard["split"]), lengths, str(shard["sha256"]), speakers)


def _length(value: Any) -> int:
    if type(value) is not int or not 0 < value < LARGEST:
        raise ValueError(f"a length of {str(value)[:20]} samples")
    return value


def _member(parts: dict[str, bytes]) -> Member:
    extension = next((name for name in AUDIO if name in parts), AUDIO[0])
    return Member(json.loads(parts["json"]), parts[extension], extension, parts.get("npy"))
