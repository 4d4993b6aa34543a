"""Manifests: JSON Lines, one utterance a line. docs/reference/formats.md describes the format."""

import dataclasses
import functools
import json
import os
import re
import types
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flowvocoder.data.splits import SPLITS, hash_of
from flowvocoder.errors import DataError
from flowvocoder.files import reason, sha256_of, writing

LARGEST = 2**53
"""Bound on every number, so that sums and byte counts stay exact wherever they are computed."""


RECENT = 50_000
"""Ids that `Seen` holds as Python objects before it packs them."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a manifest: a recording, or a stretch of one."""

    id: str  # unique in the manifest; by custom corpus/name, with / only
    path: str  # of the audio, relative to the manifest's folder, or absolute
    start: int = 0  # samples
    duration: int  # samples
    rate: int  # Hz
    speaker: str
    language: str
    text: str | None = None
    sha256: str  # of the whole file, hexadecimal
    split: str  # one of SPLITS
    mel: str | None = None  # .npy of a mel to train on instead of the audio's own; relative as `path`

    def __post_init__(self) -> None:
        """Raises DataError, without a file's name: the reader adds it."""
        problem = self._wrong_kind() or self._wrong_value()
        if problem:
            raise DataError(problem)

    def _wrong_kind(self) -> str | None:
        for name, kinds in _KINDS.items():
            value = getattr(self, name)
            if type(value) not in kinds:
                expected = " or ".join(_WORDS[k] for k in kinds)
                return f"{name} must be {expected}, not {json.dumps(value, default=str)[:40]}"
        return None

    def _wrong_value(self) -> str | None:
        if not self.id or not self.id.isprintable():
            return f"id {self.id!r} is empty or holds control characters"
        if not self.path or "\0" in self.path or "\0" in (self.mel or ""):
            return "path or mel is empty or holds a zero byte"
        if not 0 <= self.start < LARGEST:
            return f"start must be 0 or more samples, not {self.start}"
        if not 0 < self.duration < LARGEST:
            return f"duration must be 1 or more samples, not {self.duration}"
        if not 0 < self.rate < LARGEST:
            return f"rate must be 1 Hz or more, not {self.rate}"
        if not _SHA256(self.sha256):
            return f"sha256 must be 64 hexadecimal digits in lower case, not {self.sha256[:70]!r}"
        if self.split not in SPLITS:
            return f"split must be one of {', '.join(SPLITS)}, not {self.split!r}"
        return None

    def audio_file(self, folder: Path) -> Path:
        """Where the audio is, given the manifest's folder."""
        return folder / self.path

    def mel_file(self, folder: Path) -> Path | None:
        """Where the mel is, if there is one."""
        return None if self.mel is None else folder / self.mel

    def is_unchanged(self, folder: Path) -> bool:
        """Whether the audio file is still the one `sha256` was taken of. Raises OSError."""
        return cached_sha256(self.audio_file(folder)) == self.sha256

    def to_json(self) -> str:
        """The line, without its line feed; fields at their default are left out."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        kept = {k: v for k, v in values.items() if _DEFAULTS.get(k, dataclasses.MISSING) != v}
        return json.dumps(kept, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Entry":
        """Raises DataError, without a file's name: the reader adds it."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"not JSON ({error})") from error
        if not isinstance(values, dict):
            raise DataError("not a JSON object")
        missing = [name for name in _KINDS if name not in values and name not in _DEFAULTS]
        if missing:
            raise DataError(f"no {', '.join(missing)}")
        unknown = [name for name in values if name not in _KINDS]
        if unknown:
            raise DataError(f"unknown field {', '.join(map(repr, unknown))[:100]}")
        return cls(**values)


class Seen:
    """Which ids came by already: 8 bytes of hash each, so that a million ids are no million strings.

    Two different ids of a million share a hash with a probability of 3e-8.
    """

    def __init__(self) -> None:
        self._recent: set[int] = set()
        self._sorted: npt.NDArray[np.uint64] = np.empty(0, dtype=np.uint64)

    def add(self, utterance_id: str) -> bool:
        """Whether it is new."""
        key = hash_of(utterance_id)
        if key in self._recent or self._is_packed(key):
            return False
        self._recent.add(key)
        if len(self._recent) > RECENT:
            recent = np.fromiter(self._recent, dtype=np.uint64, count=len(self._recent))
            self._sorted = np.union1d(self._sorted, recent)
            self._recent.clear()
        return True

    def _is_packed(self, key: int) -> bool:
        place = int(self._sorted.searchsorted(np.uint64(key)))
        return place < len(self._sorted) and int(self._sorted[place]) == key


def path_from(folder: Path, file: Path) -> str:
    """What a manifest in `folder` says of a file.

    A relative path to one below the folder, or below the folder around it: they move together. Else an absolute path.
    """
    file = file.parent.resolve() / file.name  # `..` leads out of where a linked folder really is
    relative = Path(os.path.relpath(file, folder.resolve()))
    return (file if relative.parts[:2] == ("..", "..") else relative).as_posix()


def read_manifest(path: Path) -> Iterator[Entry]:
    """The entries in the order of the file, read one by one. Empty lines are skipped.

    Raises:
        DataError: the file cannot be read or is not UTF-8, a line is no entry, or an id comes twice; the message names
            the line.
    """
    for line in read_lines(path):
        yield line.entry


class Line(typing.NamedTuple):
    """An entry and where it stands."""

    entry: Entry
    number: int  # from 1
    offset: int  # byte at which it starts, for `entry_at`


def read_lines(path: Path) -> Iterator[Line]:
    """The same with where each entry stands."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise DataError(f"{path}: is a pipe or device, and manifests are read more than once: save it in a file")
    seen, offset = Seen(), 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                here, offset = offset, offset + len(line)
                if not line.strip():
                    continue
                try:
                    entry = _parse(line)
                    if not seen.add(entry.id):
                        raise DataError(f"id {entry.id!r} comes a second time")
                except DataError as error:
                    raise DataError(f"{path}: line {number}: {error}") from error
                yield Line(entry, number, here)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({reason(error)})") from error


def number_of_lines(path: Path) -> int | None:
    """How many lines hold something, for progress; None where reading them will say what is wrong."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            return sum(1 for line in file if line.strip())
    except OSError:
        return None


def entry_at(path: Path, file: typing.BinaryIO, offset: int) -> Entry:
    """The entry whose line starts at byte `offset` of the open manifest `file`. Raises DataError: it has changed."""
    file.seek(offset)
    try:
        return _parse(file.readline())
    except DataError as error:
        raise DataError(f"{path}: byte {offset}: {error}: was it changed meanwhile?") from error


def write_manifest(path: Path, entries: Iterable[Entry]) -> int:
    """Write entries as they come; the file is there when all are. Returns how many there were.

    Raises:
        DataError: an id comes twice, or holds what UTF-8 cannot.
        OutputError: the file cannot be written.
    """
    seen, count = Seen(), 0
    with writing(path) as temporary, temporary.open("wb") as file:
        for count, entry in enumerate(entries, 1):
            try:
                line = entry.to_json().encode() + b"\n"
            except UnicodeEncodeError as error:
                raise DataError(f"{path}: line {count}: {entry.path!r} is no UTF-8 text") from error
            if not seen.add(entry.id):
                raise DataError(f"{path}: line {count}: id {entry.id!r} comes a second time")
            file.write(line)
    return count


def _parse(line: bytes) -> Entry:
    try:
        return Entry.from_json(line.removeprefix(b"\xef\xbb\xbf").decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 (byte {error.start})") from error


def cached_sha256(path: Path) -> str:
    """SHA-256 of a file, kept until it changes: many stretches of one long recording read it once. Raises OSError."""
    state = path.stat()
    return _sha256_of_state(path, state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=1024)
def _sha256_of_state(path: Path, size: int, changed: int) -> str:
    return sha256_of(path)


def _kinds(hint: Any) -> tuple[type, ...]:
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


_KINDS = {name: _kinds(hint) for name, hint in typing.get_type_hints(Entry).items()}
_DEFAULTS = {f.name: f.default for f in dataclasses.fields(Entry) if f.default is not dataclasses.MISSING}
_SHA256 = re.compile("[0-9a-f]{64}").fullmatch
_WORDS = {str: "a string", int: "a whole number", type(None): "null"}
