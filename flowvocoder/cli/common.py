"""What several commands do when they run."""

import argparse
import contextlib
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowvocoder.cli.command import say
from flowvocoder.errors import AudioError, CheckpointError, ConfigError, DataError, OutputError
from flowvocoder.extras import torch_is_there
from flowvocoder.mel.spec import MelSpec
from flowvocoder.postfilter.settings import PostfilterSettings
from flowvocoder.settings import limits_of
from flowvocoder.units import seconds

if TYPE_CHECKING:
    import torch

    from flowvocoder import runtime
    from flowvocoder.audio.files import Recording, Samples
    from flowvocoder.vocoder import Vocoder

LONGEST, LONGEST_ENCODED = 1500.0, 600.0
"""Seconds of a recording that a command takes: 3 GB. A minute takes 90 MB where it is vocoded, 180 where encoded."""

MANY = 0.02
"""Share of clipped samples from which on a mel is doubted."""

MANIFEST = "manifest.jsonl"
"""The name that recipes give it."""

WITHOUT_TORCH = "mel", "synth", "resynth", "stream-resynth"
"""Commands that `flowvocoder.runtime` can do."""

LOUD_NOISE = -40.0  # dB of full scale


def set_machine(arguments: argparse.Namespace) -> "torch.device":
    """Apply --threads and check --device. Raises ConfigError for what this machine does not have."""

    from flowvocoder.inference import usable_device
    from flowvocoder.threads import set_threads

    set_threads(check_threads(arguments))
    try:
        return usable_device(arguments.device)
    except ConfigError as error:
        raise ConfigError(f"--{error}") from error


def check_threads(arguments: argparse.Namespace) -> int:
    """--threads. Raises ConfigError for an impossible number."""
    threads: int = arguments.threads
    if not 1 <= threads <= 1024:
        raise ConfigError(f"--threads must be from 1 to 1024, not {threads}")
    return threads


def load_vocoder(arguments: argparse.Namespace) -> "Vocoder":
    """The vocoder of --checkpoint on --device; what `load_runtime` gives with --engine onnx, or without PyTorch."""
    onnx = getattr(arguments, "engine", None) == "onnx"
    if onnx or (not torch_is_there() and arguments.command in WITHOUT_TORCH):
        return load_runtime(arguments)  # type: ignore[return-value]
    from flowvocoder.vocoder import Vocoder

    device = set_machine(arguments)
    check_temperature(getattr(arguments, "temperature", None))
    engine, precision = getattr(arguments, "engine", "eager"), getattr(arguments, "precision", "float32")
    vocoder = Vocoder.from_pretrained(arguments.checkpoint, device, engine, precision)  # type: ignore[arg-type]
    if engine == "auto":
        from flowvocoder.streaming.engines import fastest_engine

        say("engine {}: {}".format(*fastest_engine(device)))
    return vocoder


def load_runtime(arguments: argparse.Namespace) -> "runtime.Vocoder":
    """The voice of --checkpoint, a folder of `export`, in ONNX Runtime."""
    from flowvocoder import runtime

    threads = check_threads(arguments)
    check_temperature(getattr(arguments, "temperature", None))
    why = "is not for --engine onnx" if torch_is_there() else "needs PyTorch, which is not installed"
    engines = ["auto", "eager", "onnx"]
    usual: dict[str, list[Any]] = {"device": ["cpu"], "engine": engines, "precision": ["float32"], "denoise": [0.0]}
    for option, values in usual.items():
        if (given := getattr(arguments, option, values[0])) not in values:
            raise ConfigError(f"--{option} {given} {why}")
    return runtime.Vocoder.from_pretrained(arguments.checkpoint, threads)


def as_array(x: "torch.Tensor | Samples") -> "Samples":
    """Numbers of either kind of vocoder."""
    return x if not hasattr(x, "cpu") else x.cpu().numpy()


def check_temperature(temperature: float | None) -> None:
    """Raises ConfigError for one below 0 or infinite."""
    if temperature is not None and not 0.0 <= temperature < math.inf:
        raise ConfigError(f"--temperature must be 0 or above, not {temperature}")


def iterations(arguments: argparse.Namespace) -> dict[str, Any]:
    """--gl-iters, --low-band-iters and --latency, as `Vocoder.synthesize` takes them.

    Raises:
        ConfigError: impossible ones, or a latency beside iterations.
    """
    given = {"gl_iters": arguments.gl_iters, "low_band_iters": arguments.low_band_iters}
    latency = getattr(arguments, "latency", None)
    for option, (name, number) in zip(("--gl-iters", "--low-band-iters"), given.items(), strict=True):
        most = int(limits_of(PostfilterSettings)[name][1])
        if number is not None and not 0 <= number <= most:
            raise ConfigError(f"{option} must be from 0 to {most}, not {number}")
        if number is not None and latency is not None:
            raise ConfigError(f"--latency chooses the iterations: not with {option}")
    return {**given, "latency_ms": latency}


def named_manifest(path: Path) -> Path:
    """A manifest, or the one in a folder. Raises DataError: the folder has none."""
    if not path.is_dir():
        return path
    if not (path / MANIFEST).is_file():
        command = f"`flowvocoder corpus prepare folder OUT --source {path}`"
        raise DataError(f"{path}: is a folder without {MANIFEST}: {command} writes OUT/{MANIFEST} of its recordings")
    return path / MANIFEST


def read_recording(path: Path, spec: MelSpec, longest: float = LONGEST) -> "Recording":
    """Read at the mel's rate, say on standard error what was changed, refuse what is too short for a mel.

    The path may be a pipe: a person named it. In folders and manifests, only regular files are recordings.

    Args:
        longest: seconds; memory grows with them.
    """
    from flowvocoder.audio.files import piped, read_audio
    from flowvocoder.mel.spec import edge_padding

    recording = read_audio(path, spec.sample_rate, content=piped(path), longest=longest)
    say_changes(path, recording)
    have, need = len(recording.samples), max(edge_padding(spec)) + 1
    if have < need:
        times = [seconds(samples, spec.sample_rate) for samples in (have, need)]
        raise AudioError(f"{path}: {have} samples ({times[0]:.3f} s) are too few, {need} ({times[1]:.3f} s) needed")
    return recording


def say_changes(path: Path, recording: "Recording") -> None:
    """Say on standard error what reading changed, if anything."""
    if recording.changes:
        say(f"{path}: {', '.join(recording.changes)}")


def check_output(path: Path, suffixes: tuple[str, ...]) -> None:
    """Fail before the work, not after it: a wrong suffix or an unusable folder."""
    if path.suffix.lower() not in suffixes:
        raise OutputError(f"{path}: the output's name must end in {' or '.join(suffixes)}")
    if path.is_dir():
        raise OutputError(f"{path}: is a folder")


def check_not_input(outputs: Sequence[Path], inputs: Sequence[Path]) -> None:
    """Fail before an output replaces an input, also through links. Raises OutputError."""
    read = {_identity(path) for path in inputs if path.exists()}
    for path in outputs:
        if path.exists() and _identity(path) in read:
            raise OutputError(f"{path}: is the input itself: name another file")


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def voices_for(wants: "Callable[[dict[str, Any]], bool]") -> list[str]:
    """Names of the voices at hand whose mel, as a dictionary of its definition, is one that is wanted."""
    from flowvocoder.checkpoint import read_config
    from flowvocoder.voice_card import voices

    names = []
    for name, folder in voices().items():
        with contextlib.suppress(CheckpointError):  # a damaged voice is no help here
            if wants(read_config(folder)["mel"]):
                names.append(name)
    return names


def write_speech(path: Path, pieces: "Iterable[Samples]", sample_rate: int) -> None:
    """Write PCM16 and say how many samples were clipped, if any."""
    from flowvocoder.audio.files import write_audio

    total = 0

    def counted() -> "Iterator[Samples]":
        nonlocal total
        for piece in pieces:
            total += len(piece)
            yield piece

    clipped = write_audio(path, counted(), sample_rate)
    say_clipped(str(path), clipped, total)


def say_clipped(where: str, clipped: int, samples: int) -> None:
    """Say how many of the samples were clipped, if any were."""
    if clipped:
        share = f"{clipped} of {samples} samples clipped, {clipped / samples:.1%}"
        doubt = "; `flowvocoder mel doctor` says whether a mel is of another convention" * (clipped > MANY * samples)
        say(f"{where}: {share} (lower --temperature or a quieter mel{doubt})")


def load_denoiser(arguments: argparse.Namespace, vocoder: "Vocoder") -> "Callable[[torch.Tensor], torch.Tensor]":
    """What --denoise does to audio (B, T): nothing at strength 0. Warns where the noise is as loud as speech."""
    strength = arguments.denoise
    if not 0.0 <= strength < math.inf:
        raise ConfigError(f"--denoise must be 0 or above, not {strength}")
    if strength == 0.0:
        return lambda audio: audio
    denoiser = vocoder.denoiser(arguments.denoise_mode)
    if denoiser.level > LOUD_NOISE:
        print(f"--denoise-mode {arguments.denoise_mode}: the model's own noise is as loud as speech in this mode"
              f" ({denoiser.level:.0f} dB of full scale); little may be left", file=sys.stderr)  # fmt: skip
    return lambda audio: denoiser(audio, strength)
