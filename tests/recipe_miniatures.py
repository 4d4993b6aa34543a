"""Archives of a few short recordings in the true layout of each corpus."""

import dataclasses
import hashlib
import io
import json
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import soundfile as sf

from recipes.facts import Recipe

Tree = Mapping[str, str | int]
"""Path in the archive -> text, or the rate in Hz of a recording."""

TENTHS = 0.05
"""Seconds of every recording."""


@dataclasses.dataclass(frozen=True)
class Miniature:
    """Archives by name, the parts they hold, and what must come out."""

    archives: dict[str, Tree]
    ids: dict[str, str | None]  # of every utterance -> its text
    splits: dict[str, str] = dataclasses.field(default_factory=dict)  # the official ones, by id
    speakers: frozenset[str] | None = None  # None: one, named as the recipe
    rate: int = 22050
    language: str = "en"
    parts: tuple[str, ...] = ()


def _libritts(top: str, joint: str) -> Miniature:
    speakers = {"dev-clean": "84", "test-clean": "61", "train-clean-100": "103"}
    archives: dict[str, Tree] = {}
    ids: dict[str, str | None] = {}
    splits = {}
    for (part, speaker), split in zip(speakers.items(), ("validation", "test", "train"), strict=True):
        folder, tree = f"{top}/{part}/{speaker}/1241", {f"{top}/README_{part}.txt": "read me"}
        for index in range(2):
            stem = f"{speaker}_1241_{index:06d}_000000"
            tree |= {f"{folder}/{stem}.wav": 24000, f"{folder}/{stem}.normalized.txt": f"Text {index}.",
                     f"{folder}/{stem}.original.txt": f"Text #{index}."}  # fmt: skip
            ids[f"{part}/{stem}"], splits[f"{part}/{stem}"] = f"Text {index}.", split
        archives[f"{part.replace('-', joint)}.tar.gz"] = tree
    return Miniature(archives, ids, splits, frozenset(speakers.values()), 24000, parts=tuple(speakers))


def _vctk() -> Miniature:
    tree: dict[str, str | int] = {"README.txt": "read me", "speaker-info.txt": "ID AGE"}
    ids: dict[str, str | None] = {}
    for speaker in ("p225", "p226", "p315", "s5"):
        for microphone in ("mic1", "mic2"):
            tree[f"wav48_silence_trimmed/{speaker}/{speaker}_001_{microphone}.flac"] = 48000
        if speaker != "p315":  # its texts are lost
            tree[f"txt/{speaker}/{speaker}_001.txt"] = "Please call Stella.\n"
        ids[f"mic1/{speaker}_001_mic1"] = None if speaker == "p315" else "Please call Stella."
    return Miniature({"VCTK-Corpus-0.92.zip": tree}, ids, {}, frozenset({"p225", "p226", "p315", "s5"}), 48000)


def _cmu_arctic() -> Miniature:
    archives, ids = {}, {}
    for voice in ("bdl", "slt", "rms"):
        top = f"cmu_us_{voice}_arctic"
        archives[f"{top}.tar.bz2"] = {
            f"{top}/etc/txt.done.data": '( arctic_a0001 "He said, "Go", twice." )\n( arctic_b0539 "Text." )\n',
            f"{top}/wav/arctic_a0001.wav": 16000,
            f"{top}/wav/arctic_b0539.wav": 16000,
        }
        ids |= {f"{voice}/arctic_a0001": 'He said, "Go", twice.', f"{voice}/arctic_b0539": "Text."}
    voices = ("bdl", "slt", "rms")
    return Miniature(archives, ids, {}, frozenset(voices), 16000, parts=voices)


def _hifi_tts() -> Miniature:
    tree: dict[str, str | int] = {"hi_fi_tts_v0/books_bandwidth.tsv": ""}
    ids, splits = {}, {}
    official = {"train": "train", "dev": "validation", "test": "test"}
    for reader, quality in (("92", "clean"), ("9136", "other")):
        for name, split in official.items():
            audio = f"audio/{reader}_{quality}/1234/book_01_f_{name}.flac"
            line = {"audio_filepath": audio, "text": "one", "duration": 0.05, "text_no_preprocessing": "One",
                    "text_normalized": "One."}  # fmt: skip
            tree |= {f"hi_fi_tts_v0/{audio}": 44100,
                     f"hi_fi_tts_v0/{reader}_manifest_{quality}_{name}.json": json.dumps(line) + "\n"}  # fmt: skip
            ids[audio.removesuffix(".flac")], splits[audio.removesuffix(".flac")] = "One.", split
    return Miniature({"hi_fi_tts_v0.tar.gz": tree}, ids, splits, frozenset({"92", "9136"}), 44100)


def _m_ailabs() -> Miniature:
    top = "de_DE/by_book"
    tree: dict[str, str | int] = {f"{top}/info.txt": "", f"{top}/female/ramona/info.txt": ""}
    books = {"female/ramona/emma": "ramona", "male/karlsson/undine": "karlsson", "mix/auswahl": "mixed-de_DE"}
    ids = {}
    for place in books:
        book = place.rsplit("/", 1)[1]
        tree[f"{top}/{place}/metadata.csv"] = f"{book}_01_f000001|Ein 1.|Ein eins.\n{book}_01_f000002|Zwei|Zwei.\n"
        tree[f"{top}/{place}/metadata_mls.json"] = "{}"
        for index, text in ((1, "Ein eins."), (2, "Zwei.")):
            tree[f"{top}/{place}/wavs/{book}_01_f{index:06d}.wav"] = 16000
            ids[f"de_DE/{book}_01_f{index:06d}"] = text
    return Miniature({"de_DE.tgz": tree}, ids, {}, frozenset(books.values()), 16000, "de")


def _thorsten() -> Miniature:
    top, rows = "ThorstenVoice-Dataset_2022.10", {"train": "aa11", "dev": "bb22", "test": "cc33"}
    tree: dict[str, str | int] = {f"{top}/metadata_shuf.csv": "aa11|nicht lesen\n", "__MACOSX/._x.wav": "junk"}
    for name, stem in rows.items():
        tree |= {f"{top}/metadata_{name}.csv": f"{stem}|Guten Tag.\n", f"{top}/wavs/{stem}.wav": 22050}
    ids = {f"2022.10/{stem}": "Guten Tag." for stem in rows.values()}
    splits = {"2022.10/aa11": "train", "2022.10/bb22": "validation", "2022.10/cc33": "test"}
    return Miniature({f"{top}.zip": tree}, ids, splits, language="de")


def _jsut() -> Miniature:
    tree: dict[str, str | int] = {"jsut_ver1.1/README_ja.txt": "はじめに"}
    ids = {}
    for subset, name in (("basic5000", "BASIC5000_0001"), ("travel1000", "TRAVEL1000_0001")):
        tree |= {f"jsut_ver1.1/{subset}/transcript_utf8.txt": f"{name}:水を:買う。\n",
                 f"jsut_ver1.1/{subset}/wav/{name}.wav": 48000}  # fmt: skip
        ids[name] = "水を:買う。"
    return Miniature({"jsut_ver1.1.zip": tree}, ids, rate=48000, language="ja")


def _kathleen() -> Miniature:
    top, stems = "dataset-voice-kathleen-master", ("arctic_a0001_1592748574", "arctic_a0001_1592748585",
                                                   "arctic_a0002_1592748530")  # fmt: skip
    tree: dict[str, str | int] = {f"{top}/README.md": "# Voice"}
    for stem in stems:
        tree |= {f"{top}/data/{stem}.wav": 48000, f"{top}/data/{stem}.txt": "Author of the danger trail.\n"}
    return Miniature({"dataset-voice-kathleen.tar.gz": tree}, dict.fromkeys(stems, "Author of the danger trail."),
                     rate=48000)  # fmt: skip


MINIATURES = {
    "ljspeech": Miniature(
        {"LJSpeech-1.1.tar.bz2": {
            "LJSpeech-1.1/README": "read me",
            "LJSpeech-1.1/metadata.csv": "LJ001-0001|In 1455|In fourteen fifty-five\nLJ001-0002|a|b\n",
            "LJSpeech-1.1/wavs/LJ001-0001.wav": 22050,
            "LJSpeech-1.1/wavs/LJ001-0002.wav": 22050,
        }},
        {"LJ001-0001": "In fourteen fifty-five", "LJ001-0002": "b"},
    ),
    "libritts": _libritts("LibriTTS", "-"),
    "libritts-r": _libritts("LibriTTS_R", "_"),
    "vctk": _vctk(),
    "cmu-arctic": _cmu_arctic(),
    "hifi-tts": _hifi_tts(),
    "css10": Miniature(
        {"german-single-speaker-speech-dataset.zip": {
            "transcript.txt": "meisterfloh/meisterfloh_0001.wav|Es 1 war|Es eins war|0.05\n",
            "meisterfloh/meisterfloh_0001.wav": 22050,
        }},
        {"de/meisterfloh/meisterfloh_0001": "Es eins war"}, speakers=frozenset({"css10-de"}), language="de",
    ),
    "thorsten": _thorsten(),
    "jsut": _jsut(),
    "m-ailabs": _m_ailabs(),
    "kathleen": _kathleen(),
    "kerstin": Miniature(
        {"dataset-voice-kerstin.tar.gz": {
            "dataset-voice-kerstin-master/metadata.csv": "de_rhasspy-0004|Über Weißenburg.\n",
            "dataset-voice-kerstin-master/audio/de_rhasspy-0004.webm": "not read",
            "dataset-voice-kerstin-master/verified/de_rhasspy-0004.flac": 48000,
        }},
        {"de_rhasspy-0004": "Über Weißenburg."}, rate=48000, language="de",
    ),
}  # fmt: skip


def content(path: str, value: str | int) -> bytes:
    """The bytes of a file: text, or noise of its own."""
    if isinstance(value, str):
        return value.encode()
    noise = np.random.default_rng(zlib.crc32(path.encode())).uniform(-0.1, 0.1, int(TENTHS * value))
    file = io.BytesIO()
    kind = path.rsplit(".", 1)[1].upper()
    sf.write(file, noise, value, format=kind, subtype="VORBIS" if kind == "OGG" else "PCM_16")
    return file.getvalue()


def unpacked(tree: Tree, folder: Path) -> Path:
    """Write the files of an archive below `folder`."""
    for path, value in tree.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content(path, value))
    return folder


def pack(tree: Tree, archive: Path) -> Path:
    """Write an archive of the kind its name says."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
            for path, value in tree.items():
                zipped.writestr(path, content(path, value))
        return archive
    with tarfile.open(archive, "w:bz2" if archive.name.endswith("bz2") else "w:gz") as tarred:
        for path, value in tree.items():
            info, data = tarfile.TarInfo(path), content(path, value)
            info.size = len(data)
            tarred.addfile(info, io.BytesIO(data))
    return archive


def with_checksums(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with the checksums of the miniatures in `folder`, of the kind that the corpus's are."""

    def changed(part):
        path = folder / part.archive.file
        if part.archive.checksum is None or not path.exists():
            return part
        kind = part.archive.checksum.partition(":")[0]
        digest = hashlib.new(kind, path.read_bytes()).hexdigest()
        return dataclasses.replace(part, archive=dataclasses.replace(part.archive, checksum=f"{kind}:{digest}"))

    return dataclasses.replace(recipe, parts=tuple(changed(part) for part in recipe.parts))
