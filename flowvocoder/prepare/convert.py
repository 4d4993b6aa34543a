"""One utterance, from a manifest line to the bytes that go into a shard: a pure function that both engines run."""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from flowvocoder.audio.files import Samples, read_as_stored
from flowvocoder.audio.levels import LOWEST_DB, frame_levels, speech_level, trim_silence
from flowvocoder.audio.pcm16 import from_pcm16, to_pcm16
from flowvocoder.audio.resample import resample, resample_on_device
from flowvocoder.data.manifest import Entry
from flowvocoder.errors import ConfigError, DataError
from flowvocoder.files import reason
from flowvocoder.mel.files import check_length, npy_bytes, read_mel, spec_beside
from flowvocoder.mel.spec import MelSpec, convention
from flowvocoder.prepare.codecs import EXTENSIONS, Codec, check_codec, encode_audio
from flowvocoder.units import seconds

HIGHEST_PEAK = 10.0 ** (-0.1 / 20.0)
"""No level policy raises a peak beyond this."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is done to every recording. All of it shows in the bytes, so all of it belongs to a shard's identity."""

    rate: int = 22050  # Hz
    trim: bool = False  # silence at both ends
    level: str = "keep"  # or speech=DB or peak=DB, in dBFS
    mel: str | None = None  # named convention of mels to compute
    resampler: Literal["soxr", "torchaudio"] = "soxr"
    codec: Codec = "flac"

    def __post_init__(self) -> None:
        """Raises ConfigError."""
        if not 1000 <= self.rate <= 384_000:
            raise ConfigError(f"--rate must be from 1000 to 384000 Hz, not {self.rate}")
        parse_level(self.level)
        check_codec(self.codec, self.rate)
        if self.mel is not None and convention(self.mel).sample_rate != self.rate:
            target = convention(self.mel).sample_rate
            raise ConfigError(f"--rate {self.rate}: {self.mel} mels are of audio at {target} Hz")

    @property
    def spec(self) -> MelSpec | None:
        return None if self.mel is None else convention(self.mel)


@dataclasses.dataclass(frozen=True, slots=True)
class Converted:
    """What a shard holds of one utterance."""

    members: tuple[tuple[str, bytes], ...]  # (file name extension, content)
    samples: int  # at Settings.rate
    source_seconds: float
    speaker: str


@dataclasses.dataclass(frozen=True, slots=True)
class Skipped:
    """An utterance that cannot be converted, and why; the reason names no machine's paths."""

    id: str
    reason: str


def convert(entry: Entry, folder: Path, settings: Settings, device: str = "cpu") -> Converted | Skipped:
    """Mono, resampled, trimmed, levelled, encoded; never raises for what is wrong with one file.

    Args:
        folder: of the manifest.
        device: where torchaudio resamples and mels are computed.
    """
    try:
        return _convert(entry, folder, settings, device)
    except Exception as error:  # whatever a poisoned file does to a library, the other files are converted
        known = type(error).__module__.startswith("flowvocoder") or isinstance(error, OSError)
        text = reason(error) if known else f"{type(error).__name__}: {error}"
        return Skipped(entry.id, " ".join(text.replace(f"{folder}/", "").split()))


def parse_level(policy: str) -> tuple[str, float]:
    """("keep" | "speech" | "peak", dBFS). Raises ConfigError."""
    kind, equals, number = policy.partition("=")
    try:
        if kind == "keep" and not equals:
            return kind, 0.0
        if kind in ("speech", "peak") and -60.0 <= float(number) <= -0.1:
            return kind, float(number)
    except ValueError:
        pass
    raise ConfigError(f"--level {policy}: expected keep, speech=DB or peak=DB with DB from -60 to -0.1 dBFS")


def set_level(samples: Samples, rate: int, policy: str) -> tuple[Samples, float]:
    """(samples at the level the policy asks for, gain in dB). Raises DataError for silence."""
    kind, target = parse_level(policy)
    if kind == "keep":
        return samples, 0.0
    peak = float(np.abs(samples).max())
    level = speech_level(frame_levels(samples, rate)) if kind == "speech" else 20.0 * np.log10(peak + 1e-30)
    if level <= LOWEST_DB:
        raise DataError("is silent: it has no level to change")
    gain = min(10.0 ** ((target - level) / 20.0), max(1.0, HIGHEST_PEAK / peak))
    return samples * np.float32(gain), round(20.0 * float(np.log10(gain)), 3)


def _convert(entry: Entry, folder: Path, settings: Settings, device: str) -> Converted:
    path = entry.audio_file(folder)
    if path.is_file() and not entry.is_unchanged(folder):
        raise DataError(f"{entry.path}: is not the file the manifest was made from (sha256)")
    stored = read_as_stored(path, entry.start, entry.duration)
    if stored.sample_rate != entry.rate:
        raise DataError(f"{entry.path}: has {stored.sample_rate} Hz, the manifest says {entry.rate}")
    samples = stored.samples
    if entry.rate != settings.rate:
        samples = _resample(samples, entry.rate, settings, device)
    if settings.trim and entry.mel is None:
        samples = trim_silence(samples, settings.rate)
    samples, gain = set_level(samples, settings.rate, settings.level)
    pcm, _ = to_pcm16(samples)
    about: dict[str, Any] = {
        "id": entry.id, "speaker": entry.speaker, "language": entry.language, "text": entry.text,
        "split": entry.split, "rate": settings.rate, "samples": len(pcm), "gain_db": gain, "mel": None,
        "mel_is_given": entry.mel is not None,
        "source": {k: getattr(entry, k) for k in ("path", "start", "duration", "rate", "sha256")},
    }  # fmt: skip
    members = [(EXTENSIONS[settings.codec], encode_audio(pcm, settings.rate, settings.codec))]
    mel, spec = _given_mel(entry, folder, len(pcm), settings)
    if mel is None and spec is not None:
        mel = _computed_mel(pcm, spec, device)
    if mel is not None and spec is not None:
        about["mel"] = spec.to_dict()
        members.append(("npy", npy_bytes(mel)))
    members.insert(0, ("json", json.dumps(about, ensure_ascii=False).encode()))
    return Converted(tuple(members), len(pcm), seconds(entry.duration, entry.rate), entry.speaker)


def _given_mel(
    entry: Entry, folder: Path, samples: int, settings: Settings
) -> tuple[npt.NDArray[np.float32] | None, MelSpec | None]:
    """(the mel the manifest names, its spec), or (None, spec of the mel to compute if any)."""
    path = entry.mel_file(folder)
    if path is None:
        return None, settings.spec
    spec = settings.spec or spec_beside(path)
    if spec is None:
        raise DataError(f"{entry.mel}: has no spec beside it: --mel says which convention it is of")
    if spec.sample_rate != settings.rate:
        raise DataError(f"{entry.mel}: is of audio at {spec.sample_rate} Hz, not {settings.rate}")
    if not path.is_file():
        raise DataError(f"{entry.mel}: no such file")
    mel = read_mel(path, spec)
    check_length(path, mel, samples, spec)
    return mel, spec


def _computed_mel(pcm: npt.NDArray[np.int16], spec: MelSpec, device: str) -> npt.NDArray[np.float32]:
    import torch

    from flowvocoder.threads import own_threads

    with own_threads(1):  # the processes share the cores already
        audio = torch.from_numpy(from_pcm16(pcm)).to(device)
        mel: npt.NDArray[np.float32] = _front_end(spec, device)(audio).cpu().numpy()
    return mel


@functools.lru_cache(maxsize=2)
def _front_end(spec: MelSpec, device: str) -> Any:
    from flowvocoder.mel.frontend import MelFrontEnd

    return MelFrontEnd(spec).to(device)


def _resample(samples: Samples, rate: int, settings: Settings, device: str) -> Samples:
    if settings.resampler == "soxr":
        return resample(samples, rate, settings.rate)
    return resample_on_device(samples, rate, settings.rate, device)
