"""From a recipe to a manifest: the one way that all corpora go."""

import dataclasses
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

from flowvocoder.audio.files import open_audio
from flowvocoder.data.manifest import Entry, path_from, write_manifest
from flowvocoder.data.splits import SPLITS, choose_split
from flowvocoder.errors import AudioError, DataError, OutputError
from flowvocoder.files import reason, sha256_of, writing
from flowvocoder.progress import progress
from recipes.facts import Part, Recipe, Report, Utterance
from recipes.sources import Found, find_downloaded, find_source, fingerprint

MANIFEST = "manifest.jsonl"
MARKER = "prepared.json"


@dataclasses.dataclass(frozen=True, slots=True)
class Prepared:
    """What came of it. `fresh` is False where everything was there already and nothing was done."""

    manifest: Path
    utterances: int
    seconds: float
    speakers: int
    splits: dict[str, int]
    left_out: int
    fresh: bool


@dataclasses.dataclass(frozen=True, slots=True)
class _Recording:
    """What a file says of itself."""

    rate: int
    samples: int
    sha256: str


def prepare(
    recipe: Recipe,
    out: Path,
    source: Path | None = None,
    parts: Sequence[str] = (),
    jobs: int = 1,
    mirror: str | None = None,
    skip_bad: bool = False,
    say: Report = print,
) -> Prepared:
    """Get a corpus and write `out`/manifest.jsonl; what is done already is not done again.

    Downloads go to `out`/downloads and are unpacked below `out`/corpus; with `source`, a folder or an archive of the
    corpus on disk, its recordings stay where they are.

    Args:
        parts: of the corpus; by default the recipe's choice.
        jobs: recordings read at the same time.
        mirror: URL of a folder that holds the archives under their names.
        skip_bad: leave out recordings that are missing or unreadable, each named, instead of stopping.
        say: takes a line for the user.

    Raises:
        DataError: an archive cannot be downloaded, is damaged, hostile or not what its checksum says; the corpus is not
            in its layout, or names recordings that are not there.
        OutputError: `out` cannot be written.
    """
    chosen = choose_parts(recipe, parts)
    wanted = {
        "recipe": recipe.name,
        "parts": [part.name for part in chosen],
        "source": None if source is None else fingerprint(source),
        "skip_bad": skip_bad,
        # Other facts, another language or speaker: another manifest.
        "facts": hashlib.sha256(repr(recipe).encode("utf-8", "surrogatepass")).hexdigest(),
    }
    manifest = out / MANIFEST
    done = _finished(out, wanted)
    if done is not None:
        return done
    # A source is looked at first, so that a mistaken one leaves no empty folder.
    found = [] if source is None else find_source(recipe, chosen, source, out, named=bool(parts), say=say)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: cannot be made ({reason(error)})") from error
    found = found or find_downloaded(recipe, chosen, out, mirror, say)
    left_out = _LeftOut(skip_bad, recipe.known_gaps, say)
    utterances = _read(recipe, found, left_out)
    files = _measure(dict.fromkeys(u.audio for _, u in utterances), jobs, left_out)
    tally = _Tally()
    write_manifest(manifest, tally.count(_entries(recipe, utterances, files, out, left_out)))
    splits = {split: tally.splits[split] for split in SPLITS if tally.splits[split]}
    result = Prepared(manifest, tally.utterances, tally.seconds, len(tally.speakers), splits, left_out.count, True)
    _write_marker(out, wanted, recipe, found, result)
    return result


def download(
    recipe: Recipe, out: Path, parts: Sequence[str] = (), mirror: str | None = None, say: Report = print
) -> list[Path]:
    """Download a corpus to `out`/downloads and unpack it; what is there already is not fetched again.

    Returns:
        The folder of each part, below `out`/corpus.

    Raises:
        DataError, OutputError: as `prepare`.
    """
    return [one.root for one in find_downloaded(recipe, choose_parts(recipe, parts), out, mirror, say)]


def choose_parts(recipe: Recipe, names: Sequence[str]) -> list[Part]:
    """The parts by name; no name: the default ones.

    Raises:
        DataError: no such part.
    """
    known = {part.name: part for part in recipe.parts}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise DataError(f"{recipe.name} has no part {unknown[0]!r}; its parts are {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(names or recipe.default or known)]


class _LeftOut:
    """Takes what is wrong with recordings: stops, or counts and continues."""

    def __init__(self, skip: bool, known_gaps: bool, say: Report):
        self.skip = skip
        self.known_gaps = known_gaps
        self.say = say
        self.count = 0

    def missing(self, sentence: str) -> None:
        """A recording is not there."""
        self._take(sentence, self.skip or self.known_gaps)

    def unreadable(self, sentence: str) -> None:
        """It is there and no audio."""
        self._take(sentence, self.skip)

    def _take(self, sentence: str, skip: bool) -> None:
        if not skip:
            raise DataError(f"{sentence} (--skip-bad leaves such recordings out)")
        self.count += 1
        self.say(f"left out: {sentence}")


def _read(recipe: Recipe, found: Sequence[Found], left_out: _LeftOut) -> list[tuple[Part, Utterance]]:
    """All utterances, each name once."""
    utterances = []
    for one in found:
        names: dict[str, Path] = {}
        for utterance in progress(one.layout.read(one.root, left_out.missing), f"reading {one.root.name}", "utterance"):
            if utterance.name in names:
                raise DataError(
                    f"{one.root}: {utterance.name!r} is there twice: {names[utterance.name]} and {utterance.audio}"
                )
            names[utterance.name] = utterance.audio
            utterances.append((one.part, utterance))
        if not names:
            raise DataError(f"{one.root}: {one.layout.title}, but there is no recording in it")
    return utterances


def _measure(paths: dict[Path, None], jobs: int, left_out: _LeftOut) -> dict[Path, _Recording]:
    """Each file's rate, length and hash. Threads do: hashing and libsndfile let others run."""
    files = {}
    with ThreadPool(jobs) as pool:
        results = pool.imap(_look, paths, chunksize=16)
        for path, seen in zip(paths, progress(results, "recordings", "file", total=len(paths)), strict=True):
            if isinstance(seen, str):
                left_out.unreadable(seen)
            else:
                files[path] = seen
    return files


def _look(path: Path) -> _Recording | str:
    """What a recording says of itself, or a sentence about what is wrong with it."""
    try:
        digest = sha256_of(path)
        with open_audio(path) as file:
            rate, samples = file.samplerate, file.frames
    except AudioError as error:
        return str(error)
    except OSError as error:
        return f"{path}: cannot be read as audio ({reason(error)})"
    if not samples > 0:
        return f"{path}: holds no samples"
    return _Recording(rate, samples, digest)


def _entries(
    recipe: Recipe,
    utterances: Sequence[tuple[Part, Utterance]],
    files: dict[Path, _Recording],
    out: Path,
    left_out: _LeftOut,
) -> Iterator[Entry]:
    """Lines of the manifest, in the order of the corpus."""
    base = out.resolve()
    speakers = frozenset(_speaker(recipe, part, u) for part, u in utterances if u.split is None)
    for part, utterance in utterances:
        recording = files.get(utterance.audio)
        if recording is None:
            continue
        prefix = "/".join(filter(None, (recipe.name, part.name)))
        name = f"{prefix}/{utterance.name}"
        speaker = _speaker(recipe, part, utterance)
        start = round(utterance.start * recording.rate)
        end = recording.samples if utterance.end is None else round(utterance.end * recording.rate)
        # Segments are written with two or three decimals: the last may reach a little beyond the recording.
        if recording.samples < end <= recording.samples + recording.rate // 10:
            end = recording.samples
        if not 0 <= start < end <= recording.samples:
            place = f"from sample {start} to {end} of {recording.samples}"
            left_out.unreadable(f"{utterance.audio}: utterance {utterance.name!r} would be {place}")
            continue
        grouped = f"{prefix}/{utterance.group or utterance.name}"
        try:
            yield Entry(
                id=name, path=path_from(base, utterance.audio), start=start,
                duration=end - start, rate=recording.rate, speaker=speaker,
                language=utterance.language or part.language or recipe.language,
                text=utterance.text, sha256=recording.sha256,
                split=utterance.split or choose_split(grouped, speaker, speakers),
            )  # fmt: skip
        except DataError as error:
            raise DataError(f"{utterance.audio}: {error}") from error


def _speaker(recipe: Recipe, part: Part, utterance: Utterance) -> str:
    return utterance.speaker or part.speaker or recipe.name


class _Tally:
    """Counts entries on their way into the manifest."""

    def __init__(self) -> None:
        self.utterances = 0
        self.seconds = 0.0
        self.speakers: set[str] = set()
        self.splits: Counter[str] = Counter()

    def count(self, entries: Iterator[Entry]) -> Iterator[Entry]:
        for entry in entries:
            self.utterances += 1
            self.seconds += entry.duration / entry.rate
            self.speakers.add(entry.speaker)
            self.splits[entry.split] += 1
            yield entry
        if not self.utterances:
            raise DataError("none of the recordings could be read")


def _write_marker(out: Path, wanted: dict[str, Any], recipe: Recipe, found: Sequence[Found], result: Prepared) -> None:
    """The last file to be written: that it is there says that all else is. It also says where the data comes from."""
    values = {
        "wanted": wanted,
        "title": recipe.title,
        "homepage": recipe.homepage,
        "licence": recipe.licence,
        "archives": {one.archive.name: one.checksum for one in found if one.archive},
        "folders": [os.path.relpath(one.unpacked, out) for one in found if one.unpacked],
        "manifest_sha256": sha256_of(result.manifest),
        "utterances": result.utterances,
        "seconds": round(result.seconds, 3),
        "speakers": result.speakers,
        "splits": result.splits,
        "left_out": result.left_out,
    }
    with writing(out / MARKER) as temporary:
        temporary.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _finished(out: Path, wanted: dict[str, Any]) -> Prepared | None:
    """What an earlier run made, if its settings were the same and all of it is still there.

    Raises:
        DataError: the manifest was changed since then: writing it anew would lose that.
    """
    manifest = out / MANIFEST
    try:
        marker = json.loads((out / MARKER).read_text(encoding="utf-8"))
        same = marker["wanted"] == wanted and all((out / folder).is_dir() for folder in marker["folders"])
        result = Prepared(manifest, marker["utterances"], marker["seconds"], marker["speakers"], marker["splits"],
                          marker["left_out"], False)  # fmt: skip
        before = marker["manifest_sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not manifest.is_file():
        return None
    if sha256_of(manifest) != before:
        raise DataError(f"{manifest}: was changed since it was prepared; move it away to prepare the corpus again")
    return result if same else None
