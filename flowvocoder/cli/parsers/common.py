"""What the parsers of all commands share. Imports no torch, as nothing in this folder does."""

import argparse
import contextlib
from pathlib import Path
from typing import NoReturn, TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

FAILED = 2


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(FAILED, f"{self.prog}: {message} (--help tells more)\n")


def add_command(commands: Commands, name: str, summary: str, module: str, function: str) -> argparse.ArgumentParser:
    """A command that `flowvocoder.cli.<module>.<function>(arguments) -> exit code` carries out."""
    sub = commands.add_parser(name, help=summary, description=summary)
    sub.set_defaults(module=module, function=function)
    return sub


def seed(text: str) -> int:
    """A seed as PyTorch takes it."""
    value = int(text)
    if not 0 <= value < 2**63:
        raise argparse.ArgumentTypeError(f"must be from 0 to 2^63 - 1, not {value}")
    return value


def positive(text: str) -> float:
    """A number above 0."""
    with contextlib.suppress(ValueError):
        value = float(text)
        if 0.0 < value < float("inf"):
            return value
    raise argparse.ArgumentTypeError(f"must be above 0, not {text!r}")


def positive_int(text: str) -> int:
    """A whole number above 0."""
    with contextlib.suppress(ValueError):
        value = int(text)
        if value >= 1:
            return value
    raise argparse.ArgumentTypeError(f"must be 1 or above and whole, not {text!r}")


def folder(text: str) -> Path:
    """A folder to write to: "" would be the one the command runs in."""
    if not text:
        raise argparse.ArgumentTypeError("must name a folder, not ''")
    return Path(text)


def checkpoint(command: argparse.ArgumentParser) -> None:
    """--checkpoint, and where to run it."""
    command.add_argument("--checkpoint", metavar="DIR", type=Path, help="default: the bundled voice")
    machine(command)


def machine(command: argparse.ArgumentParser) -> None:
    """--device and --threads."""
    command.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1, mps")
    command.add_argument("--threads", type=int, help="CPU threads (default: PyTorch's choice)")


def sampling(command: argparse.ArgumentParser) -> None:
    """--seed, --temperature, --match and --low-match."""
    command.add_argument("--seed", type=seed, default=0, help="of the noise (default 0): same seed, same samples")
    command.add_argument("--temperature", type=float, help="of the noise (default: the checkpoint's)")
    matching(command)


def matching(command: argparse.ArgumentParser) -> None:
    """--match and --low-match."""
    command.add_argument("--match", type=int, metavar="PASSES",
                         help="bring the mel of what is synthesised nearer to the one given, so many times; each is"
                              " 46 ms of delay in a stream (default: the checkpoint's; 0: not at all)")  # fmt: skip
    command.add_argument("--low-match", type=int, metavar="PASSES",
                         help="then the lowest kilohertz alone, so many times more (default: the checkpoint's, none in"
                              " a stream and none with --match 0); after 8, rounds of 16 are led by a network that"
                              " finds the pitch of creaking voice, if the checkpoint has one (the bundled voice has)"
                         )  # fmt: skip


def engine(command: argparse.ArgumentParser, *more: str) -> None:
    """--engine and --precision."""
    command.add_argument("--engine", default="eager", choices=["eager", "numba", "compile", *more],
                         help="what runs synthesis: PyTorch alone (default), with compiled pitch recursion, or compiled"
                              " graphs of steps that repeat (a minute's wait; for streams)")  # fmt: skip
    command.add_argument("--precision", default="float32", choices=["float32", "bfloat16", "float16"],
                         help="of most networks (default float32; the others are for GPUs,"
                              " bfloat16 for CPUs with AMX too)")  # fmt: skip


def chunk(command: argparse.ArgumentParser) -> None:
    """--chunk, of a pipe."""
    command.add_argument(
        "--chunk", type=int, default=8, metavar="FRAMES", help="of a pipe, so many at a time (default 8)"
    )
