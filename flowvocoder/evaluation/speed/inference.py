"""How fast, with what delay, in how much memory."""

import dataclasses
import functools
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from flowvocoder.audio.files import read_audio
from flowvocoder.evaluation.vocoders import System
from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.mel.spec import MelSpec
from flowvocoder.progress import progress
from flowvocoder.threads import set_threads
from flowvocoder.units import ceil_div

EXAMPLE = Path(__file__).parents[2] / "examples" / "kathleen.flac"


@dataclasses.dataclass
class Result:
    """One system at one length and batch.

    Attributes:
        threads: on a CPU.
        seconds, batch: of audio, items.
        speed: seconds of audio (all items) a second, best of all rounds; median: the same of the median round.
        gmacs: billions of multiplications with addition a second of audio, as PyTorch counts them; None outside of it.
        peak_mb: most memory of the process while it ran; None where the system does not say.
    """

    name: str
    engine: str
    threads: int
    parameters: int
    seconds: float
    batch: int
    speed: float
    median: float
    gmacs: float | None
    peak_mb: float | None


@dataclasses.dataclass
class StreamResult:
    """Streaming of one system in chunks of `frames`, one item; times in milliseconds.

    Attributes:
        fastest, p50, p99: of the time for a chunk once audio flows; chunk: its duration. Beside other programs only the
            fastest says what a chunk costs.
        first_audio: time of the push that gave the first samples; look_ahead: how far behind the mel they come.
    """

    name: str
    engine: str
    frames: int
    chunk: float
    fastest: float
    p50: float
    p99: float
    first_audio: float
    look_ahead: float


def measure(
    systems: Sequence[System], seconds: Sequence[float], batches: Sequence[int], rounds: int, device: torch.device
) -> list[Result]:
    """Every system at every length and batch, one after the other in every round, so that all share good and bad
    moments of the machine."""
    cases = [(system, length, batch) for length in seconds for batch in batches for system in systems]
    times: list[list[float]] = [[] for _ in cases]
    extra = []
    for system, length, batch in progress(cases, "warm-up", "case"):
        mel = mel_of(system, length, batch, device)
        with FlopCounterMode(display=False) as counter:
            _timed(dataclasses.replace(system, threads=1), mel)  # it counts those of its own thread
        _timed(system, mel)  # compiles, if the engine does
        _reset_peak()
        _timed(system, mel)
        peak = _peak_mb()
        macs = counter.get_total_flops() / 2e9 / (mel.shape[2] * system.seconds_per_frame * batch)
        extra.append((macs if system.engine != "onnx" else None, peak))
    for _ in progress(range(rounds), "measure", "round"):
        for case, (system, length, batch) in enumerate(cases):
            times[case].append(_timed(system, mel_of(system, length, batch, device)))
    results = []
    for (system, length, batch), taken, (macs, peak) in zip(cases, times, extra, strict=True):
        audio = frames_of(system, length) * system.seconds_per_frame * batch
        results.append(
            Result(
                system.name, system.engine, system.threads, system.parameters, length, batch, audio / min(taken),
                audio / statistics.median(taken), macs, peak,
            )
        )  # fmt: skip
    return results


def measure_streaming(system: System, frames: int, seconds: float, device: torch.device) -> StreamResult | None:
    """Chunk after chunk as a microphone would give them; None if the system cannot stream."""
    if system.vocoder is None:
        return None
    warm_up = system.vocoder.stream(latency_ms=system.latency_ms)
    for _ in range(3):  # an engine that compiles does so at the second chunk
        warm_up.push(mel_of(system, frames * system.seconds_per_frame, 1, device)[0])
    mel = mel_of(system, seconds, 1, device)[0]
    stream = system.vocoder.stream(latency_ms=system.latency_ms)
    first, times = None, []
    for at in range(0, mel.shape[1] - frames + 1, frames):
        started = time.perf_counter()
        audio = stream.push(mel[:, at : at + frames])
        _wait(device)
        taken = 1000 * (time.perf_counter() - started)
        if first is None and len(audio):
            first = taken
        elif first is not None:
            times.append(taken)
    if first is None or len(times) < 2:
        return None
    ordered = sorted(times)
    return StreamResult(
        system.name, system.engine, frames, 1000 * frames * system.seconds_per_frame, ordered[0],
        ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], first,
        1000 * stream.seconds_behind,
    )  # fmt: skip


def frames_of(system: System, seconds: float) -> int:
    """Frames of this many seconds, at least one."""
    return max(1, round(seconds / system.seconds_per_frame))


def mel_of(system: System, seconds: float, batch: int, device: torch.device) -> torch.Tensor:
    """The mel of a bundled recording, as often as it takes: the pitch recursion costs what its lags make it cost."""
    mel, frames = _speech(system.spec), frames_of(system, seconds)
    return mel.repeat(batch, 1, ceil_div(frames, mel.shape[1]))[..., :frames].to(device)


@functools.cache
def _speech(spec: MelSpec) -> torch.Tensor:
    recording = read_audio(EXAMPLE, spec.sample_rate)
    mel: torch.Tensor = MelFrontEnd(spec)(torch.from_numpy(recording.samples))
    return mel


@torch.inference_mode()
def _timed(system: System, mel: torch.Tensor) -> float:
    set_threads(system.threads)
    _wait(mel.device)
    started = time.perf_counter()
    system.run(mel, 0)
    _wait(mel.device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _reset_peak() -> None:
    """Forget the peak so far; only Linux can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak_mb() -> float | None:
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return None
    return next(float(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))
