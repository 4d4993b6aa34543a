"""A choice of whole utterances that fits a size, with about as much of every speaker: a corpus to take along."""

import dataclasses
import functools
import heapq
import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from flowvocoder.audio.files import open_audio
from flowvocoder.data.corpus import Utterance, corpus_name, find_utterances, split
from flowvocoder.data.manifest import Entry, cached_sha256, write_manifest
from flowvocoder.data.shards import is_shard_folder
from flowvocoder.data.splits import TRAIN, UNSEEN, VALIDATION, hash_of
from flowvocoder.errors import ConfigError, DataError, FlowVocoderError
from flowvocoder.files import check_folder, reason, writing
from flowvocoder.prepare.convert import Converted, Settings, convert
from flowvocoder.progress import progress

HELD_OUT = 0.03
"""Share of the size for utterances of `validation`, and the same for `unseen`; training has the rest."""

NOTICES = "LICENSE", "LICENCE", "COPYING", "NOTICE", "README", "CREDITS", "ATTRIBUTION"
"""How names of files begin that say whose recordings they are and what they may be used for."""

LONGEST_NOTICE = 100_000
"""Bytes."""

_TAR_BLOCK, _TAR_RECORD = 512, 10_240
_ONCE = 64 * 1024
"""Bytes kept for what a folder of shards has once: its plan, its index, the last tar file of each split."""
_SHARD = _TAR_RECORD + _TAR_BLOCK
"""Bytes that a further shard takes: what fills its tar file up, and its line in the index."""


@dataclasses.dataclass(frozen=True)
class Packed:
    """What was chosen.

    Attributes:
        manifest: of the chosen utterances.
        speakers: bytes of each, training only.
        seconds: of each split.
        unusable: utterances that cannot be converted, and why.
        notices: files of each corpus that say whose it is and what it may be used for.
    """

    manifest: Path
    speakers: dict[str, int]
    seconds: dict[str, float]
    unusable: list[str]
    notices: dict[str, list[Path]]


def manifest_of(out: Path) -> Path:
    """Where the choice for a folder is written: beside it, so that it does not travel."""
    return out.with_name(f"{out.name}.jsonl")


def choose(
    corpora: Sequence[Path],
    out: Path,
    size: int,
    settings: Settings,
    shard_size: int,
    seed: int = 0,
    shortest: float = 0.0,
) -> Packed:
    """Choose utterances and write the manifest that `prepare` makes the shards from.

    The speaker with the fewest bytes gets its next utterance, in the order of a hash, until one does not fit or none is
    left. Utterances are encoded to see how large they are. The same corpora, size and seed give the same choice.

    Args:
        corpora: folders or manifests, as `find_utterances` takes them.
        out: folder of shards to be.
        size: bytes that it may have.
        shard_size: utterances of a shard.
        shortest: seconds; shorter utterances are left out.

    Raises:
        ConfigError: two corpora have one name, a corpus is shards, or another choice stands beside `out`.
        AudioError, DataError: as `find_utterances`, or nothing fits.
        OutputError: the manifest cannot be written.
    """
    manifest = manifest_of(out)
    check_folder(out)
    names = [corpus_name(path) for path in corpora]
    for path, name in zip(corpora, names, strict=True):
        if is_shard_folder(path):
            raise ConfigError(f"{path}: is shards already: name the folder or manifest that they were made from")
        if names.count(name) > 1:
            raise ConfigError(f"two corpora are named {name!r}: utterance ids would not tell them apart")
    notices = {name: _notices(path) for path, name in zip(corpora, names, strict=True)}
    left = size - _ONCE - sum(file.stat().st_size for files in notices.values() for file in files)
    fair = functools.partial(_fair, folder=manifest.parent, settings=settings, seed=seed, shortest=shortest)
    parts: dict[str, list[Utterance]] = {VALIDATION: [], UNSEEN: [], TRAIN: []}
    for path in corpora:
        for part, utterances in zip((TRAIN, VALIDATION, UNSEEN), split(find_utterances(path)), strict=True):
            parts[part] += utterances
    chosen: list[Entry] = []
    seconds: dict[str, float] = {}
    speakers: dict[str, int] = {}
    unusable: list[str] = []
    for part, utterances in parts.items():
        most = left if part == TRAIN else min(left, math.floor(HELD_OUT * size))
        speakers, seconds[part] = {}, 0.0
        choice = fair(utterances, part, most, more=-(-_SHARD // shard_size), unusable=unusable)
        for entry, cost in progress(choice, f"choose {part}", "utterance"):
            chosen.append(entry)
            left -= cost
            speakers[entry.speaker] = speakers.get(entry.speaker, 0) + cost
            seconds[part] += entry.duration / entry.rate
    if not speakers:
        why = f" ({unusable[0]})" if unusable else ""
        raise DataError(f"{out}: not one of {len(parts[TRAIN])} utterances to train on fits {size} bytes{why}")
    _write(manifest, chosen)
    return Packed(manifest, speakers, seconds, unusable, notices)


def copy_notices(packed: Packed, out: Path) -> None:
    """Put the corpora's notices beside the shards. Raises OutputError."""
    for corpus, files in packed.notices.items():
        for file in files:
            with writing(out / f"{corpus}-{file.name}") as temporary:
                temporary.write_bytes(file.read_bytes())


def _fair(
    utterances: Sequence[Utterance], part: str, most: int, *, folder: Path, settings: Settings, seed: int,
    shortest: float, more: int, unusable: list[str],
) -> Iterator[tuple[Entry, int]]:  # fmt: skip
    """Utterances with their bytes, at most so many in all, always of a speaker that has the fewest so far."""
    queues: dict[str, list[Utterance]] = {}
    for utterance in sorted(utterances, key=lambda u: hash_of(f"{seed} {u.id}"), reverse=True):
        queues.setdefault(utterance.voice, []).append(utterance)
    poorest = [(0, voice) for voice in sorted(queues)]
    while poorest:
        have, voice = poorest[0]
        if not queues[voice]:
            heapq.heappop(poorest)
            continue
        utterance = queues[voice].pop()
        try:
            entry = _entry(utterance, part, folder)
        except (FlowVocoderError, OSError) as error:
            unusable.append(reason(error))
            continue
        if entry.duration < shortest * entry.rate:
            continue
        converted = convert(entry, folder, settings)
        if not isinstance(converted, Converted):
            unusable.append(f"{converted.id}: {converted.reason}")
            continue
        cost = _cost(converted) + more
        if cost > most:
            return
        most -= cost
        heapq.heapreplace(poorest, (have + cost, voice))
        yield entry, cost


def _entry(utterance: Utterance, part: str, folder: Path) -> Entry:
    """Its line in a manifest in `folder`. Speakers are told apart from those of other corpora."""

    def from_there(file: Path) -> str:
        return Path(os.path.relpath(file.resolve(), folder.resolve())).as_posix()

    rate, duration = utterance.rate, utterance.duration
    if rate is None or duration is None:
        with open_audio(utterance.path) as file:
            rate, duration = file.samplerate, file.frames
    mel = None if not isinstance(utterance.mel, Path) else from_there(utterance.mel)
    return Entry(
        id=utterance.id, path=from_there(utterance.path), start=utterance.start, duration=duration, rate=rate,
        speaker=utterance.voice, language="und", sha256=cached_sha256(utterance.path), split=part, mel=mel,
    )  # fmt: skip


def _cost(converted: Converted) -> int:
    """Bytes of an utterance in a folder of shards: its files with their tar headers, and its place in the JSON."""
    files = sum(_TAR_BLOCK + _padded(len(content)) for _, content in converted.members)
    return files + len(json.dumps([converted.speaker, converted.samples]))


def _padded(size: int) -> int:
    return -(-size // _TAR_BLOCK) * _TAR_BLOCK


def _notices(corpus: Path) -> list[Path]:
    folder = corpus if corpus.is_dir() else corpus.parent
    if not folder.is_dir():
        return []
    return sorted(
        file
        for file in folder.iterdir()
        if file.name.upper().startswith(NOTICES) and file.is_file() and file.stat().st_size <= LONGEST_NOTICE
    )


def _write(manifest: Path, chosen: Sequence[Entry]) -> None:
    """Once: another choice, or a stranger's file, is not replaced."""
    if not manifest.exists():
        write_manifest(manifest, chosen)
    elif manifest.read_text(encoding="utf-8", errors="replace") != "".join(f"{e.to_json()}\n" for e in chosen):
        raise ConfigError(f"{manifest}: is there already and holds another choice: name another folder")
