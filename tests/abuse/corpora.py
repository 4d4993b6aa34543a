"""Families of inputs: manifests, shards, archives."""

import gzip
import io
import json
import os
import random
import tarfile
import zipfile
from pathlib import Path
from typing import Any

from tests.abuse import seeds
from tests.abuse.case import Case, family
from tests.abuse.damage import damaged, damaged_json, json_bytes

TRAIN = ("train", "--out", "out/run", "--preset", "lapglow-tiny", *seeds.TRAIN, "--corpus")
"""One step on what is named next."""


@family(2)
def manifests(rng: random.Random, number: int, box: Path) -> Case:
    """Manifests with damaged lines, or of damaged files."""
    corpus = box / "in" / "toy"
    seeds.put(corpus, {p.relative_to(seeds.corpus()).as_posix(): p.read_bytes() for p in seeds.corpus().rglob("*.*")})
    manifest = corpus / "manifest.jsonl"
    lines = manifest.read_bytes().splitlines()
    if rng.random() < 0.7:
        at = rng.randrange(len(lines))
        lines[at] = json_bytes(rng, json.loads(lines[at]))
        manifest.write_bytes(b"\n".join(lines))
    else:
        wav = rng.choice(sorted((corpus / "wavs").iterdir()))
        wav.write_bytes(damaged(rng, wav.read_bytes()))
    commands = [
        ("audit", "in/toy/manifest.jsonl", "--jobs", "1", "--fix", "out/fixed.jsonl"),
        ("audit", "in/toy/manifest.jsonl", "--jobs", "1", "--json"),
        ("prepare", "in/toy/manifest.jsonl", "out/shards", "--jobs", "1"),
        (*TRAIN, "in/toy/manifest.jsonl"),
    ]
    arguments = rng.choices(commands, [5, 5, 5, 1])[0]
    return Case(arguments, codes=(0, 1, 2), keeps=arguments[0] != "audit")


@family(0.5)
def shards(rng: random.Random, number: int, box: Path) -> Case:
    """A folder of shards with damaged files, mostly of the size that the index states."""
    files: dict[str, Any] = dict(seeds.shards())
    name = rng.choice([n for n in files if n.endswith(".tar")] * 3 + [n for n in files if n.endswith(".json")])
    content = files[name]
    if name.endswith(".tar"):
        new = other_tar(rng, content) if rng.random() < 0.5 else damaged(rng, content)
        files[name] = (new + bytes(len(content)))[: len(content)] if rng.random() < 0.8 else new
    else:
        files[name] = json_bytes(rng, json.loads(content))
    seeds.put(box / "in" / "shards", files)
    return Case((*TRAIN, "in/shards"), keeps=True)


def other_tar(rng: random.Random, content: bytes) -> bytes:
    """A tar file with one member damaged, renamed, or turned into something else."""
    encoded = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(content)) as old, tarfile.open(fileobj=encoded, mode="w") as new:
        members = old.getmembers()
        chosen = rng.randrange(len(members))
        for index, info in enumerate(members):
            data = old.extractfile(info).read()  # type: ignore[union-attr]
            if index == chosen:
                data = json_bytes(rng, json.loads(data)) if info.name.endswith("json") else damaged(rng, data)
                change = rng.random()
                if change < 0.2:
                    info.type = rng.choice([tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, b"Z"])
                    info.linkname, data = rng.choice([info.name, "/etc/passwd", members[0].name, "nothing"]), b""
                elif change < 0.4:
                    info.name = rng.choice(["x", "../x", "/x", ".", "a.b.c", "é" * 60, members[0].name])
            info.size = len(data)
            new.addfile(info, io.BytesIO(data))
    return encoded.getvalue()


@family(1.5)
def archives(rng: random.Random, number: int, box: Path) -> Case:
    """Archives of corpora, damaged or with odd members."""
    name, content = rng.choice(list(seeds.archives().items()))
    kind = rng.random()
    if kind < 0.5:
        content = damaged(rng, content)
    elif kind < 0.75:
        name, content = "x.zip", odd_zip(rng)
    else:
        name, content = "x.tar", odd_tar(rng)
    (box / "in" / name).write_bytes(content)
    return Case((f"in/{name}", "out/unpacked"), program="extract")


MEMBERS = [
    "a.txt",
    "a/b.txt",
    "a",
    "a/",
    "../x",
    "/x",
    "..",
    ".",
    "a//b",
    "a/./b",
    "C:\\x",
    "x" * 300,
    "\x1b[31m.txt",
    "é",
]


def odd_zip(rng: random.Random) -> bytes:
    encoded = io.BytesIO()
    with zipfile.ZipFile(encoded, "w", rng.choice([0, 8, 12, 14])) as archive:
        for name in rng.sample(MEMBERS, rng.choice([1, 2, 4])):
            info = zipfile.ZipInfo(name)
            info.external_attr = rng.choice([0, 0o100644, 0o120777, 0o040755, 0o010644, 0o177777]) << 16
            info.compress_type = archive.compression
            archive.writestr(info, rng.choice([b"text", b"../x", b"a.txt", bytes(10_000), b"\xff\xfe"]))
    from tests.abuse.recordings import damaged_directory

    return encoded.getvalue() if rng.random() < 0.5 else damaged_directory(rng, encoded.getvalue())


def odd_tar(rng: random.Random) -> bytes:
    encoded = io.BytesIO()
    with tarfile.open(
        fileobj=encoded, mode="w", format=rng.choice([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    ) as tar:
        for name in rng.sample(MEMBERS, rng.choice([1, 2, 4])):
            info = tarfile.TarInfo(name[:90])
            info.type = rng.choice(
                [tarfile.REGTYPE] * 4 + [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE, b"S"]
            )
            info.linkname = rng.choice(["a.txt", name[:90], "../../x", "/etc/passwd", "a/b"])
            if tar.format == tarfile.PAX_FORMAT and rng.random() < 0.5:
                key = rng.choice(
                    ["size", "path", "GNU.sparse.map", "GNU.sparse.realsize", "GNU.sparse.name", "hdrcharset", "mtime"]
                )
                info.pax_headers = {
                    key: rng.choice(["99999999999999", "-1", "0,1,2", "x" * 900, "", "\x00"]),
                    "GNU.sparse.major": "1",
                }
            content = b"" if info.type not in (tarfile.REGTYPE, b"S") else rng.choice([b"text", bytes(600)])
            info.size = len(content)
            try:
                tar.addfile(info, io.BytesIO(content))
            except ValueError:  # a header that tarfile does not write
                continue
    return encoded.getvalue() if rng.random() < 0.6 else damaged(rng, encoded.getvalue())


@family(1)
def folders(rng: random.Random, number: int, box: Path) -> Case:
    """Folders of recordings with damaged and odd files among them."""
    folder = box / "in" / "corpus"
    (folder / "wavs").mkdir(parents=True)
    for name, content in rng.sample(list(seeds.recordings().items()), 3):
        (folder / "wavs" / name).write_bytes(damaged(rng, content) if rng.random() < 0.5 else content)
    if rng.random() < 0.3:
        os.mkfifo(folder / "wavs" / "pipe.wav")
    if rng.random() < 0.5:
        (folder / "metadata.csv").write_bytes(damaged(rng, b"a|text|text\nb|text|text\n"))
    if rng.random() < 0.3:
        (folder / "wavs" / "z\udcff\x1b[0m.wav").write_bytes(seeds.recordings()["a.wav"])
    (folder / "wavs" / "z.wav").write_bytes(seeds.recordings()["a.wav"])
    prepare = ("prepare", "folder", "out", "--source", "in/corpus", "--jobs", "1")
    if rng.random() < 0.8:
        return Case(prepare + rng.choice([(), ("--skip-bad",)]), program="recipes")
    return Case((*TRAIN, "in/corpus"), keeps=True)


@family(0.2)
def cuts(rng: random.Random, number: int, box: Path) -> Case:
    """Lhotse's cuts, packed, with a damaged line or a damaged file."""
    seeds.put(box / "in", {"a.wav": seeds.recordings()["a.wav"]})
    recording = {"sources": [{"type": "file", "channels": [0], "source": "a.wav"}], "sampling_rate": 22050}
    cut = {"id": "a", "type": "MonoCut", "start": 0.0, "duration": 0.2, "supervisions": [], "recording": recording}
    packed = gzip.compress(damaged_lines(rng, cut) + b"\n" + json.dumps({**cut, "id": "b"}).encode())
    seeds.put(box / "in", {"cuts.jsonl.gz": damaged(rng, packed) if rng.random() < 0.5 else packed})
    return Case(("prepare", "folder", "out", "--source", "in/cuts.jsonl.gz", "--jobs", "1"), program="recipes")


def damaged_lines(rng: random.Random, values: Any) -> bytes:
    return json.dumps(damaged_json(rng, values)).encode()
