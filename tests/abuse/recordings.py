"""Families of inputs: recordings, mels, latents."""

import io
import json
import random
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.abuse import seeds
from tests.abuse.case import Case, family
from tests.abuse.damage import NUMBERS, damaged, json_bytes

CHECKPOINT = ("--checkpoint", "seeds/voice")


@family(3)
def recordings(rng: random.Random, number: int, box: Path) -> Case:
    """Recordings of every format, damaged, to the commands that read one."""
    name, content = rng.choice(list(seeds.recordings().items()))
    kind = rng.random()
    if kind < 0.15:
        content = lying_wav(rng)
    elif kind < 0.25:
        content = damaged(rng, content) + rng.choice(list(seeds.recordings().values()))
    elif kind < 0.95:
        content = damaged(rng, content)
    place = box / "in" / (name if rng.random() < 0.9 else f"x{rng.choice(['.wav', '.mp3', '.raw', '.flac', ''])}")
    place.write_bytes(content)
    path = place.relative_to(box).as_posix()
    piped = rng.random() < 0.05
    return Case(
        rng.choice(
            [
                ("resynth", "/dev/stdin" if piped else path, "out/y.wav", *CHECKPOINT),
                ("mel", path, "out/y.npy", "--convention", rng.choice(["tacotron2", "hifigan", "vocos"])),
                ("encode", path, "out/y.npz", *CHECKPOINT),
                ("score", path, "seeds/z.wav", *CHECKPOINT),
                ("score", "seeds/z.wav", "--mel-from", path, *CHECKPOINT),
            ]
        ),
        stdin=content if piped else None,
    )


def lying_wav(rng: random.Random) -> bytes:
    """A WAV file whose header claims something odd."""
    extremes = [0, 1, 2, 7, 100, 999, 8000, 22050, 192_000, 10**6, 2**31 - 1, 2**32 - 1]
    channels, bits = rng.choice([0, 1, 1, 1, 2, 64, 1024, 65535]), rng.choice([0, 1, 8, 16, 16, 16, 24, 32, 64])
    rate, size = rng.choice(extremes), rng.choice([0, 100, 9000, 40_000])
    claimed = rng.choice([size, size, size, *extremes])
    width = channels * bits // 8
    code = rng.choice([1, 1, 1, 3, 2, 6, 17, 49, 85, 65534])
    form = struct.pack("<HHIIHH", code, channels, rate, rate * width % 2**32, width % 2**16, bits)
    body = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", claimed) + rng.randbytes(size)
    return b"RIFF" + struct.pack("<I", rng.choice([len(body), 0, 2**32 - 1])) + body


@family(3)
def mels(rng: random.Random, number: int, box: Path) -> Case:
    """Mel files, and the specs beside them, damaged or of odd arrays."""
    name, content = rng.choice([item for item in seeds.mels().items() if not item[0].endswith(".json")])
    kind = rng.random()
    if kind < 0.15:
        name, content = "x.npy", header(rng)
    elif kind < 0.3:
        name, content = "x.pt", saved(rng.choice(TENSORS)(rng))
    elif kind < 0.4:
        name, content = "x.npz", npz(rng, {"mel": odd_array(rng), "x": seeds.mel()})
    elif kind < 0.5:
        name, content = "x.npy", npy(odd_array(rng))
    elif kind < 0.8:
        content = damaged(rng, content)
    (box / "in" / name).write_bytes(content)
    if rng.random() < 0.3:
        spec = json.loads(seeds.mels()["a.npy.json"])
        (box / "in" / f"{name}.json").write_bytes(json_bytes(rng, spec))
    trust = rng.choice([(), ("--trust-mel",)])
    return Case(("synth", f"in/{name}", "out/y.wav", *trust, *CHECKPOINT))


@family(2)
def latents(rng: random.Random, number: int, box: Path) -> Case:
    """Latent files, damaged or with odd members."""
    content = seeds.latent()
    if rng.random() < 0.5:
        content = damaged(rng, content)
    else:
        with np.load(io.BytesIO(content)) as archive:
            arrays: dict[str, Any] = dict(archive)
        for name in rng.sample(list(arrays), rng.choice([1, 1, 2])):
            arrays[name] = (
                odd_array(rng) if name != "mel_spec" else np.array(json_bytes(rng, json.loads(str(arrays[name]))))
            )
        content = npz(rng, arrays)
    (box / "in" / "z.npz").write_bytes(content)
    return Case(("decode", "in/z.npz", "out/y.wav", *CHECKPOINT))


@family(1)
def streams(rng: random.Random, number: int, box: Path) -> Case:
    """Bytes in a pipe."""
    frames = rng.choice([0, 1, 5, 20, 60])
    mel = np.tile(seeds.mel(), 3)[:, :frames].T.astype(np.float32)
    if rng.random() < 0.5 and mel.size:
        mel.flat[rng.randrange(mel.size)] = rng.choice([np.nan, np.inf, -np.inf, 1e30, -1e30, 100.0, 1e-40])
    pcm = (32767 * seeds.sound(256 * frames)).astype(np.int16).tobytes()
    name, content = rng.choice([("synth", mel.tobytes()), ("stream-resynth", pcm)])
    content = damaged(rng, content) if rng.random() < 0.3 else content
    stream = ("--stream",) if name == "synth" else ()
    return Case((name, *stream, "--chunk", str(rng.choice([1, 3, 8, 1000])), *CHECKPOINT), stdin=content)


def odd_array(rng: random.Random) -> np.ndarray:
    """An array of a shape, a type or values that are not wanted."""
    shape = rng.choice(
        [(), (0,), (80,), (80, 0), (0, 80), (80, 3), (3, 80), (1, 80, 3), (2, 80, 3), (1,) * 30, (128, 20)]
    )
    dtype = rng.choice(["f2", "f4", "f8", ">f4", "f16", "i4", "u1", "?", "c8", "S5", "U7", "M8[s]", "V9", "f4,i4"])
    array: np.ndarray = np.zeros(shape, np.dtype(dtype))
    if array.dtype.kind == "f" and array.size:
        array[...] = rng.choice([-5.0, 0.0, np.nan, np.inf, -np.inf, 1e4, -1e4])
    return array


def npy(array: np.ndarray) -> bytes:
    encoded = io.BytesIO()
    np.save(encoded, array, allow_pickle=True)
    return encoded.getvalue()


TYPES = [
    "'<f4'", "'|V200000000'", "'|S900000000'", "'<U99999999'", "'|O'", "'<f4'*9", "'x'", "[('a','<f4')]", "None",
    "[('a','<f4',(9999,9999))]", "'<f2'", "('<f4',(10**4,10**4))", "'<M8[s]'", "'<f4', 'a': 1",
]  # fmt: skip
SHAPES = [
    "(80, 20)", "(80, 99999999)", "(0, 80)", "(-1, -80)", "(80, 2.5)", "(True, 2)", "()", "(2**62, 4)", "80",
    f"({'1,' * 90})", "(99999999999999999999999,)", "(80, 20" + "0" * 5000 + ")", "None", "[80, 20]",
]  # fmt: skip
HEADERS = [b"(" * 60_000, b"{'descr'", b"'" * 99, b"\xff" * 99, b"1" * 60_000]


def header(rng: random.Random) -> bytes:
    """A `.npy` file whose header claims something odd."""
    order = rng.choice(["True", "False", "2", "None"])
    text = f"{{'descr': {rng.choice(TYPES)}, 'fortran_order': {order}, 'shape': {rng.choice(SHAPES)}, }}\n"
    data = (text.encode() if rng.random() < 0.9 else rng.choice(HEADERS))[:65_000]
    version = rng.choice([1, 1, 1, 2, 3, 9])
    size = struct.pack("<H" if version == 1 else "<I", rng.choice([len(data), len(data), len(data), 0, 65535]))
    return b"\x93NUMPY" + bytes([version, 0]) + size + data + bytes(rng.choice([0, 6400]))


def npz(rng: random.Random, arrays: dict[str, Any]) -> bytes:
    """An archive of arrays, or of members that are none."""
    encoded = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(encoded, "w", rng.choice([0, 8, 8, 12, 14])) as archive:
        warnings.simplefilter("ignore")
        for name, array in arrays.items():
            content = (
                npy(array) if rng.random() < 0.8 else rng.choice([header(rng), b"", b"text", damaged(rng, npy(array))])
            )
            archive.writestr(f"{name}.npy" if rng.random() < 0.95 else name, content)
            if rng.random() < 0.1:
                archive.writestr(f"{name}.npy", content)
    content = encoded.getvalue()
    return content if rng.random() < 0.7 else damaged_directory(rng, content)


def damaged_directory(rng: random.Random, content: bytes) -> bytes:
    """A zip archive with another method, flag, size or name in one of its headers."""
    data = bytearray(content)
    at = data.find(b"PK\x01\x02") if rng.random() < 0.7 else 0
    field = rng.choice([6, 8, 8, 10, 10, 16, 20, 24, 28, 42, 46])
    if at + field + 4 <= len(data):
        data[at + field : at + field + 2] = struct.pack(
            "<H", rng.choice([0, 1, 8, 9, 12, 14, 64, 99, 2**15, 2**16 - 1])
        )
    return bytes(data)


def saved(value: Any) -> bytes:
    encoded = io.BytesIO()
    try:
        torch.save(value, encoded)
    except Exception:  # some cannot be saved in this version of PyTorch: then a plain one
        torch.save(torch.zeros(80, 3), encoded)
    return encoded.getvalue()


FLOATS = [torch.float8_e4m3fn, torch.float8_e5m2, torch.bfloat16, torch.float16, torch.float64]
OTHERS = [torch.bool, torch.int8, torch.uint16, torch.int64, torch.complex64]

TENSORS: list[Callable[[random.Random], Any]] = [
    lambda rng: torch.zeros(80, 3).to_sparse(),
    lambda rng: torch.zeros(80, 3).to_sparse_csr(),
    lambda rng: torch.zeros(80, 3, dtype=torch.complex64).conj(),
    lambda rng: torch.zeros(80, 3, dtype=torch.complex64).conj().imag,
    lambda rng: torch._neg_view(torch.full((80, 3), 5.0)),
    lambda rng: torch.quantize_per_tensor(torch.zeros(80, 3), 0.1, 0, torch.qint8),
    lambda rng: torch.nested.nested_tensor([torch.zeros(80, 2), torch.zeros(80, 3)]),
    lambda rng: torch.zeros(80, 3, device="meta"),
    lambda rng: torch.zeros(80, 3).to(rng.choice(FLOATS)),
    lambda rng: torch.zeros(80, 3, dtype=rng.choice(OTHERS)),
    lambda rng: torch.zeros(80, 3, dtype=torch.uint8).view(torch.float4_e2m1fn_x2),
    lambda rng: torch.zeros(1).expand(10**6, 10**6),
    lambda rng: torch.full((1, 1), -5.0).expand(80, rng.choice([3, 10**5])),
    lambda rng: torch.nn.Parameter(torch.full((80, 3), -5.0)),
    lambda rng: torch.full((80, 3), -5.0, requires_grad=True),
    lambda rng: torch.zeros(rng.choice([0, 1, 5]), 80, 3),
    lambda rng: torch.tensor(rng.choice([0.0, float("nan")])),
    lambda rng: {"mel": torch.zeros(3)},
    lambda rng: {"a": torch.zeros(80, 3), "b": 1},
    lambda rng: {"mel": {"mel": torch.zeros(80, 3)}},
    lambda rng: [torch.zeros(80, 3)],
    lambda rng: rng.choice([*NUMBERS, {}, "text", {"mel": None}, np.zeros((80, 3))]),
    lambda rng: torch.zeros(80, 6)[:, ::2],
    lambda rng: torch.nn.Linear(2, 2),
]
"""What may be in a `.pt` file in the place of a mel."""
