"""A fixed family: files that would run something, write somewhere else, or claim more than they hold."""

import functools
import gzip
import io
import itertools
import json
import random
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf

from flowvocoder.checkpoint import signed
from flowvocoder.files import sha256_of
from flowvocoder.settings import limits_of
from tests.abuse import seeds
from tests.abuse.case import Case, family
from tests.abuse.corpora import TRAIN
from tests.abuse.parquets import parquets
from tests.abuse.recordings import CHECKPOINT, SHAPES, TYPES
from tests.abuse.voices import zipped

CALLS = [
    "os system", "posix system", "nt system", "subprocess Popen", "subprocess call", "builtins eval", "builtins exec",
    "builtins __import__", "builtins open", "builtins getattr", "builtins breakpoint", "runpy _run_code", "pty spawn",
    "shutil rmtree", "socket create_connection", "importlib import_module", "pickle loads", "torch load",
    "torch.hub load", "torch.jit load", "torch.storage _load_from_bytes", "numpy load", "ctypes CDLL",
    "operator attrgetter", "functools partial", "webbrowser open", "timeit timeit", "cProfile run", "pydoc pipepager",
    "types FunctionType",
]  # fmt: skip
"""Functions that malicious pickles name."""

Write = Callable[[Path], Case]


@family(0, most=1.5, count=367)
def hostile(rng: random.Random, number: int, box: Path) -> Case:
    """Each of `every` in turn."""
    return every()[number](box)


@functools.cache
def every() -> list[Write]:
    return [*calls(), *pickles(), *checkpoints(), *arrays(), *tars(), *parquets(), *archives(), *recordings()]


def put(name: str, content: bytes, *command: str, **more: Any) -> Write:
    """Writes a file of this name in `in`, and runs a command."""

    def write(box: Path) -> Case:
        (box / "in" / name).write_bytes(content)
        return Case(command, **more)

    return write


def imported(content: bytes) -> Write:
    return put("x.pt", content, "import-checkpoint", "in/x.pt", "out/voice")


def synthesised(name: str, content: bytes) -> Write:
    return put(name, content, "synth", f"in/{name}", "out/y.wav", "--trust-mel", *CHECKPOINT)


def calls() -> Iterator[Write]:
    """Pickles that call a function, bare, in an archive, in a stream, and in the place of an array."""
    for call in CALLS:
        module, name = call.encode().split()
        argument = b"X\x0e\x00\x00\x00touch ../owned1"
        pickled = b"c" + module + b"\n" + name + b"\n(" + argument + b"tR."
        yield imported(zipped(b"\x80\x02" + pickled))
        yield imported(b"\x80\x02" + pickled)
        yield synthesised("x.pt", zipped(b"\x80\x02" + pickled))
        header = b"{'descr': '|O', 'fortran_order': False, 'shape': (80, 3)}\n"
        yield synthesised("x.npy", b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + b"\x80\x02" + pickled)


def pickles() -> Iterator[Write]:
    """Pickles that take a long time or much memory where a reader does what they say."""
    numbers = b"](" + b"".join(b"M" + struct.pack("<H", n) for n in range(20_000)) + b"eq\1"
    for function in (b"ctorch\nSize\n", b"c__builtin__\nset\n", b"ccollections\nOrderedDict\n"):
        yield imported(zipped(b"\x80\x02" + numbers + b"](" + (function + b"h\1\x85R") * 20_000 + b"e."))
    pairs = b"}(" + b"".join(b"M" + struct.pack("<H", n) + b"N" for n in range(20_000)) + b"uq\1"
    yield imported(zipped(b"\x80\x02" + pairs + b"](" + b"cglow\nWaveGlow\n)\x81h\1b" * 20_000 + b"e."))
    name = b"X" + struct.pack("<I", 10**6) + b"a" * 10**6 + b"q\1"
    yield imported(zipped(b"\x80\x04" + name + b"](" + b"h\1h\1\x93" * 20_000 + b"e."))
    for deep in (b"](" * 60_000, b")" + b"\x85" * 60_000, b"}X\1\0\0\0a" * 60_000):
        yield imported(zipped(b"\x80\x02" + deep + b"."))
    yield imported(zipped(b"\x80\x02]q\0h\0a."))
    yield imported(zipped(b"\x80\x02" + b"]q\0" + b"](h\0h\0h\0h\0h\0h\0h\0h\0eq\0" * 30 + b"."))
    yield imported(b"\x80\x02X\xff\xff\xff\x7f.")
    yield imported(zipped(b"\x80\x02\x8b\xff\xff\xff\x7f."))
    yield imported(zipped(b"\x80\x02L" + b"9" * 10**6 + b"L\n."))
    yield imported(zipped(b"\x80\x04\x95" + b"\xff" * 7 + b"\x7f]."))
    encoded = io.BytesIO()
    with zipfile.ZipFile(encoded, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("x/data.pkl", b"\x80\x02}.")
        archive.writestr("x/data/0", zeros())
    yield imported(encoded.getvalue())
    yield synthesised("x.pt", encoded.getvalue())


def checkpoints() -> Iterator[Write]:
    """Checkpoints with the right hashes, and sizes at their limits or weights that claim more."""
    from flowvocoder.models.registry import ARCHITECTURES

    for name, kind in ARCHITECTURES.items():
        limits = limits_of(kind)
        for sizes in ({n: int(most) for n, (_, most) in limits.items()}, *({n: int(limits[n][1])} for n in limits)):
            yield functools.partial(_voice, architecture=name, sizes=sizes)
    for mel in (
        {"n_fft": 65536, "hop_length": 1},
        {"n_fft": 65536, "hop_length": 1024},
        {"n_mels": 4096, "n_fft": 8192},
        {"sample_rate": 192_000},
    ):
        yield functools.partial(_voice, architecture="lapglow", sizes={}, mel=mel)
    yield functools.partial(_voice, architecture="lapglow", sizes={}, weights=struct.pack("<Q", 2**40) + b"{}")
    claim = json.dumps({"a": {"dtype": "F32", "shape": [2**20, 2**20], "data_offsets": [0, 2**42]}}).encode()
    yield functools.partial(_voice, architecture="lapglow", sizes={}, weights=struct.pack("<Q", len(claim)) + claim)


def _voice(
    box: Path, architecture: str, sizes: dict[str, int], mel: dict[str, int] | None = None, weights: bytes = b""
) -> Case:
    folder = seeds.put(box / "in" / "voice", seeds.voice())
    if weights:
        (folder / "model.safetensors").write_bytes(weights)
    config = json.loads(seeds.voice()["config.json"])
    own = config["model"] if config["model"]["architecture"] == architecture else {"architecture": architecture}
    config["model"], config["mel"] = {**own, **sizes}, {**config["mel"], **(mel or {})}
    del config["config_sha256"]
    config["weights_sha256"] = sha256_of(folder / "model.safetensors")
    (folder / "config.json").write_text(signed(config), encoding="utf-8")
    return Case(("synth", "seeds/mels/a.npy", "out/y.wav", "--checkpoint", "in/voice"))


def arrays() -> Iterator[Write]:
    """Arrays of impossible types and shapes, and archives of zeros."""
    for dtype, shape in itertools.islice(itertools.product(TYPES, SHAPES), 0, None, 7):
        header = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
        content = b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header
        encoded = io.BytesIO()
        with zipfile.ZipFile(encoded, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr("mel.npy", content + bytes(10**6))
        yield synthesised("x.npz", encoded.getvalue())
    for name in ("latent", "mel", "samples", "mel_spec"):
        encoded = io.BytesIO()
        with (
            zipfile.ZipFile(io.BytesIO(seeds.latent())) as old,
            zipfile.ZipFile(encoded, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new,
        ):
            for member in old.namelist():
                bomb = _npy("<f4", (80, 4_000_000)) + zeros()
                new.writestr(member, bomb if member == f"{name}.npy" else old.read(member))
        yield put("z.npz", encoded.getvalue(), "decode", "in/z.npz", "out/y.wav", *CHECKPOINT)


def _npy(dtype: str, shape: tuple[int, ...]) -> bytes:
    header = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header


def tars() -> Iterator[Write]:
    """Shards with the right hashes and members that are no files, or bombs."""
    mel = _npy("<f4", (80, 10**9))
    about = seeds.shards()
    old = next(content for name, content in about.items() if name.endswith(".tar"))
    with tarfile.open(fileobj=io.BytesIO(old)) as tar:
        first = tar.extractfile(tar.getmembers()[0]).read()  # type: ignore[union-attr]
    good = [("0.json", first), ("0.flac", hours()), ("0.npy", mel)]
    for kind in (b"1", b"2", b"3", b"6", b"S", b"x", b"L", b"K", b"Z"):
        for size in (0, 8**11 - 1):
            yield functools.partial(_shards, tar=_tar("0.json", kind, size))
            yield put("m.tar", _tar("0.npy", kind, size), "synth", "in/m.tar", "out/y.tar", *CHECKPOINT)
    for members in (good[:2], good, [("0.json", b"[" * 100_000), good[1]], [("0.json", b"{}"), good[1]]):
        encoded = io.BytesIO()
        with tarfile.open(fileobj=encoded, mode="w") as tar:
            for name, content in members:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        yield functools.partial(_shards, tar=encoded.getvalue())
        yield put("m.tar", encoded.getvalue(), "synth", "in/m.tar", "out/y.tar", *CHECKPOINT)


def _tar(name: str, kind: bytes, size: int, link: str = "0.json") -> bytes:
    """A tar file of one header that claims something."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, link
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT)[-512:])
    if kind == b"S":
        header[483:495] = b"77777777777\0"  # what it unpacks to
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    return bytes(header) + bytes(1024)


def _shards(box: Path, tar: bytes) -> Case:
    files = dict(seeds.shards())
    index = json.loads(files["index.json"])
    for shard in index["shards"]:
        path = box / "in" / "x.tar"
        path.write_bytes(tar)
        shard["bytes"], shard["sha256"] = len(tar), sha256_of(path)
        files[f"{shard['name']}.tar"] = tar
    files["index.json"] = json.dumps(index).encode()
    seeds.put(box / "in" / "shards", files)
    return Case((*TRAIN, "in/shards"), keeps=True)


def archives() -> Iterator[Write]:
    """Archives that would write elsewhere or fill a disk."""
    for name in ("../x", "/tmp/x", "a/../../x", "C:/x", "\\\\host\\x", "..\\x", "a\0b", "x" * 5000):
        encoded = io.BytesIO()
        with zipfile.ZipFile(encoded, "w") as archive:
            archive.writestr(zipfile.ZipInfo(name), b"text")
        yield put("x.zip", encoded.getvalue(), "in/x.zip", "out/u", program="extract")
        for kind in (b"0", b"1", b"2"):
            yield put("x.tar", _tar(name[:90], kind, 0, "../../x"), "in/x.tar", "out/u", program="extract")
    for kind in (b"S", b"x", b"L", b"3"):
        yield put("x.tar", _tar("a.wav", kind, 8**11 - 1), "in/x.tar", "out/u", program="extract")
    info = tarfile.TarInfo("a.wav")
    info.size = 5 * len(zeros())
    bomb = gzip.compress(info.tobuf() + 5 * zeros() + bytes(1024), 1)
    yield put("x.tar.gz", bomb, "in/x.tar.gz", "out/u", program="extract")


def recordings() -> Iterator[Write]:
    """Recordings whose headers claim hours, or a rate that would make hours of them."""
    slow = io.BytesIO()
    sf.write(slow, seeds.sound(20_000), 1, format="WAV")
    lying = bytearray(seeds.recordings()["f.flac"])
    lying[21] |= 0x0F
    lying[22:26] = b"\xff\xff\xff\xfe"
    for name, content in (("a.flac", hours()), ("a.wav", slow.getvalue()), ("b.flac", bytes(lying))):
        for command in (("resynth", f"in/{name}", "out/y.wav"), ("score", f"in/{name}")):
            yield put(name, content, *command, *CHECKPOINT)


@functools.cache
def hours() -> bytes:
    """Silence at 8000 Hz."""
    flac = io.BytesIO()
    sf.write(flac, np.zeros(60_000_000, np.int16), 8000, format="FLAC")
    return flac.getvalue()


def zeros() -> bytes:
    return bytes(50_000_000)
