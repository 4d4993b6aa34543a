"""A manifest in the form of another toolkit."""

import functools
import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from flowvocoder.audio.files import open_audio
from flowvocoder.data.manifest import Entry, read_manifest
from flowvocoder.errors import ConfigError, DataError
from flowvocoder.files import check_folder, writing
from flowvocoder.progress import progress

KALDI = "wav.scp", "segments", "utt2spk", "text"


def export(manifest: Path, out: Path) -> str:
    """A Kaldi data folder, or Lhotse's cuts where `out` ends in `.jsonl.gz`; paths are absolute. Returns what it was.

    Raises:
        ConfigError: another ending.
        DataError: as `read_manifest`, or an id or path that Kaldi's tables cannot hold.
        OutputError: it cannot be written.
    """
    if out.name.endswith(".jsonl.gz"):
        return _write_cuts(manifest, out)
    if out.suffix:
        raise ConfigError(f"{out}: name a folder (Kaldi) or a file that ends in .jsonl.gz (Lhotse)")
    return _write_kaldi(manifest, out)


@functools.lru_cache(maxsize=1024)
def _samples(audio: Path) -> int:
    with open_audio(audio) as file:
        return file.frames


def _located(manifest: Path) -> Iterator[tuple[Entry, Path]]:
    folder = manifest.resolve().parent
    for entry in progress(read_manifest(manifest), "export", "utterance"):
        yield entry, entry.audio_file(folder)


def _write_cuts(manifest: Path, out: Path) -> str:
    with writing(out) as temporary, gzip.GzipFile(temporary, "wb", mtime=0) as packed:
        for entry, audio in _located(manifest):
            samples, seconds = _samples(audio), entry.duration / entry.rate
            spoken = {"id": entry.id, "recording_id": entry.path, "start": 0.0, "duration": seconds, "channel": 0,
                      "text": entry.text, "language": entry.language, "speaker": entry.speaker}  # fmt: skip
            source = {"type": "file", "channels": [0], "source": str(audio)}
            recording = {"id": entry.path, "sources": [source], "sampling_rate": entry.rate, "num_samples": samples,
                         "duration": samples / entry.rate, "channel_ids": [0]}  # fmt: skip
            cut = {"id": entry.id, "start": entry.start / entry.rate, "duration": seconds, "channel": 0,
                   "supervisions": [spoken], "recording": recording, "custom": {"split": entry.split},
                   "type": "MonoCut"}  # fmt: skip
            packed.write(json.dumps(cut, ensure_ascii=False).encode() + b"\n")
    return "cuts of Lhotse"


def _write_kaldi(manifest: Path, out: Path) -> str:
    """A folder for each split. Kaldi wants its tables sorted by the bytes of their ids."""
    tables: dict[str, dict[str, dict[str, str]]] = {}
    for entry, audio in _located(manifest):
        if len(f"{entry.id}{entry.speaker}".split()) > 1 or "\n" in f"{audio}{entry.text}":
            raise DataError(f"{manifest}: {entry.id!r} has a space in id or speaker, or a line break in path or text,"
                            " which Kaldi's tables cannot hold")  # fmt: skip
        split = tables.setdefault(entry.split, {name: {} for name in KALDI})
        recording = re.sub(r"[\s%]", lambda found: quote(found[0]), audio.as_posix()).strip("/")
        split["wav.scp"][recording] = str(audio)
        # Rounded up, since Kaldi cuts off what is less than a sample.
        times = (-(-(10**6) * sample // entry.rate) / 10**6 for sample in (entry.start, entry.start + entry.duration))
        split["segments"][entry.id] = f"{recording} " + " ".join(f"{time:.6f}" for time in times)
        split["utt2spk"][entry.id], split["text"][entry.id] = entry.speaker, entry.text or ""
    for name, split in tables.items():
        folder = out / name
        check_folder(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for table, rows in split.items():
            with writing(folder / table) as temporary, temporary.open("w", encoding="utf-8") as file:
                file.writelines(f"{key} {rows[key]}".strip() + "\n" for key in sorted(rows, key=str.encode))
    return f"for Kaldi, {', '.join(sorted(tables))}"
