"""Reading and writing recordings."""

import contextlib
import dataclasses
import io
import math
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import soundfile as sf

from flowvocoder.audio.levels import Downmix
from flowvocoder.audio.pcm16 import to_pcm16
from flowvocoder.audio.resample import resample
from flowvocoder.errors import AudioError
from flowvocoder.files import reading, reason, writing

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

EXTENSIONS = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif", ".opus")

LOUDEST = 16.0
"""Floating-point files may go over 1; beyond this they hold something else than audio in -1..1."""

LOWEST_RATE, HIGHEST_RATE = 1000, 768_000
"""Hz of a recording: at others its header is damaged, and at 1 Hz a small file would be hours of audio."""

LONGEST = 6000.0
"""Seconds read from one recording, if nothing else is asked for."""

MOST_SAMPLES = 2**28
"""Samples of a channel read from one recording: 1 GB, 93 minutes at 48 kHz."""

_MOST_VALUES_A_SECOND = 2 * 192_000
"""Of all channels: stereo at the highest rate in use."""

MOST_PIPED = 256 * 2**20
"""Bytes taken from a pipe or device, which are held in memory: 100 minutes of 16-bit mono at 22 050 Hz."""

MOST_UNSEEKABLE = 2**27
"""Values decoded, of all channels, where the file does not say how many follow: 512 MB, 100 minutes at 22 050 Hz."""

_UNKNOWN = 2**63 - 1  # libsndfile's number of samples in a FLAC file whose writer did not know it
_BLOCK = 65536

UNREADABLE = "cannot be read as audio"

Samples = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Recording:
    """Mono audio (T,) in [-1, 1), its rate in Hz, and what was done to it on reading."""

    samples: Samples
    sample_rate: int
    changes: tuple[str, ...] = ()


def piped(path: Path) -> bytes | None:
    """All that a pipe or device gives, which cannot be read twice; None where `path` is a file, a folder or nothing.

    Raises:
        AudioError: it cannot be read, or gives more than `MOST_PIPED`.
    """
    if path.is_file() or path.is_dir() or not path.exists():
        return None
    try:
        with path.open("rb") as file:
            content = file.read(MOST_PIPED + 1)
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({reason(error)})") from error
    if len(content) > MOST_PIPED:
        raise AudioError(
            f"{path}: gives more than the {MOST_PIPED} bytes that are taken from a pipe: save it in a file"
        )
    return content


@contextlib.contextmanager
def open_audio(path: Path, content: bytes | None = None, longest: float = math.inf) -> Iterator[sf.SoundFile]:
    """An audio file open for reading. It can seek and knows its length, if need be as a decoded copy in memory.

    Args:
        content: its bytes where it lies in an archive or came through a pipe; `path` is then only its name.
        longest: seconds that such a copy may have.

    Raises:
        AudioError: no such file, not a regular one, or not audio; also for what goes wrong while it is read.
    """
    if content is None and not path.exists():
        raise AudioError(f"{path}: no such file")
    if content is None and path.is_dir():
        raise AudioError(f"{path}: is a folder, not an audio file")
    if content is None and not path.is_file():
        raise AudioError(f"{path}: is a pipe or device, not an audio file")
    if (path.stat().st_size if content is None else len(content)) == 0:
        raise AudioError(f"{path}: is empty (0 bytes)")
    with contextlib.ExitStack() as opened:
        if _is_mpeg(path, content):
            opened.enter_context(QUIET)
        with reading(path, AudioError, UNREADABLE):
            file = opened.enter_context(_Source(path if content is None else io.BytesIO(content)))
            if not LOWEST_RATE <= file.samplerate <= HIGHEST_RATE:
                raise AudioError(f"{path}: says {file.samplerate} Hz, expected {LOWEST_RATE} to {HIGHEST_RATE}")
            if not file.seekable():
                file = opened.enter_context(sf.SoundFile(_decoded(path, file, longest)))
        try:
            yield file
        except sf.SoundFileError as error:
            raise AudioError(f"{path}: {UNREADABLE} ({reason(error)})") from error


def _is_mpeg(path: Path, content: bytes | None) -> bool:
    """By its first bytes as libsndfile tells them or, where these are damaged, by its name."""
    with contextlib.suppress(OSError), path.open("rb") if content is None else io.BytesIO(content) as file:
        start = file.read(3)
        return start == b"ID3" or (start[:1] == b"\xff" and start[1:2] >= b"\xe0") or path.suffix.lower() == ".mp3"
    return False


class _Quiet:
    """While it is entered, by any thread, standard error goes nowhere: libmpg123 writes notes of its own there."""

    def __init__(self) -> None:
        self._lock, self._entered, self._stderr = threading.Lock(), 0, -1

    def __enter__(self) -> None:
        with self._lock:
            self._entered += 1
            if self._entered == 1:
                self._stderr = os.dup(2)
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, 2)
                os.close(nowhere)

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._entered -= 1
            if not self._entered:
                os.dup2(self._stderr, 2)
                os.close(self._stderr)


QUIET = _Quiet()


class _Source(sf.SoundFile):  # type: ignore[misc]
    """A file of unknown length counts as one that cannot seek: soundfile would seek after each block, which fails."""

    def seekable(self) -> bool:
        return bool(super().seekable() and self.frames != _UNKNOWN)


def _decoded(path: Path, file: sf.SoundFile, longest: float) -> io.BytesIO:
    """The rest of a file, as 32-bit floats in a format that can seek. Raises AudioError: it is too long.

    A megabyte of FLAC may hold hours: what `check_size` would refuse afterwards is not decoded either.
    """
    memory, values, a_second = io.BytesIO(), 0, file.samplerate * file.channels
    most = min(MOST_UNSEEKABLE, longest * min(a_second, _MOST_VALUES_A_SECOND))
    with sf.SoundFile(memory, "w", file.samplerate, file.channels, "FLOAT", format="W64") as copy:
        while len(block := file.read(_BLOCK, "float32", always_2d=True)):
            values += block.size
            if values > most:
                said = f"{most:.0f} samples ({most / a_second:.0f} s)"
                raise AudioError(f"{path}: does not say its length, and holds more than {said}")
            copy.write(block)
    memory.seek(0)
    return memory


def read_audio(
    path: Path,
    sample_rate: int,
    start: int = 0,
    duration: int | None = None,
    content: bytes | None = None,
    longest: float = LONGEST,
) -> Recording:
    """Read any file libsndfile knows, or a stretch of it, as mono at `sample_rate`.

    Args:
        start, duration: in samples of the file; None reads to its end.
        content: as `open_audio`.
        longest: seconds that are read; a longer recording is refused before more than these are decoded.

    Raises:
        AudioError: as `read_as_stored`.
    """
    return at_rate(read_as_stored(path, start, duration, content, longest), sample_rate)


def at_rate(stored: Recording, sample_rate: int) -> Recording:
    """A recording at another rate, which is then among its changes."""
    if stored.sample_rate == sample_rate:
        return stored
    samples = resample(stored.samples, stored.sample_rate, sample_rate)
    change = f"resampled from {stored.sample_rate} to {sample_rate} Hz"
    return Recording(samples, sample_rate, (*stored.changes, change))


def read_as_stored(
    path: Path, start: int = 0, duration: int | None = None, content: bytes | None = None, longest: float = LONGEST
) -> Recording:
    """The same at the file's own rate.

    Raises:
        AudioError: no such file, not audio, empty, too long, shorter than the stretch, or with samples that are not
            finite or far outside -1..1.
    """
    whole = not start and duration is None  # a stretch may lie behind hours
    with open_audio(path, content, longest if whole else math.inf) as file:
        rate, downmix, stop = file.samplerate, Downmix(), None if duration is None else start + duration
        if start or stop is not None:
            if max(start, stop or 0) > file.frames:
                raise AudioError(f"{path}: holds {file.frames} samples, {start} to {stop or 'its end'} are requested")
            file.seek(start)
        frames = file.frames - start if duration is None else duration
        check_size(path, file, frames, longest)
        samples = _mono(path, file, frames, downmix)
    if duration is not None and len(samples) < duration:
        raise AudioError(f"{path}: breaks off after {start + len(samples)} of {stop} samples")
    if not len(samples):
        raise AudioError(f"{path}: holds 0 samples")
    return Recording(samples, rate, downmix.said)


def check_size(path: Path, file: sf.SoundFile, frames: int, longest: float = LONGEST) -> None:
    """Refuse to read so many samples of a file, before anything of it is decoded.

    Raises:
        AudioError: they are more than `longest` seconds, or more values than audio of that length has.
    """
    duration, values = frames / file.samplerate, frames * file.channels
    if duration > longest:
        raise AudioError(f"{path}: is {duration:.0f} s long, at most {longest:.0f} s are taken here")
    if values > longest * _MOST_VALUES_A_SECOND or frames > MOST_SAMPLES:
        raise AudioError(f"{path}: {file.channels} channels at {file.samplerate} Hz, {values} values: too many")


def _mono(path: Path, file: sf.SoundFile, frames: int, downmix: Downmix) -> Samples:
    """The next samples of a file, checked and averaged over its channels block by block, so that they are held once."""
    samples, done, bad, peak = np.empty(frames, np.float32), 0, 0, 0.0
    while done < frames and len(block := file.read(min(_BLOCK, frames - done), "float32", always_2d=True)):
        bad += int(np.count_nonzero(~np.isfinite(block)))
        peak = max(peak, float(np.abs(block).max()))
        with np.errstate(invalid="ignore"):  # what is not finite is refused below
            samples[done : done + len(block)] = downmix(block)
        done += len(block)
    if bad:
        raise AudioError(f"{path}: {bad} of {done * file.channels} samples are NaN or infinite")
    if peak > LOUDEST:
        raise AudioError(f"{path}: samples reach {peak:.4g}, expected -1 to 1: integers must be divided by their range")
    return samples[:done]


def write_audio(path: Path, samples: Samples | Iterable[Samples], sample_rate: int) -> int:
    """Write (T,), or pieces of it as they come, as 16-bit PCM in the format the name asks for.

    Returns how many samples had to be clipped.

    Raises:
        AudioError: the format is unknown, or samples are not finite.
        OutputError: the file cannot be written.
    """
    suffix = path.suffix.lower().lstrip(".")
    formats = {"wav": "WAV", "flac": "FLAC", "aiff": "AIFF", "aif": "AIFF"}
    if suffix not in formats:
        raise AudioError(f"{path}: unknown audio format {path.suffix!r}: use .wav or .flac")
    with (
        writing(path) as temporary,
        _Disk(temporary) as disk,
        disk.errors(),
        sf.SoundFile(disk, "w", sample_rate, 1, "PCM_16", format=formats[suffix]) as file,
    ):
        return _write(file, [samples] if isinstance(samples, np.ndarray) else samples, path)


ENCODED = ("wav", "flac", "opus", "mp3", "pcm")
"""What `encode_audio` makes; `pcm` is 16-bit little-endian numbers and nothing else."""

_OPUS_RATES = (8000, 12000, 16000, 24000, 48000)


def encode_audio(samples: Samples, sample_rate: int, kind: str) -> tuple[bytes, int, int]:
    """Audio (T,) as the bytes of a 16-bit file, which `write_audio` would write; Opus is at the next rate it knows.

    Returns the bytes, their rate in Hz, and how many samples had to be clipped.

    Raises:
        AudioError: samples are not finite.
    """
    if kind == "opus":
        rate = next((rate for rate in _OPUS_RATES if rate >= sample_rate), _OPUS_RATES[-1])
        samples, sample_rate = resample(samples, sample_rate, rate) if rate != sample_rate else samples, rate
    made = io.BytesIO()
    how = {
        "opus": {"format": "OGG", "subtype": "OPUS"}, "mp3": {"format": "MP3", "subtype": "MPEG_LAYER_III"},
        "pcm": {"format": "RAW", "subtype": "PCM_16", "endian": "LITTLE"},
    }.get(kind, {"format": kind.upper(), "subtype": "PCM_16"})  # fmt: skip
    with sf.SoundFile(made, "w", sample_rate, 1, **how) as file:
        blocks = (samples[start : start + _BLOCK] for start in range(0, len(samples), _BLOCK))
        clipped = _write(file, blocks, Path("audio"))
    return made.getvalue(), sample_rate, clipped


def _write(file: sf.SoundFile, pieces: Iterable[Samples], path: Path) -> int:
    """Write pieces of audio as they come; returns how many samples had to be clipped."""
    clipped = 0
    for piece in pieces:
        bad = int(np.count_nonzero(~np.isfinite(piece)))
        if bad:
            raise AudioError(f"{path}: not written: {bad} of {len(piece)} samples came out as NaN or infinite")
        pcm, over = to_pcm16(piece)
        clipped += over
        file.write(pcm)
    return clipped


class _Disk(io.FileIO):
    """A file for libsndfile, which reports a full disk by an assertion only: keeps what the system said."""

    def __init__(self, path: Path):
        super().__init__(path, "w+")
        self._error: OSError | None = None

    def write(self, data: "Buffer", /) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            while left:  # a disk that is nearly full takes a part, and says why only at the next attempt
                left = left[super().write(left) :]
        except OSError as error:
            self._error = error
        return size - len(left)

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Raises what the system said instead of what libsndfile makes of it."""
        try:
            yield
        finally:
            if self._error is not None:
                raise self._error
