"""Files of a few kB, or MB, that claim to be, or unpack to, far more."""

import io
import struct
import zipfile
from collections.abc import Iterator

import numpy as np
import soundfile as sf


def bombs() -> Iterator[tuple[str, bytes]]:
    """Name and content of each."""
    for name, descr, shape, stored in (
        ("wide.npz", "'|V200000000'", (1,), 10 * 2**20), ("long.npz", "'<f4'", (80, 10**9), 2**20),
        ("deep.npz", "'<f8'", (80, 12_500_000), 40 * 2**20), ("text.npz", "'<U99999999'", (80, 99), 2**20),
        ("objects.npz", "'|O'", (80, 99), 2**10), ("fields.npz", "[('a', '<f4', (80, 999999))]", (9,), 2**20),
    ):  # fmt: skip
        yield name, _npz(descr, shape, stored)
    yield "short.npy", _npy_head("'<f4'", (80, 2**40))
    yield "cut.npy", _npy_head("'<f4'", (80, 99))[:50]
    yield "many.npz", _zip({f"{index}.npy": b"" for index in range(20_000)})
    yield "hours.flac", _encoded(np.zeros(8000 * 3600, np.int16), 8000, "FLAC")
    yield "slow.wav", wav(1, np.zeros(20_000))
    yield "claims.wav", wav(22050, np.zeros(100)).replace(struct.pack("<I", 200), struct.pack("<I", 2**32 - 1))
    yield "channels.wav", _encoded(np.zeros((40, 1000), np.int16), 22050, "WAV")
    yield "cut.wav", wav(22050, np.zeros(100))[:30]
    yield "page.wav", b"<script>alert(1)</script>" * 1000
    yield "nothing.wav", b""
    yield "pickle.pt", b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R."


def _npy_head(descr: str, shape: tuple[int, ...]) -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (117 - len(text)) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def _npz(descr: str, shape: tuple[int, ...], stored: int) -> bytes:
    return _zip({"mel.npy": _npy_head(descr, shape) + bytes(stored)})


def _zip(members: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return content.getvalue()


def _encoded(samples: np.ndarray, rate: int, format: str) -> bytes:
    content = io.BytesIO()
    sf.write(content, samples, rate, "PCM_16", format=format)
    return content.getvalue()


def wav(rate: int, samples: np.ndarray) -> bytes:
    return _encoded(samples.astype(np.int16), rate, "WAV")
