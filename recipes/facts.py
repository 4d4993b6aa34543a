"""What a recipe is: facts about a corpus, and nothing that runs."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol


@dataclasses.dataclass(frozen=True, slots=True)
class Utterance:
    """One utterance as a corpus's own files describe it."""

    name: str  # unique within its part of the corpus
    audio: Path
    speaker: str | None = None  # None: the part's
    text: str | None = None
    split: str | None = None  # the official one; None: by hash
    group: str | None = None  # several takes of one sentence share it, and so their split; None: the name
    start: float = 0.0  # seconds
    end: float | None = None  # seconds; None: the end of the recording
    language: str | None = None  # None: the part's


Report = Callable[[str], None]
"""Takes one sentence about something wrong; may raise DataError or return."""


class Layout(Protocol):
    """How a corpus is laid out below one folder."""

    @property
    def title(self) -> str:
        """What it is, in a few words."""

    def found(self, root: Path) -> bool:
        """Whether `root` looks like this layout."""

    def read(self, root: Path, problem: Report) -> Iterator[Utterance]:
        """Every utterance, in the same order everywhere; `problem` gets a sentence about each missing recording."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """One file to download.

    `checksum` is `sha256:...` or `md5:...` as published, None where nobody publishes one.
    """

    url: str
    checksum: str | None = None
    size: str  # as published, for people to read
    name: str = ""  # of the downloaded file, where the URL does not end in one

    @property
    def file(self) -> str:
        """Name of the downloaded file."""
        return self.name or self.url.rsplit("/", 1)[1]

    @property
    def stem(self) -> str:
        """The name without .zip, .tgz, .tar.gz, .tar.bz2."""
        for suffix in (".zip", ".tgz", ".tar.gz", ".tar.bz2", ".tar"):
            if self.file.endswith(suffix):
                return self.file.removesuffix(suffix)
        return self.file


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A piece of a corpus that one may want without the others: a subset, a language, a voice."""

    name: str
    archive: Archive | None  # None: nothing to download, the user has it
    folder: str = ""  # in the archive, where the layout begins
    layouts: tuple["Layout", ...] = ()  # by default the recipe's
    speaker: str | None = None  # where the layout names none; by default the recipe's name
    language: str | None = None  # by default the recipe's


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A corpus. Hours and sizes are the publishers' figures, rounded."""

    name: str
    title: str
    homepage: str
    licence: str
    language: str  # ISO 639-1; "und" where it is not known
    hours: str
    speakers: str
    rate: str  # Hz
    parts: tuple[Part, ...]
    default: tuple[str, ...] = ()  # parts prepared where none is named; all by default
    layouts: tuple["Layout", ...] = ()  # tried in this order
    known_gaps: bool = False  # the publisher says that some recordings its metadata names are missing
    note: str = ""
