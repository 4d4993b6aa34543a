"""The `flowvocoder` command. Parsing imports no torch: commands import what they need when they run."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from flowvocoder import __version__
from flowvocoder.config import PRESETS
from flowvocoder.errors import FlowVocoderError

FAILED, INTERRUPTED = 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, or 2 with one line on standard error."""
    arguments = parser().parse_args(argv)
    try:
        command = importlib.import_module(f"flowvocoder.cli.{arguments.module}")
        result: int = getattr(command, arguments.function)(arguments)
        sys.stdout.flush()
        return result
    except FlowVocoderError as error:
        print(f"flowvocoder: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:  # a folder without permission, a name too long, a closed pipe or full disk on stdout
        where = f"{error.filename}: " if error.filename else ""
        print(f"flowvocoder: {where}{error.strerror or error}", file=sys.stderr)
        # What is left in the buffer would fail again, with a traceback, when Python exits.
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115
        return FAILED


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(FAILED, f"{self.prog}: {message} (--help tells more)\n")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = Parser(prog="flowvocoder", description="A neural vocoder on normalizing flows.")
    top.add_argument("--version", action="version", version=f"flowvocoder {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    mel = _add(commands, "mel", "audio to a mel spectrogram (.npy, its spec in .npy.json)", "speech", "mel")
    mel.add_argument("input", metavar="IN", type=Path, help="recording")
    mel.add_argument("output", metavar="OUT.npy", type=Path)
    mel.add_argument("--convention", help="a named convention instead of the checkpoint's: tacotron2, hifigan, ...")
    _checkpoint(mel)

    synth = _add(commands, "synth", "mel spectrograms to audio", "synth", "synth")
    synth.add_argument("input", metavar="MEL.npy", nargs="+", help="mel file, folder of them, or glob")
    synth.add_argument("output", metavar="OUT", type=Path, help="OUT.wav for one mel, else a folder")
    synth.add_argument("--force", action="store_true", help="also where the output is there already (several mels)")
    synth.add_argument("--trust-mel", action="store_true", help="skip the plausibility check of mels without a spec")
    _checkpoint(synth)
    _sampling(synth)

    resynth = _add(commands, "resynth", "audio to mel to audio, of the same length", "speech", "resynth")
    resynth.add_argument("input", metavar="IN", type=Path, help="recording")
    resynth.add_argument("output", metavar="OUT.wav", type=Path)
    resynth.add_argument("--picture", metavar="PNG", type=Path, help="also draw both spectrograms and the difference")
    _checkpoint(resynth)
    _sampling(resynth)

    encode = _add(commands, "encode", "audio to the flow's noise", "latent", "encode")
    encode.add_argument("input", metavar="IN", type=Path, help="recording")
    encode.add_argument("output", metavar="OUT.npz", type=Path)
    _checkpoint(encode)

    decode = _add(commands, "decode", "noise back to audio", "latent", "decode")
    decode.add_argument("input", metavar="IN.npz", type=Path, help="what `encode` wrote")
    decode.add_argument("output", metavar="OUT.wav", type=Path)
    _checkpoint(decode)

    score = _add(commands, "score", "exact likelihood of recordings: nats and bits per sample", "speech", "score")
    score.add_argument("files", metavar="FILE", nargs="+", type=Path)
    score.add_argument("--json", action="store_true", help="a JSON list of file, nats_per_sample, bits_per_sample")
    score.add_argument("--mel-from", metavar="FILE", type=Path, help="condition on another recording's mel")
    score.add_argument("--seed", type=_seed, default=0, help="of the dequantisation noise (default 0)")
    _checkpoint(score)

    info = _add(commands, "info", "what a checkpoint is: architecture, mel, licence, metrics", "info", "info")
    info.add_argument("checkpoint", metavar="CHECKPOINT", nargs="?", type=Path, help="default: the bundled voice")
    info.add_argument("--json", action="store_true", help="as JSON")

    train = _add(commands, "train", "train a vocoder on your recordings", "train", "train")
    train.add_argument("--corpus", metavar="DIR", type=Path, action="append", required=True,
                       help="folder of audio, or in LJSpeech layout; may be given several times")  # fmt: skip
    train.add_argument("--preset", default="lapglow-base", help=f"{', '.join(PRESETS)} (default lapglow-base)")
    train.add_argument("--out", metavar="RUN", type=Path, required=True, help="run folder")
    train.add_argument("--resume", action="store_true", help="go on with the run in RUN")
    train.add_argument("--init-from", metavar="CHECKPOINT", type=Path, help="start from these weights")
    train.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], dest="settings",
                       help="override a setting: lr=5e-4, steps=1000, model.channels=96, mel=hifigan")  # fmt: skip
    train.add_argument("--licence", default="unknown", help="licence of the data, recorded in the checkpoint")
    _machine(train)
    return top


def _add(commands, name: str, summary: str, module: str, function: str) -> argparse.ArgumentParser:  # type: ignore[no-untyped-def]
    sub: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary)
    sub.set_defaults(module=module, function=function)
    return sub


def _seed(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**63:
        raise argparse.ArgumentTypeError(f"must be from 0 to 2^63 - 1, not {value}")
    return value


def _checkpoint(command: argparse.ArgumentParser) -> None:
    command.add_argument("--checkpoint", metavar="DIR", type=Path, help="default: the bundled voice")
    _machine(command)


def _machine(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1, mps")
    command.add_argument("--threads", type=int, help="CPU threads (default: PyTorch's choice)")


def _sampling(command: argparse.ArgumentParser) -> None:
    command.add_argument("--seed", type=_seed, default=0, help="of the noise (default 0): same seed, same samples")
    command.add_argument("--temperature", type=float, help="of the noise (default: the checkpoint's)")
