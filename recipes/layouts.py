"""The layouts that corpora come in. Each reads text and names; recordings are opened later, by the driver."""

import dataclasses
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from flowvocoder.audio.files import EXTENSIONS
from flowvocoder.errors import DataError
from flowvocoder.files import reason
from recipes.facts import Report, Utterance

NAME_AND_TEXT = r"(?P<name>[^|]+)(?:(?:\|[^|]*)*\|(?P<text>[^|]*))?"
"""LJSpeech: `name|text|normalised text`, the last column is read; also a name alone."""

NAME_TEXT_NORMALISED = r"(?P<name>[^|]+)\|[^|]*\|(?P<text>[^|]*)(?:\|.*)?"
"""The third of three or more columns."""

NAME_COLON_TEXT = r"(?P<name>[^:]+):(?P<text>.*)"

FESTIVAL = r'\(\s*(?P<name>\S+)\s+"(?P<text>.*)"\s*\)'
"""`( name "text" )`."""


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines of a text file that are not empty, without their line feeds.

    Raises:
        DataError: the file cannot be read, or a line is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                try:
                    line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip("\r\n")
                except UnicodeDecodeError as error:
                    raise DataError(f"{path}: line {number}: not UTF-8 (byte {error.start} of the line)") from error
                if line.strip():
                    yield number, line
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({reason(error)})") from error


def find_audio(path: Path) -> Path | None:
    """`path` itself, or the same name with another audio extension."""
    if path.suffix.lower() in EXTENSIONS:
        if os.path.isfile(path):  # noqa: PTH113, unlike Path.is_file it takes names of any length
            return path
        path = path.with_suffix("")
    # A name may hold dots: what follows the last is no extension then.
    found = (path.with_name(path.name + suffix) for suffix in EXTENSIONS)
    return next((p for p in found if os.path.isfile(p)), None)  # noqa: PTH113


def without_extension(name: str) -> str:
    """`a/b.wav` -> `a/b`; dots that begin no audio extension stay."""
    return name[: -len(PurePosixPath(name).suffix)] if PurePosixPath(name).suffix.lower() in EXTENSIONS else name


def below(root: Path, path: Path) -> str:
    """`path` as patterns see it: with the name of `root` in front, / between folders."""
    return f"{root.absolute().name}/{path.relative_to(root).as_posix()}"


def hidden(root: Path, path: Path) -> bool:
    """What operating systems leave in archives: .DS_Store, ._name, __MACOSX."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.relative_to(root).parts)


def files(root: Path, *patterns: str) -> list[Path]:
    """Files that match one of the patterns, sorted, without hidden ones."""
    matches = {p for pattern in patterns for p in root.glob(pattern) if p.is_file() and not hidden(root, p)}
    return sorted(matches, key=lambda p: p.relative_to(root).as_posix())


def search(pattern: str | None, text: str) -> str | None:
    """The first group of a pattern found in `text`."""
    match = re.search(pattern, text) if pattern else None
    return match[1] if match else None


def official(splits: Mapping[str, str], text: str) -> str | None:
    """The split whose pattern is found in `text`."""
    return next((split for pattern, split in splits.items() if re.search(pattern, text)), None)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Text files with an utterance a line, and the recordings beside them.

    Args:
        tables: where the text files are, as globs.
        line: a line of them, a pattern with the groups `name` and `text`.
        audio: where a recording is, seen from its table's folder; its extension may be left out.
        speaker: pattern whose group is found in the table's path, which begins with the root's name.
        splits: pattern found in that path -> official split.
        folders: keep the table's folder in the utterance's name.
    """

    title: str = "LJSpeech-style metadata"
    tables: tuple[str, ...] = ("metadata.csv",)
    line: str = NAME_AND_TEXT
    audio: str = "wavs/{name}"
    speaker: str | None = None
    splits: Mapping[str, str] = dataclasses.field(default_factory=dict)
    folders: bool = False

    def found(self, root: Path) -> bool:
        tables = files(root, *self.tables) if root.is_dir() else []
        return any((table.parent / self.audio.format(name="x")).parent.is_dir() for table in tables)

    def read(self, root: Path, problem: Report) -> Iterator[Utterance]:
        for table in files(root, *self.tables):
            seen = below(root, table)
            speaker, split = search(self.speaker, seen), official(self.splits, seen)
            for number, line in lines(table):
                where = f"{table}: line {number}"
                name, text = self.parse(line, where)
                expected = table.parent / self.audio.format(name=name)
                audio = find_audio(expected)
                if audio is None:
                    problem(f"{where}: no recording {expected} for this line")
                    continue
                name = without_extension(name)
                if self.folders:
                    name = (table.parent.relative_to(root) / name).as_posix()
                yield Utterance(name, audio, speaker, text or None, split)

    def parse(self, line: str, where: str) -> tuple[str, str]:
        """Name and text of a line."""
        match = re.fullmatch(self.line, line.strip())
        if match is None:
            raise DataError(f"{where}: not a line of {self.title}: {line.strip()[:60]!r}")
        return match["name"].strip(), (match["text"] or "").strip()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class JsonTable(Table):
    """The same with a JSON object a line, as NeMo writes them; `line` names the text's field."""

    title: str = "JSON lines"
    line: str = "text"
    audio: str = "{name}"

    def parse(self, line: str, where: str) -> tuple[str, str]:
        try:
            values = json.loads(line)
            name, text = values["audio_filepath"], values.get(self.line) or ""
            if not (isinstance(name, str) and isinstance(text, str)):
                raise TypeError("audio_filepath and text must be strings")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(f"{where}: not a line of {self.title} with audio_filepath ({error})") from error
        return name, text.strip()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """Recordings, each with its text in a file of its own, or none.

    Args:
        audio: where the recordings are, as a glob.
        text: where the text is, seen from the root, with {folder}, {stem}, {speaker} and {group}; None: there is none.
        speaker, group: patterns whose group is found in the recording's path, which begins with the root's name.
        splits: pattern found in that path -> official split.
        folders: keep the folders in the utterance's name.
    """

    title: str = "a tree of recordings"
    audio: str = "**/*"
    text: str | None = None
    speaker: str | None = None
    group: str | None = None
    splits: Mapping[str, str] = dataclasses.field(default_factory=dict)
    folders: bool = False

    def found(self, root: Path) -> bool:
        return root.is_dir() and next(self._recordings(root), None) is not None

    def read(self, root: Path, problem: Report) -> Iterator[Utterance]:
        for audio in sorted(self._recordings(root), key=lambda p: p.relative_to(root).as_posix()):
            relative = audio.relative_to(root)
            seen = below(root, audio)
            name = relative.with_suffix("").as_posix() if self.folders else audio.stem
            speaker, group = search(self.speaker, seen), search(self.group, seen)
            text = None
            if self.text is not None:
                place = {"folder": relative.parent.as_posix(), "stem": audio.stem, "speaker": speaker, "group": group}
                file = root / self.text.format(**place)
                # Some corpora lost a few texts; a vocoder does without.
                text = " ".join(line.strip() for _, line in lines(file)) if file.is_file() else None
            yield Utterance(name, audio, speaker, text or None, official(self.splits, seen), group)

    def _recordings(self, root: Path) -> Iterator[Path]:
        return (
            p for p in root.glob(self.audio) if p.suffix.lower() in EXTENSIONS and p.is_file() and not hidden(root, p)
        )
