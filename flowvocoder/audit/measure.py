"""All that is found in one utterance: a pure function of its manifest line and its files, for any process to run."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile as sf

from flowvocoder.audio.bandwidth import band_edge
from flowvocoder.audio.files import check_size, open_audio
from flowvocoder.audio.levels import Downmix, frame_levels, speech_level
from flowvocoder.audit import checks
from flowvocoder.audit.deep import Deep, Row
from flowvocoder.data.manifest import Entry, Line
from flowvocoder.errors import AudioError, MelError
from flowvocoder.mel.files import check_length, read_mel, spec_beside
from flowvocoder.mel.spec import MelSpec
from flowvocoder.units import seconds

KINDS = ("missing", "unreadable", "changed", "length", "rate", "channels", "non-finite", "clipping", "dc", "level",
         "silence", "bandwidth", "short", "duplicate", "mel", "anomaly")  # fmt: skip
"""What the audit looks for, in the order of its table."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """The two limits of each check: from the first on a fault is worth knowing, from the second on it is harmful."""

    rate: int = 22050  # Hz that training resamples to; what is above half of it does no harm
    segment: int = 16384  # samples at that rate: what training draws
    clipped_share: tuple[float, float] = (0.0, 1e-4)
    clipped_samples: tuple[int, int] = (3, 8)
    dc: tuple[float, float] = (0.003, 0.01)  # of full scale
    level_db: tuple[float, float] = (-40.0, -50.0)  # dBFS of the loud frames; lower is worse
    silence: tuple[float, float] = (0.5, 0.7)  # share of frames
    bandwidth: float = 0.88  # of the Nyquist frequency; an empty band from below that on is harmful


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong with one utterance."""

    kind: str  # one of KINDS
    harmful: bool  # to training; else only worth knowing
    detail: str


@dataclasses.dataclass(frozen=True, slots=True)
class Measurement:
    """What was found in one utterance, and the numbers that the plots show (NaN without audio)."""

    id: str
    line: int  # of the manifest
    findings: tuple[Finding, ...]
    seconds: float
    level_db: float = float("nan")
    bandwidth_hz: float = float("nan")
    content: int = 0  # hash of the samples; 0 without audio
    rate: int = 0  # Hz, of the file; 0 if it cannot be read
    duration: int = 0  # samples that are there of the stretch
    fixable: bool = False  # all that is harmful is in the manifest, and can be corrected from the file
    deep: Row | None = None  # what the deep audit writes down


def measure_deep(item: tuple[Line, Row | None], folder: Path, limits: Limits, spec: MelSpec, deep: Deep) -> Measurement:
    """As `measure`, and as an anomaly detector hears it; a row that is known says what it heard before."""
    line, row = item
    heard: list[tuple[checks.Signal, int]] = []
    found = measure(line, folder, limits, spec, None if row else heard.append)
    row = row or deep.row(line, *(heard[0] if heard else (None, 0)))
    detail = deep.detail(row)
    findings = found.findings if detail is None else (*found.findings, Finding("anomaly", False, detail))
    return dataclasses.replace(found, findings=findings, deep=row)


def measure(
    line: Line,
    folder: Path,
    limits: Limits,
    spec: MelSpec,
    hear: Callable[[tuple[checks.Signal, int]], object] | None = None,
) -> Measurement:
    """Read the audio (and mel) of one manifest line and look at it; never raises for what is wrong with them.

    Args:
        folder: of the manifest.
        spec: convention of mels that have none beside them.
        hear: takes audio (T,) and its rate, where there is audio.
    """
    entry = line.entry
    path = entry.audio_file(folder)
    empty = functools.partial(Measurement, entry.id, line.number, seconds=seconds(entry.duration, entry.rate))
    try:
        if not path.is_file():
            return empty((Finding("missing", True, f"no file {entry.path}"),))
        unchanged = entry.is_unchanged(folder)
        with open_audio(path) as file:
            rate, stored = file.samplerate, file.frames
            there = min(entry.duration, max(0, stored - entry.start))
            check_size(path, file, there)
            file.seek(min(entry.start, stored))
            data = file.read(there, dtype="float32", always_2d=True)
    except (AudioError, OSError, sf.LibsndfileError, RuntimeError) as error:
        return empty((Finding("unreadable", True, _without(path, entry.path, error)),))
    if len(data) < there:
        detail = f"{entry.path} breaks off after {entry.start + len(data)} of {stored} samples"
        return empty((Finding("unreadable", True, detail),), rate=rate)
    wrong = _against_manifest(entry, rate, stored)
    findings = [*_channels(data), *_resampling(rate, limits)]
    if not unchanged:
        findings.append(Finding("changed", True, f"{entry.path} is not the file the manifest was made from (sha256)"))
    if not len(data):
        return empty((*wrong, *findings), rate=rate)
    bad = int(np.count_nonzero(~np.isfinite(data)))
    if bad:
        findings.append(Finding("non-finite", True, f"{bad} of {data.size} samples are NaN or infinite"))
        return empty((*wrong, *findings), rate=rate, duration=len(data))
    signal = data.mean(axis=1, dtype=np.float64)
    if hear is not None:
        hear((signal, rate))
    levels = frame_levels(signal, rate)
    edge, nothing_above = band_edge(signal, rate)
    findings += [*_clipping(signal, rate, limits), *_offset(signal, limits), *_levels(levels, limits)]
    heard = min(rate, limits.rate) / 2
    if nothing_above and edge < limits.bandwidth * heard:
        findings.append(Finding("bandwidth", True, f"nothing above {edge / 1000:.1f} of {heard / 1000:.1f} kHz"))
    if (left := len(data) * limits.rate // rate) < limits.segment:
        findings.append(Finding("short", False, f"{left} samples, a segment has {limits.segment}"))
    findings += _mel(entry, folder, len(data), rate, spec)
    fixable = (rate == entry.rate or entry.start == 0) and not any(f.harmful for f in findings)
    content = hashlib.sha256(np.rint(signal * 32768.0).astype(np.int32).tobytes()).digest()
    return Measurement(entry.id, line.number, (*wrong, *findings), seconds(len(data), rate), speech_level(levels), edge,
                       int.from_bytes(content[:8], "big"), rate, len(data), fixable)  # fmt: skip


def _against_manifest(entry: Entry, rate: int, stored: int) -> list[Finding]:
    found = []
    if rate != entry.rate:
        found.append(Finding("rate", True, f"{rate} Hz, the manifest says {entry.rate}"))
    if entry.start + entry.duration > stored:
        stretch = f"samples {entry.start} to {entry.start + entry.duration}"
        found.append(Finding("length", True, f"{stored} samples, the manifest says {stretch}"))
    return found


def _channels(data: npt.NDArray[np.float32]) -> list[Finding]:
    downmix = Downmix()
    downmix(data)
    return [Finding("channels", downmix.cancels, said) for said in downmix.said]


def _resampling(rate: int, limits: Limits) -> list[Finding]:
    if rate == limits.rate:
        return []
    low = rate < limits.bandwidth * limits.rate
    empty = f": nothing above {rate / 2000:.1f} kHz" if low else ""
    return [Finding("rate", low, f"{rate} Hz, training resamples to {limits.rate}{empty}")]


def _clipping(signal: checks.Signal, rate: int, limits: Limits) -> list[Finding]:
    count = checks.clipped_samples(signal, rate)
    (low, high), (few, many) = limits.clipped_share, limits.clipped_samples
    share = count / len(signal)
    if count < few or share < low:
        return []
    return [Finding("clipping", count >= many and share >= high, f"{count} samples ({100 * share:.3f} %) are clipped")]


def _offset(signal: checks.Signal, limits: Limits) -> list[Finding]:
    mean = float(signal.mean())
    return _graded("dc", abs(mean), limits.dc, f"mean {mean:+.4f} of full scale, which no mel holds: remove it")


def _levels(levels: checks.Signal, limits: Limits) -> list[Finding]:
    level, share = speech_level(levels), checks.silence_share(levels)
    low, lower = limits.level_db
    found = _graded("level", -level, (-low, -lower), f"speech at {level:.1f} dBFS")
    return found + _graded("silence", share, limits.silence, f"{100 * share:.0f} % silence")


def _graded(kind: str, value: float, limits: tuple[float, float], detail: str) -> list[Finding]:
    return [Finding(kind, value > limits[1], detail)] if value > limits[0] else []


def _mel(entry: Entry, folder: Path, samples: int, rate: int, default: MelSpec) -> list[Finding]:
    path = entry.mel_file(folder)
    if path is None or entry.mel is None:
        return []
    if not path.is_file():
        return [Finding("mel", True, f"no file {entry.mel}")]
    try:
        spec = spec_beside(path) or default
        check_length(path, read_mel(path, spec), samples * spec.sample_rate // rate, spec)
    except MelError as error:
        return [Finding("mel", True, _without(path, entry.mel, error))]
    return []


def _without(path: Path, name: str, error: Exception) -> str:
    """The message with the name that the manifest has, which is the same on every machine."""
    return str(getattr(error, "error_string", error)).replace(str(path), name)
