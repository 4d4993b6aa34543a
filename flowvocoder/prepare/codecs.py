"""How a shard stores audio: FLAC, or with loss Opus and Vorbis in Ogg. The same samples give the same bytes."""

import io
import zlib
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import soundfile as sf

from flowvocoder.errors import ConfigError

Codec = Literal["flac", "opus", "vorbis"]

OPUS_RATES = 8000, 12_000, 16_000, 24_000, 48_000
"""Hz; Opus knows no others."""

COMPRESSION = {"opus": 0.7, "vorbis": 0.2}
"""libsndfile's levels, from 0 to 1: both give 84 kbit/s at 22 to 24 kHz."""

EXTENSIONS = {"flac": "flac", "opus": "opus", "vorbis": "ogg"}
"""Of the audio in a shard."""

_SERIAL, _CHECKSUM, _SEGMENTS, _HEADER = slice(14, 18), slice(22, 26), 26, 27
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def check_codec(codec: str, rate: int) -> None:
    """Raises ConfigError for an unknown codec, or a rate that it cannot store."""
    if codec not in get_args(Codec):
        raise ConfigError(f"--codec must be one of {', '.join(get_args(Codec))}, not {codec}")
    if codec == "opus" and rate not in OPUS_RATES:
        raise ConfigError(f"--codec opus stores {', '.join(map(str, OPUS_RATES))} Hz, not {rate}")


def encode_audio(pcm: npt.NDArray[np.int16], rate: int, codec: Codec) -> bytes:
    """A file of mono audio (T,)."""
    encoded = io.BytesIO()
    if codec == "flac":
        sf.write(encoded, pcm, rate, subtype="PCM_16", format="FLAC")
        return encoded.getvalue()
    sf.write(encoded, pcm, rate, subtype=codec.upper(), format="OGG", compression_level=COMPRESSION[codec])
    return _same_serial(encoded.getvalue())


def _same_serial(ogg: bytes) -> bytes:
    """An Ogg stream (RFC 3533) with the serial number 0, which libsndfile draws at random."""
    stream, begin = bytearray(ogg), 0
    while begin < len(stream):
        segments = stream[begin + _SEGMENTS]
        lacing = stream[begin + _HEADER : begin + _HEADER + segments]
        page = stream[begin : begin + _HEADER + segments + sum(lacing)]
        page[_SERIAL] = page[_CHECKSUM] = bytes(4)
        page[_CHECKSUM] = _checksum(page).to_bytes(4, "little")
        stream[begin : begin + len(page)] = page
        begin += len(page)
    return bytes(stream)


def _checksum(page: bytearray) -> int:
    """CRC-32 with the most significant bit first, from 0: zlib's, but for the order of bits and the start."""
    mirrored = zlib.crc32(page.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)
