"""Reading and writing recordings: soundfile for the files, soxr for the rate."""

import dataclasses
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile as sf

from flowvocoder.errors import AudioError
from flowvocoder.files import writing
from flowvocoder.units import PCM16_SCALE

EXTENSIONS = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif", ".opus")

LOUDEST = 16.0
"""Floating-point files may go over 1; beyond this they hold something else than audio in -1..1."""

_MOST_VALUES_A_SECOND = 2 * 192_000
"""Of all channels, where the length is limited: stereo at the highest rate in use."""

Samples = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Recording:
    """Mono audio (T,) in [-1, 1), its rate in Hz, and what was done to it on reading."""

    samples: Samples
    sample_rate: int
    changes: tuple[str, ...] = ()


def read_audio(path: Path, sample_rate: int, longest: float | None = None) -> Recording:
    """Read any file libsndfile knows, as mono at `sample_rate`.

    Args:
        longest: seconds; a file whose header or content says more is refused before more than that is decoded.

    Raises:
        AudioError: no such file, not audio, empty, too long, or with samples that are not finite or far outside -1..1.
    """
    if not path.exists():
        raise AudioError(f"{path}: no such file")
    if path.is_dir():
        raise AudioError(f"{path}: is a folder, not an audio file")
    try:
        with sf.SoundFile(path) as file:
            rate = file.samplerate
            if longest is not None:
                _refuse_long(path, file, longest)
            data = file.read(dtype="float32", always_2d=True)
    except (sf.LibsndfileError, OSError, RuntimeError) as error:
        reason = "is empty (0 bytes)" if path.stat().st_size == 0 else f"cannot be read as audio ({_reason(error)})"
        raise AudioError(f"{path}: {reason}") from error
    if not len(data):
        raise AudioError(f"{path}: holds 0 samples")
    bad = int(np.count_nonzero(~np.isfinite(data)))
    if bad:
        raise AudioError(f"{path}: {bad} of {data.size} samples are NaN or infinite")
    peak = float(np.abs(data).max())
    if peak > LOUDEST:
        raise AudioError(f"{path}: samples reach {peak:.4g}, expected -1 to 1: integers must be divided by their range")
    changes = []
    samples = data[:, 0]
    if data.shape[1] > 1:
        samples = data.mean(axis=1, dtype=np.float32)
        changes.append(f"{data.shape[1]} channels averaged to mono")
    if rate != sample_rate:
        samples = resample(samples, rate, sample_rate)
        changes.append(f"resampled from {rate} to {sample_rate} Hz")
    return Recording(np.ascontiguousarray(samples), sample_rate, tuple(changes))


def _refuse_long(path: Path, file: sf.SoundFile, longest: float) -> None:
    duration = file.frames / file.samplerate
    if duration > longest:
        raise AudioError(f"{path}: is {duration:.0f} s long, at most {longest:.0f} s are taken here")
    values, most = file.frames * file.channels, int(longest * _MOST_VALUES_A_SECOND)
    if values > most:
        raise AudioError(f"{path}: {file.channels} channels at {file.samplerate} Hz, {values} values: too many")


def resample(samples: Samples, rate: int, new_rate: int) -> Samples:
    """Band-limited resampling (soxr, very high quality)."""
    import soxr

    return np.asarray(soxr.resample(samples, rate, new_rate, quality="VHQ"), dtype=np.float32)


def write_audio(path: Path, samples: Samples, sample_rate: int) -> int:
    """Write (T,) as 16-bit PCM, in the format the name asks for; returns how many samples had to be clipped.

    Raises:
        AudioError: the format is unknown, or samples are not finite.
        OutputError: the file cannot be written.
    """
    suffix = path.suffix.lower().lstrip(".")
    formats = {"wav": "WAV", "flac": "FLAC", "aiff": "AIFF", "aif": "AIFF"}
    if suffix not in formats:
        raise AudioError(f"{path}: unknown audio format {path.suffix!r}: use .wav or .flac")
    bad = int(np.count_nonzero(~np.isfinite(samples)))
    if bad:
        raise AudioError(f"{path}: not written: {bad} of {len(samples)} samples came out as NaN or infinite")
    pcm, clipped = to_pcm16(samples)
    # Through memory: libsndfile tells a full disk by an assertion only.
    encoded = io.BytesIO()
    sf.write(encoded, pcm, sample_rate, subtype="PCM_16", format=formats[suffix])
    with writing(path) as temporary:
        temporary.write_bytes(encoded.getbuffer())
    return clipped


def to_pcm16(samples: Samples) -> tuple[npt.NDArray[np.int16], int]:
    """(T,) in [-1, 1) as 16-bit integers, and how many samples had to be clipped."""
    scaled = np.rint(samples.astype(np.float64) * PCM16_SCALE)
    clipped = int(np.count_nonzero((scaled < -PCM16_SCALE) | (scaled > PCM16_SCALE - 1)))
    return np.clip(scaled, -PCM16_SCALE, PCM16_SCALE - 1).astype(np.int16), clipped


def _reason(error: Exception) -> str:
    return str(getattr(error, "error_string", error)).strip().rstrip(".")
