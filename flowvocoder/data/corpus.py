"""Finding the recordings of a corpus, and which of them are held out."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from flowvocoder.audio import EXTENSIONS
from flowvocoder.data.manifest import hash_of, is_held_out
from flowvocoder.errors import AudioError


@dataclasses.dataclass(frozen=True)
class Utterance:
    """One recording: its id (corpus/file stem) and where it is."""

    id: str
    path: Path


def find_utterances(root: Path) -> list[Utterance]:
    """Recordings of a folder in LJSpeech layout (`metadata.csv` and `wavs/`) or of any folder tree of audio.

    Raises:
        AudioError: no such folder, no audio in it, or a recording that metadata.csv names is missing.
    """
    if not root.is_dir():
        raise AudioError(f"{root}: no such folder")
    corpus = root.resolve().name
    metadata = root / "metadata.csv"
    if metadata.is_file() and (root / "wavs").is_dir():
        found = _ljspeech(root, metadata)
    else:
        found = sorted(p for p in root.rglob("*") if p.suffix.lower() in EXTENSIONS and not p.name.startswith("."))
    if not found:
        raise AudioError(f"{root}: no audio files ({', '.join(EXTENSIONS)})")
    wavs = root / "wavs"
    base = wavs if all(p.is_relative_to(wavs) for p in found) else root
    return [Utterance(f"{corpus}/{p.relative_to(base).with_suffix('').as_posix()}", p) for p in found]


def split(utterances: Sequence[Utterance]) -> tuple[list[Utterance], list[Utterance]]:
    """(training, validation). Where the hash holds out none of two or more utterances, it chooses one."""
    held_out = [u for u in utterances if is_held_out(u.id)]
    if not held_out and len(utterances) > 1:
        held_out = [min(utterances, key=lambda u: hash_of(u.id))]
    chosen = {u.id for u in held_out}
    return [u for u in utterances if u.id not in chosen], held_out


def _ljspeech(root: Path, metadata: Path) -> list[Path]:
    by_stem = {p.stem: p for p in sorted((root / "wavs").iterdir()) if p.suffix.lower() in EXTENSIONS}
    found = []
    try:
        with metadata.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                name = line.rstrip("\n").split("|")[0]
                if not name:
                    continue
                if name not in by_stem:
                    raise AudioError(f"{metadata}: line {number}: no recording wavs/{name}.* for this id")
                found.append(by_stem[name])
    except UnicodeDecodeError as error:
        raise AudioError(f"{metadata}: not UTF-8 (byte {error.start})") from error
    return found
