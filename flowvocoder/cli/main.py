"""The `flowvocoder` command. Parsing imports no torch: commands import what they need when they run."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from flowvocoder import __version__
from flowvocoder.cli.parsers import bench, data, demo, evaluate, export, importing, speech, train
from flowvocoder.cli.parsers.common import FAILED, Parser
from flowvocoder.errors import FlowVocoderError

INTERRUPTED = 130


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
    except MemoryError as error:
        print(f"flowvocoder: not enough memory ({str(error).splitlines()[0] if str(error) else 'no more is said'})",
              file=sys.stderr)  # fmt: skip
        return FAILED
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's, of a GPU; torch itself need not be imported here
            raise
        print(f"flowvocoder: the device has not enough memory ({str(error).splitlines()[0]})", file=sys.stderr)
        return FAILED
    except OSError as error:  # a folder without permission, a name too long, a closed pipe or full disk on stdout
        where = f"{error.filename}: " if error.filename else ""
        print(f"flowvocoder: {where}{error.strerror or error}", file=sys.stderr)
        # What is left in the buffer would fail again, with a traceback, when Python exits.
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115
        return FAILED


COMMANDS = (speech, train, evaluate, data, bench, export, importing, demo)
"""Modules with an `add(commands)`, in the order of --help."""


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = Parser(prog="flowvocoder", description="A neural vocoder on normalizing flows.")
    top.add_argument("--version", action="version", version=f"flowvocoder {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for group in COMMANDS:
        group.add(commands)
    return top
