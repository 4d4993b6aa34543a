"""Layouts of other toolkits that people's own recordings come in: Kaldi folders, NVIDIA's file lists, Lhotse's cuts."""

import dataclasses
import gzip
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flowvocoder.data.splits import SPLITS as MANIFEST_SPLITS
from flowvocoder.errors import DataError
from flowvocoder.files import reading
from recipes.facts import Report, Utterance
from recipes.layouts import files, find_audio, lines, official, without_extension

SPLITS = {
    r"(?:^|[^a-z])(?:val|valid|validation|dev)(?:[^a-z]|$)": "validation",
    r"(?:^|[^a-z])(?:test|eval)(?:[^a-z]|$)": "test",
    r"(?:^|[^a-z])train(?:ing)?(?:[^a-z]|$)": "train",
}
"""Words in the names of lists and folders; a word ends where the letters end."""


PATTERNS = "*cuts*.jsonl.gz", "*cuts*.jsonl"

LONGEST_LINE = 2**24
"""Bytes: a file of some kilobytes can unpack to a line of gigabytes."""


@dataclasses.dataclass(frozen=True, slots=True)
class Kaldi:
    """`wav.scp` (utterance or recording, path), and beside it `segments`, `utt2spk` and `text` where they are.

    Several such folders (`train`, `dev`, `test`) below one are read together, and give the split by their names.
    """

    title: str = "Kaldi data folder"

    def found(self, root: Path) -> bool:
        return root.is_dir() and bool(files(root, "wav.scp", "*/wav.scp"))

    def read(self, root: Path, problem: Report) -> Iterator[Utterance]:
        for scp in files(root, "wav.scp", "*/wav.scp"):
            # The root's own name says nothing of a split: it is the corpus's.
            split = official(SPLITS, scp.relative_to(root).parent.as_posix().lower())
            speakers, texts = (_column(scp.with_name(name)) for name in ("utt2spk", "text"))
            recordings = dict(self._recordings(scp, problem))
            segments = scp.with_name("segments")
            if not segments.is_file():
                for name, audio in recordings.items():
                    if audio is not None:
                        yield Utterance(name, audio, speakers.get(name), texts.get(name) or None, split)
                continue
            for where, (name, recording, start, end) in _fields(segments, 4, "UTTERANCE RECORDING START END"):
                if recording not in recordings:
                    raise DataError(f"{where}: recording {recording!r} is not in {scp}")
                audio = recordings[recording]
                if audio is None:
                    continue
                first, last = _seconds(start, where), _seconds(end, where)
                if last == -1:  # Kaldi's way to say: up to the end
                    stop = None
                elif last > first >= 0:
                    stop = last
                else:
                    raise DataError(f"{where}: a segment from {start} to {end} seconds holds nothing")
                yield Utterance(
                    name, audio, speakers.get(name), texts.get(name) or None, split, None, max(first, 0.0), stop
                )

    @staticmethod
    def _recordings(scp: Path, problem: Report) -> Iterator[tuple[str, Path | None]]:
        for where, (name, place) in _fields(scp, 2, "NAME PATH"):
            if place.endswith("|"):
                raise DataError(f"{where}: {place[:60]!r} is a command; write its audio to a file and name that here")
            audio = find_audio(scp.parent / place) or find_audio(Path(place))
            if audio is None:
                problem(f"{where}: no recording {scp.parent / place} for this line")
            yield name, audio


@dataclasses.dataclass(frozen=True, slots=True)
class FileList:
    """NVIDIA's file lists: `path|text` or `path|text|speaker` a line, the split by the list's name.

    A path is looked for beside the list, in the folders above it and below the current folder; its first folder may be
    a placeholder (`DUMMY/`) and its extension may be missing.
    """

    title: str = "NVIDIA file list"

    def found(self, root: Path) -> bool:
        return bool(self._lists(root))

    def read(self, root: Path, problem: Report) -> Iterator[Utterance]:
        for path in self._lists(root):
            split = official(SPLITS, path.stem.lower())
            for number, line in lines(path):
                where = f"{path}: line {number}"
                name, *rest = (column.strip() for column in line.split("|"))
                text, speaker = [*rest, "", ""][:2]
                audio = self._audio(path, name)
                if audio is None:
                    problem(f"{where}: no recording {name!r} beside the list, above it or below the current folder")
                    continue
                yield Utterance(without_extension(name).strip("/"), audio, speaker or None, text or None, split)

    @staticmethod
    def _lists(root: Path) -> list[Path]:
        if root.is_file():
            return [root] if root.suffix in (".txt", ".csv", ".list") else []
        return files(root, "*filelist*.txt", "filelists/*.txt") if root.is_dir() else []

    @staticmethod
    def _audio(path: Path, name: str) -> Path | None:
        names = [name, name.partition("/")[2]] if "/" in name else [name]
        folders = (path.parent, path.parent / "wavs", *path.absolute().parents[1:4], Path.cwd())
        return next((found for n in names if n for f in folders if (found := find_audio(f / n))), None)


@dataclasses.dataclass(frozen=True, slots=True)
class Cuts:
    """A `CutSet` of `MonoCut` as JSON Lines, packed with gzip or not.

    The split is what `corpus export` noted, else by the file's name.

    A path is looked for where it says, and below the folder of the cuts.
    """

    title: str = "Lhotse cuts"

    def found(self, root: Path) -> bool:
        return bool(self._files(root))

    def read(self, root: Path, problem: Report) -> Iterator[Utterance]:
        for path in self._files(root):
            split = official(SPLITS, path.name.lower())
            for number, line in _packed_lines(path):
                where = Path(f"{path}: line {number}")
                with reading(where, DataError, "no cut of one recording"):
                    cut = _cut(where, json.loads(line))
                    audio = find_audio(path.parent / cut.audio) or find_audio(cut.audio)
                if audio is None:
                    problem(f"{where}: no recording {path.parent / cut.audio} for this cut")
                    continue
                yield dataclasses.replace(cut, audio=audio, split=cut.split or split)

    @staticmethod
    def _files(root: Path) -> list[Path]:
        if root.is_file():
            return [root] if root.name.endswith((".jsonl", ".jsonl.gz")) else []
        return files(root, *PATTERNS) if root.is_dir() else []


def _column(path: Path) -> dict[str, str]:
    """The second column, to the line's end, by the first; empty where the file is not there."""
    return {name: rest for _, (name, rest) in _fields(path, 2, "NAME VALUE")} if path.is_file() else {}


def _fields(path: Path, count: int, form: str) -> Iterator[tuple[str, list[str]]]:
    """Columns of a Kaldi table, divided by white space, each with the place it was read from."""
    for number, line in lines(path):
        fields = line.strip().split(maxsplit=count - 1)
        if len(fields) == 1 and path.name == "text":
            fields.append("")
        if len(fields) != count:
            raise DataError(f"{path}: line {number}: expected {form}, not {line.strip()[:60]!r}")
        yield f"{path}: line {number}", fields


def _seconds(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{where}: {text!r} is no time in seconds")
    return value


def _packed_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with reading(path, DataError, "is damaged"), (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE), b""), 1):
            if len(line) == LONGEST_LINE:
                raise DataError(f"{path}: line {number} has {LONGEST_LINE} bytes or more")
            if line.strip():
                yield number, line


def _cut(where: Path, cut: dict[str, Any]) -> Utterance:
    """With the path that it states. Raises DataError: it is of another kind."""
    if cut["type"] != "MonoCut":
        raise DataError(f"{where}: is a {str(cut['type'])[:40]}; only cuts of one recording (MonoCut) are read")
    (source,) = cut["recording"]["sources"]
    if source["type"] != "file":
        raise DataError(f"{where}: its audio comes from a {str(source['type'])[:40]}; save it as a file")
    spoken = cut.get("supervisions") or [{}]
    speaker, language = (str(spoken[0].get(key) or "") or None for key in ("speaker", "language"))
    text = " ".join(str(one.get("text") or "") for one in spoken).strip()
    split = (cut.get("custom") or {}).get("split")
    start, duration = float(cut["start"]), float(cut["duration"])
    if not (math.isfinite(start + duration) and start >= 0.0 and duration > 0.0):
        raise DataError(f"{where}: a cut from {start} of {duration} seconds holds nothing")
    return Utterance(str(cut["id"]), Path(source["source"]), speaker, text or None,
                     split if split in MANIFEST_SPLITS else None, None, start, start + duration, language)  # fmt: skip
