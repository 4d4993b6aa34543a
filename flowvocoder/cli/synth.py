"""`synth`: mel files to audio."""

import argparse
import glob
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from flowvocoder.cli.command import FAILED, Command
from flowvocoder.cli.common import (
    check_not_input,
    check_output,
    check_temperature,
    iterations,
    load_denoiser,
    load_vocoder,
    set_machine,
    write_speech,
)
from flowvocoder.cli.options import add_checkpoint, add_chunk, add_denoiser, add_engine, add_sampling
from flowvocoder.cli.pipe import stream_mel
from flowvocoder.errors import ConfigError, FlowVocoderError, ImplausibleMelError, MelError, OutputError
from flowvocoder.progress import progress
from flowvocoder.units import seconds

if TYPE_CHECKING:
    import torch

    from flowvocoder.interop.onnx.runtime import OnnxVocoder
    from flowvocoder.vocoder import Vocoder

    Voice: TypeAlias = tuple[Vocoder | OnnxVocoder, Callable[[torch.Tensor], torch.Tensor] | None]


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", metavar="PATH", nargs="*",
                        help="mel files, folders or globs; then OUT.wav for one mel, else a folder")  # fmt: skip
    parser.add_argument("--stream", action="store_true",
                        help="no PATH: float32 frames from standard input, PCM16 to standard output")  # fmt: skip
    parser.add_argument("--force", action="store_true", help="replace existing outputs when there are several mels")
    parser.add_argument("--trust-mel", action="store_true", help="skip the plausibility check of mels without a spec")
    add_chunk(parser)
    add_denoiser(parser)
    add_checkpoint(parser)
    add_engine(parser, "onnx")
    add_sampling(parser)


def run(arguments: argparse.Namespace) -> int:
    """One mel to OUT.wav, a folder, glob or several files to a folder of .wav, or a pipe to a pipe."""
    if arguments.stream:
        return stream_mel(arguments)
    if len(arguments.paths) < 2:
        raise MelError("synth needs a mel and where to put the audio: MEL.npy OUT.wav (or --stream)")
    target = Path(arguments.paths[-1])
    jobs = plan(arguments.paths[:-1], target)
    if len(jobs) == 1 and jobs[0][1] == target:
        voice = _load(arguments)
        duration = _one(voice, *jobs[0], arguments)
        print(f"{target}: {duration:.2f} s")
        return 0
    todo = [(m, o) for m, o in jobs if arguments.force or not o.exists()]
    if len(todo) < len(jobs):
        print(f"{len(jobs) - len(todo)} of {len(jobs)} are there already (--force does them again)", file=sys.stderr)
    if not todo:
        return 0
    voice = _load(arguments)
    failed = 0
    for mel, output in progress(todo, "synth", "mel"):
        try:
            _one(voice, mel, output, arguments)
        except OutputError:
            raise  # the next file would meet the same disk
        except FlowVocoderError as error:
            failed += 1
            print(f"flowvocoder: {error}", file=sys.stderr)
    print(f"{len(todo) - failed} written to {target}, {failed} refused")
    return FAILED if failed else 0


def plan(inputs: list[str], output: Path) -> list[tuple[Path, Path]]:
    """(mel file, audio file) for everything the inputs name.

    Raises:
        MelError: nothing found. OutputError: several mels for one .wav, or two mels for the same one,
            or a mel that would be replaced.
    """
    mels: list[Path] = []
    several = len(inputs) > 1
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            found = sorted(p for p in path.rglob("*.npy") if p.is_file())
            several = True
        elif not path.exists() and glob.has_magic(text):
            named = sorted(glob.glob(text, recursive=True))  # noqa: PTH207 (absolute patterns)
            found = [p for p in map(Path, named) if p.is_file()]
            several = True
        else:
            found = [path]
        if not found:
            raise MelError(f"{text}: no .npy files there")
        mels += found
    if not several and output.suffix and not output.is_dir():
        check_output(output, (".wav", ".flac"))
        check_not_input(output, mels[0])
        return [(mels[0], output)]
    if output.suffix in (".wav", ".flac"):
        raise OutputError(f"{output}: {len(mels)} mels cannot go into one file: name a folder")
    roots = [Path(text) for text in inputs if Path(text).is_dir()]
    jobs: dict[Path, Path] = {}
    for mel in mels:
        root = next((r for r in roots if mel.is_relative_to(r)), mel.parent)
        target = (output / mel.relative_to(root)).with_suffix(".wav")
        if jobs.get(target, mel) != mel:
            raise OutputError(f"{target}: both {jobs[target]} and {mel} would be written there")
        check_not_input(target, mel)
        jobs[target] = mel
    return [(mel, target) for target, mel in jobs.items()]


def _load(arguments: argparse.Namespace) -> "Voice":
    """The engine that synthesises, and what --denoise does to its audio: None where nothing."""
    iterations(arguments)  # impossible numbers are refused before anything is loaded
    if arguments.engine == "onnx":
        return _load_onnx(arguments), None
    vocoder = load_vocoder(arguments)
    denoise = load_denoiser(arguments, vocoder)
    return vocoder, denoise if arguments.denoise else None


def _load_onnx(arguments: argparse.Namespace) -> "OnnxVocoder":
    from flowvocoder.interop.onnx.runtime import OnnxVocoder

    if arguments.checkpoint is None:
        raise ConfigError("--engine onnx needs --checkpoint FILE.onnx, written by `flowvocoder export`")
    for option, used in (("--denoise", arguments.denoise), ("--precision", arguments.precision != "float32")):
        if used:
            raise ConfigError(f"{option} needs the checkpoint itself: not with --engine onnx")
    if set_machine(arguments).type != "cpu":
        raise ConfigError("--engine onnx runs on the CPU")
    check_temperature(arguments.temperature)
    return OnnxVocoder(arguments.checkpoint, arguments.threads)


def _one(voice: "Voice", mel_file: Path, output: Path, arguments: argparse.Namespace) -> float:
    """Returns the duration in seconds."""
    import torch

    from flowvocoder.mel.files import read_mel

    vocoder, denoise = voice
    try:
        mel = torch.from_numpy(read_mel(mel_file, vocoder.spec, arguments.trust_mel))
    except ImplausibleMelError as error:
        raise MelError(f"{error} (--trust-mel synthesises it anyway)") from error
    pieces = vocoder.synthesize_pieces(mel, arguments.temperature, seed=arguments.seed, **iterations(arguments))
    if denoise is not None:
        pieces = iter([denoise(torch.cat(list(pieces), 1))])
    try:
        write_speech(output, (piece[0].cpu().numpy() for piece in pieces), vocoder.sample_rate)
    except MelError as error:
        raise MelError(f"{mel_file}: {error}") from error
    return seconds(mel.shape[1] * vocoder.spec.hop_length, vocoder.sample_rate)


COMMAND = Command("synth", "mel spectrograms to audio", options, run)
