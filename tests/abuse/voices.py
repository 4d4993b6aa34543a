"""Families of inputs: checkpoints, training runs, published checkpoints."""

import io
import itertools
import json
import pickle
import pickletools
import random
import struct
import zipfile
from pathlib import Path
from typing import Any

from flowvocoder.checkpoint import signed
from flowvocoder.files import sha256_of
from tests.abuse import seeds
from tests.abuse.case import Case, family
from tests.abuse.damage import damaged, damaged_json, json_bytes, value

COMMANDS = [
    ("info", "in/voice"),
    ("info", "in/voice", "--json"),
    ("synth", "seeds/mels/a.npy", "out/y.wav", "--checkpoint", "in/voice"),
    ("resynth", "seeds/z.wav", "out/y.wav", "--checkpoint", "in/voice"),
    ("mel", "seeds/z.wav", "out/y.npy", "--checkpoint", "in/voice"),
]


@family(3)
def checkpoints(rng: random.Random, number: int, box: Path) -> Case:
    """A checkpoint with a damaged file, mostly with the right hashes."""
    files = rng.choice([seeds.voice(), seeds.voice(), *seeds.old_voices()])
    folder = seeds.put(box / "in" / "voice", files)
    config = json.loads(files["config.json"])
    weights = folder / "model.safetensors"
    kind = rng.random()
    if kind < 0.5:
        section = rng.choice([*(key for key in config if isinstance(config[key], dict)), None])
        if section is None:
            config = damaged_json(rng, config)
        else:
            config[section] = damaged_json(rng, config[section])
    elif kind < 0.75:
        weights.write_bytes(damaged(rng, weights.read_bytes()) if kind < 0.6 else tensors(rng, weights.read_bytes()))
    elif kind < 0.85:
        sizes = config["model"]
        for name in rng.sample(sorted(sizes.keys() - {"architecture"}), 2):
            sizes[name] = rng.choice([1, 2, 16, 64, 256, 4096]) if type(sizes[name]) is int else True
    else:
        (folder / "config.json").write_bytes(damaged(rng, files["config.json"]))
        return Case(rng.choice(COMMANDS))
    if isinstance(config, dict):
        if rng.random() < 0.9:
            config["weights_sha256"] = sha256_of(weights)
        config.pop("config_sha256", None)
        (folder / "config.json").write_text(signed(config), encoding="utf-8")
    else:
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return Case(rng.choice(COMMANDS))


def tensors(rng: random.Random, content: bytes) -> bytes:
    """A safetensors file with another header."""
    (size,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + size]), content[8 + size :]
    header = json_bytes(rng, header) if rng.random() < 0.5 else json.dumps(damaged_json(rng, header)).encode()
    claimed = rng.choice([len(header), len(header), len(header), 0, 2**40, 2**64 - 1])
    return struct.pack("<Q", claimed) + header + data


@family(0.2)
def runs(rng: random.Random, number: int, box: Path) -> Case:
    """A training run with a damaged file, continued."""
    files = dict(seeds.run_folder())
    name = rng.choice([n for n in files if n.startswith(("state/", "checkpoint/"))] + ["state/state.json", "log.jsonl"])
    damage = json_bytes(rng, json.loads(files[name])) if name.endswith(".json") else damaged(rng, files[name])
    seeds.put(box / "out" / "run", {**files, name: damage})
    return Case(("train", "--resume", "--corpus", "seeds/toy", "--out", "out/run", "--set", "steps=2"), keeps=True)


@family(3)
def published(rng: random.Random, number: int, box: Path) -> Case:
    """Published checkpoints, damaged in their bytes, their archive or their pickles."""
    content = rng.choice(list(seeds.published().values()))
    kind = rng.random()
    if kind < 0.3:
        content = damaged(rng, content)
    elif kind < 0.7:
        content = other_pickle(rng, content)
    else:
        content = (
            zipped(program(rng), rng.choice([b"", bytes(64), bytes(4096)])) if rng.random() < 0.7 else program(rng)
        )
    (box / "in" / "x.pt").write_bytes(content)
    more = ("--set", rng.choice(["model.alternate=true", "rows=8", "mel=hifigan"])) if rng.random() < 0.1 else ()
    return Case(("import-checkpoint", "in/x.pt", "out/voice", *more))


def zipped(pickled: bytes, data: bytes = b"") -> bytes:
    """An archive as `torch.save` writes it."""
    encoded = io.BytesIO()
    with zipfile.ZipFile(encoded, "w") as archive:
        archive.writestr("x/data.pkl", pickled)
        archive.writestr("x/data/0", data)
    return encoded.getvalue()


def other_pickle(rng: random.Random, content: bytes) -> bytes:
    """The checkpoint with an operation or a number of its pickle changed."""
    if not content.startswith(b"PK"):
        start = content.find(b"\x80", 2)
        at = rng.randrange(start, min(len(content), start + 60_000))
        return content[:at] + damaged(rng, content[at : at + 200]) + content[at + 200 :]
    encoded = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(encoded, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, changed(rng, data) if name.endswith("data.pkl") else data)
    return encoded.getvalue()


def changed(rng: random.Random, pickled: bytes) -> bytes:
    """A pickle with one to three operations replaced, repeated or left out."""
    starts = [position for _, _, position in pickletools.genops(pickled)] + [len(pickled)]
    pieces = [pickled[a:b] for a, b in itertools.pairwise(starts)]
    for _ in range(rng.choice([1, 1, 2, 3])):
        at = rng.randrange(len(pieces))
        change = rng.random()
        if change < 0.3:
            pieces[at] = operation(rng)
        elif change < 0.5:
            pieces[at] = pieces[rng.randrange(len(pieces))]
        elif change < 0.7:
            del pieces[at]
        else:
            pieces.insert(at, operation(rng))
    return b"".join(pieces)


def operation(rng: random.Random) -> bytes:
    """One operation of a pickle."""
    simple = [code for code in pickletools.opcodes if code.arg is None and code.name != "STOP"]
    if rng.random() < 0.4:
        return rng.choice(simple).code.encode("latin-1")
    if rng.random() < 0.5:
        return pickle.dumps(rng.choice([value(rng), (2, 3), "storage", "0", b"x"]), 2)[2:-1]
    return b"c" + rng.choice(NAMES) + b"\n"


def program(rng: random.Random) -> bytes:
    """A pickle of random operations."""
    return b"\x80\x02" + b"".join(operation(rng) for _ in range(rng.choice([3, 10, 100]))) + b"."


NAMES = [
    b"torch._utils\n_rebuild_tensor_v2", b"torch\nFloatStorage", b"collections\nOrderedDict", b"torch\nSize",
    b"__builtin__\nset", b"torch\ndevice", b"glow\nWaveGlow", b"torch.nn.modules.conv\nConv1d", b"os\nsystem",
    b"torch._utils\n_rebuild_parameter", b"torch\n_utils", b"\xff\n\xff", b"a.b.c\n__reduce__", b"numpy\nndarray",
]  # fmt: skip


def make_all() -> list[Any]:
    """All seeds, so that the first input is as quick as the others."""
    return [make() for make in seeds.ALL]
