"""What a run trains on: folders of audio, manifests and folders of shards; and which recordings are held out."""

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

from flowvocoder.audio.files import EXTENSIONS, Recording, Samples, at_rate, read_as_stored
from flowvocoder.data.manifest import read_lines
from flowvocoder.data.shards import Shard, is_shard_folder, open_shards, read_members
from flowvocoder.data.speakers import read_speakers
from flowvocoder.data.splits import TRAIN, UNSEEN, VALIDATION, choose_split, hash_of, hold_out_one
from flowvocoder.errors import AudioError, ConfigError, DataError, MelError, together
from flowvocoder.files import files_below, reading
from flowvocoder.mel.files import Mel, check_length, decode_mel, read_mel
from flowvocoder.mel.spec import MelSpec

HELD_OUT_OF_SHARDS = 256
"""Utterances of a folder of shards that are kept at hand for validation."""


UNSEEN_OF_FOLDERS = 10
"""Speakers from which on some of a folder are held out as a whole; a manifest says itself who is."""


@dataclasses.dataclass(frozen=True)
class StoredMel:
    """A mel inside a shard."""

    content: bytes  # of a .npy file
    spec: MelSpec
    given: bool  # by a text-to-speech model, say; else computed from the audio


@dataclasses.dataclass(frozen=True)
class Utterance:
    """One recording, or a stretch of one: its id (corpus/name) and where it is."""

    id: str
    path: Path
    start: int = 0  # samples
    duration: int | None = None  # samples; None: to the end
    rate: int | None = None  # Hz that the file must have
    split: str | None = None  # None: by the hash of the id
    mel: Path | StoredMel | None = None  # to train on instead of the audio's own
    content: bytes | None = None  # of the audio file, where `path` only names it
    speaker: str | None = None  # None: not known

    @property
    def corpus(self) -> str:
        """The name of its corpus."""
        return self.id.partition("/")[0]

    @property
    def voice(self) -> str:
        """Its speaker among those of all corpora; where none is known, the corpus is one."""
        return f"{self.corpus}/{self.speaker}" if self.speaker else self.corpus

    def read(self, sample_rate: int) -> Samples:
        """The audio (T,) at `sample_rate`. Raises AudioError."""
        return self.recording(sample_rate).samples

    def recording(self, sample_rate: int) -> Recording:
        """The same with what was done to it. Raises AudioError."""
        return at_rate(self.stored(), sample_rate)

    def stored(self) -> Recording:
        """The same at the rate of its file. Raises AudioError."""
        stored = read_as_stored(self.path, self.start, self.duration, self.content)
        if self.rate not in (None, stored.sample_rate):
            raise AudioError(f"{self.path}: has {stored.sample_rate} Hz, the manifest says {self.rate}")
        return stored

    @property
    def mel_is_given(self) -> bool:
        """Whether a mel comes with it that is not its audio's own."""
        return self.mel.given if isinstance(self.mel, StoredMel) else self.mel is not None

    def read_mel(self, spec: MelSpec, samples: int) -> Mel | None:
        """The mel (n_mels, F) that goes with this number of samples at the spec's rate; None: that of the audio.

        Raises:
            MelError: unreadable, of another convention, or not as long as the audio.
        """
        if self.mel is None:
            return None
        if isinstance(self.mel, Path):
            path, mel = self.mel, read_mel(self.mel, spec)
        else:
            path = self.path
            if self.mel.spec != spec:
                if not self.mel.given:
                    return None
                raise MelError(f"{path}: its mels are of another convention: {self.mel.spec.difference(spec)}")
            mel = decode_mel(self.mel.content, path, spec)
        check_length(path, mel, samples, spec)
        return mel


@dataclasses.dataclass(frozen=True)
class Corpus:
    """What one `--corpus` holds: utterances to keep in memory, or shards to read one after the other."""

    name: str
    training: list[Utterance]
    held_out: list[Utterance]
    unseen: list[Utterance] = dataclasses.field(default_factory=list)  # of speakers that training does not hear
    shards: list[Shard] = dataclasses.field(default_factory=list)
    rate: int | None = None  # Hz of all shards


def open_corpora(paths: Sequence[Path]) -> list[Corpus]:
    """Each path as `open_corpus` takes it.

    Raises:
        ConfigError: two have one name, so that utterance ids would not tell them apart.
        AudioError, DataError: as `open_corpus`, or nothing to train on.
    """
    names = [corpus_name(p) for p in paths]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two corpora are named {name!r}: utterance ids would not tell them apart")
    corpora = [open_corpus(p) for p in paths]
    if not any(c.training or c.shards for c in corpora):
        raise AudioError(f"{', '.join(map(str, paths))}: every recording fell into the validation split")
    return corpora


def open_corpus(path: Path) -> Corpus:
    """A folder of audio, a manifest (`.jsonl`), or a folder that `flowvocoder prepare` wrote.

    Raises:
        AudioError, DataError: as `find_utterances` and `open_shards`.
    """
    if not is_shard_folder(path):
        return Corpus(corpus_name(path), *split(find_utterances(path)))
    rate, shards = open_shards(path)
    held_out, unseen = (
        list(itertools.islice((u for s in shards if s.split == part for u in read_shard(s)), HELD_OUT_OF_SHARDS))
        for part in (VALIDATION, UNSEEN)
    )
    training_shards = [s for s in shards if s.split == TRAIN]
    if not training_shards:
        raise DataError(f"{path}: has no shard of the train split")
    return Corpus(corpus_name(path), [], held_out, unseen, training_shards, rate)


def corpus_name(path: Path) -> str:
    """The folder's name, or the manifest's; that of its folder for `manifest.jsonl`."""
    resolved = path.resolve()
    if resolved.suffix == ".jsonl":
        return resolved.parent.name if resolved.stem == "manifest" else resolved.stem
    return resolved.name


def find_utterances(root: Path) -> list[Utterance]:
    """Recordings of a manifest, a folder in LJSpeech layout (`metadata.csv` and `wavs/`) or any folder tree of audio.

    Raises:
        AudioError: no such folder, no audio in it, or a recording that metadata.csv names is missing.
        DataError: as `read_lines` and `read_speakers`, no entries, a file that is missing, or two files of one name.
    """
    if root.suffix == ".jsonl" and not root.is_dir():
        return _of_manifest(root)
    if not root.is_dir():
        raise AudioError(f"{root}: no such folder")
    corpus = corpus_name(root)
    metadata = root / "metadata.csv"
    if metadata.is_file() and (root / "wavs").is_dir():
        found = _ljspeech(root, metadata)
    else:
        found = files_below(root, EXTENSIONS)
    if not found:
        raise AudioError(f"{root}: no audio files ({', '.join(EXTENSIONS)})")
    wavs = root / "wavs"
    base = wavs if all(p.is_relative_to(wavs) for p in found) else root
    names = [p.relative_to(base).with_suffix("").as_posix() for p in found]
    first = dict(zip(reversed(names), reversed(found), strict=True))
    for name, path in zip(names, found, strict=True):
        if first[name] != path:
            raise DataError(f"{first[name]} and {path.name} are one utterance twice: keep one of them")
    speakers = read_speakers(root, names)
    return [Utterance(f"{corpus}/{n}", p, speaker=s) for n, p, s in zip(names, found, speakers, strict=True)]


def read_shard(shard: Shard) -> list[Utterance]:
    """The utterances of a shard, with the content of their files.

    Raises:
        DataError: it cannot be read, or is not the shard that its JSON tells of.
    """
    found = []
    for number, member in enumerate(read_members(shard)):
        with reading(shard.path, DataError, f"utterance {number} is damaged"):
            about, mel = member.about, None
            if member.mel is not None:
                mel = StoredMel(member.mel, MelSpec.from_dict(about["mel"]), bool(about["mel_is_given"]))
            name = shard.path / f"{number:05d}.{member.extension}"
            speaker = str(about.get("speaker") or "")
            found.append(Utterance(str(about["id"]), name, 0, None, about["rate"], None, mel, member.audio, speaker))
    if len(found) != len(shard.lengths):
        raise DataError(f"{shard.path}: holds {len(found)} utterances, its JSON says {len(shard.lengths)}")
    return found


def split(utterances: Sequence[Utterance]) -> tuple[list[Utterance], list[Utterance], list[Utterance]]:
    """(training, validation, unseen): by what a manifest says, else by hash; what is in other splits is left out.

    Where validation has none of two or more utterances, the hash chooses one. Of a folder with ten speakers or more,
    some are unseen.
    """
    speakers = frozenset(u.speaker for u in utterances if u.speaker)
    if len(speakers) < UNSEEN_OF_FOLDERS:
        speakers = frozenset()
    splits = [u.split or choose_split(u.id, u.speaker or "", speakers) for u in utterances]
    one = hold_out_one(splits, (hash_of(u.id) for u in utterances))
    if one is not None:
        splits[one] = VALIDATION
    training, held_out, unseen = (
        [u for u, own in zip(utterances, splits, strict=True) if own == part] for part in (TRAIN, VALIDATION, UNSEEN)
    )
    return training, held_out, unseen


def _of_manifest(path: Path) -> list[Utterance]:
    found, missing = [], []
    for entry, number, _ in read_lines(path):
        audio, mel = entry.audio_file(path.parent), entry.mel_file(path.parent)
        for file, name in ((audio, entry.path), (mel, entry.mel)):
            if file is not None and not file.is_file():
                missing.append(DataError(f"{path}: line {number}: no file {name}"))
        found.append(
            Utterance(entry.id, audio, entry.start, entry.duration, entry.rate, entry.split, mel, None, entry.speaker)
        )
    if missing:
        raise together(missing, f"files of {path} are missing")
    if not found:
        raise DataError(f"{path}: holds no utterance")
    return found


def _is_recording(path: Path) -> bool:
    """By its extension; only regular files count, for a pipe or device in a folder would never end."""
    return path.suffix.lower() in EXTENSIONS and path.is_file()


def _ljspeech(root: Path, metadata: Path) -> list[Path]:
    by_stem = {p.stem: p for p in sorted((root / "wavs").iterdir()) if _is_recording(p)}
    found, missing = [], []
    try:
        with metadata.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                name = line.rstrip("\n").split("|")[0]
                if not name:
                    continue
                if name not in by_stem:
                    missing.append(AudioError(f"{metadata}: line {number}: no recording wavs/{name}.* for this id"))
                else:
                    found.append(by_stem[name])
    except UnicodeDecodeError as error:
        raise AudioError(f"{metadata}: not UTF-8 (byte {error.start})") from error
    if missing:
        raise together(missing, f"recordings of {metadata} are missing")
    return found
