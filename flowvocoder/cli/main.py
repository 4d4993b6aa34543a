"""The `flowvocoder` command."""

import argparse
import contextlib
import importlib
import os
import pkgutil
import select
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence

import flowvocoder.cli
from flowvocoder import __version__
from flowvocoder.cli.command import FAILED, INTERRUPTED, TWO_WORDS, UNREAD, Command, Parser, say
from flowvocoder.ending import leaving_at_signals
from flowvocoder.errors import ClippedWarning, FlowVocoderError
from flowvocoder.renamed import RenamedWarning

GROUPS = {"anomaly": "find what is broken in speech", "bench": "measure speed", "density": "densities of vectors"}
"""Commands of two words begin with one of these."""

MOVED = {"bench family": "python docs/scripts/family.py, in a clone"}
"""Commands of version 0.1 that are something else now."""

CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
"""Environment variables that say how many convolutions PyTorch prepares and keeps, each for tensors of one size."""

KEPT = 256
"""Convolutions to keep: more than any model here has. By default 1024 of each kind are kept; since no two recordings
are equally long, memory then grows by hundreds of megabytes before old ones make room."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, or 2 with one line on standard error."""
    given = sys.argv[1:] if argv is None else argv
    if moved := MOVED.get(old := " ".join(given[:2])):
        print(f"flowvocoder: {old} is now {moved}", file=sys.stderr)
        return FAILED
    with as_program():
        arguments = parser(*given[:1]).parse_args(given)
        return carry_out("flowvocoder", arguments.run, arguments)


def parser(first: str = "") -> argparse.ArgumentParser:
    """The whole command line; or that of commands that begin with the word `first`, beside the names of all others."""
    top = Parser(prog="flowvocoder", description="A neural vocoder on normalizing flows.")
    top.add_argument("--version", action="version", version=f"flowvocoder {__version__}")
    names = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    groups = {}
    for command in commands():
        group, _, name = ("", "", command.name) if command.name in TWO_WORDS else command.name.rpartition(" ")
        if group and group not in groups:
            parent = names.add_parser(group, help=GROUPS[group], description=GROUPS[group])
            groups[group] = parent.add_subparsers(dest=group, required=True, metavar="WHAT")
        sub = groups.get(group, names).add_parser(name, help=command.summary, description=command.summary)
        sub.set_defaults(run=command.run)
        if not first or command.name.split()[0] == first:
            command.options(sub)
    return top


def commands() -> list[Command]:
    """The `COMMAND` of every module beside this one that has one, in the order of their names."""
    names = [info.name for info in pkgutil.iter_modules(flowvocoder.cli.__path__)]
    modules = [importlib.import_module(f"flowvocoder.cli.{name}") for name in names]
    found: list[Command] = [module.COMMAND for module in modules if hasattr(module, "COMMAND")]
    return sorted(found, key=lambda command: command.name)


def carry_out(program: str, run: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    """The exit code of `run`; what the user can mend is one line on standard error."""
    with contextlib.suppress(AttributeError):  # names of files may be no text; standard output may be no stream
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        result = run(arguments)
        sys.stdout.flush()
        return result
    except FlowVocoderError as error:
        for one in getattr(error, "__notes__", ()):
            say(f"{program}: {one}")
        reason = str(error)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        reason = f"{getattr(arguments, 'command', 'this')} needs PyTorch, which is not installed"
    except KeyboardInterrupt:
        return INTERRUPTED
    except MemoryError as error:
        reason = f"not enough memory ({_first_line(error) or 'no more is said'})"
    except RuntimeError as error:
        # torch's own, of a GPU and of the CPU; torch itself need not be imported here
        if type(error).__name__ != "OutOfMemoryError" and "DefaultCPUAllocator" not in str(error):
            raise
        reason = f"the device has not enough memory ({_first_line(error)})"
    except OSError as error:  # a folder without permission, a name too long, a closed pipe or full disk on stdout
        reason = f"{error.filename}: " * bool(error.filename) + str(error.strerror or error)
        # What is left in the buffer would fail again, with a traceback, when Python exits.
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115
        if isinstance(error, BrokenPipeError) and _nobody_reads(1):  # `voices | head -1`: who reads has seen enough
            return UNREAD
    say(f"{program}: {reason}")
    return FAILED


def _nobody_reads(descriptor: int) -> bool:
    """Whether it is a pipe whose other end is closed. A worker that died breaks pipes, too."""
    if not hasattr(select, "poll"):  # Windows, where a broken pipe is another error
        return False
    waiting = select.poll()
    waiting.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in waiting.poll(0))


@contextlib.contextmanager
def as_program() -> Iterator[None]:
    """What holds for a program, and not for a library: streams, signals, old names in one line, small caches."""
    _open_closed_streams()
    for cache in CACHES:  # read when PyTorch first needs them
        os.environ.setdefault(cache, str(KEPT))
    with leaving_at_signals(), _old_names_in_one_line():
        yield


def _open_closed_streams() -> None:
    """Daemons and windowed programs have no standard streams: what is written there then goes nowhere.

    Without this, `print(..., file=sys.stderr)` would write to standard output, and the next file to be opened would
    get the number of standard error, to which libraries in C write.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode)  # noqa: PTH123, SIM115
            if stream.fileno() != number:
                os.dup2(stream.fileno(), number)
            setattr(sys, name, stream)


@contextlib.contextmanager
def _old_names_in_one_line() -> Iterator[None]:
    """Print a RenamedWarning as one line on standard error, each once; other warnings as ever."""
    said: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *where: object) -> None:
        if not issubclass(category, RenamedWarning):
            usual(message, category, *where)  # type: ignore[arg-type]
        elif str(message) not in said:
            said.add(str(message))
            print(f"flowvocoder: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        usual = warnings.showwarning
        warnings.simplefilter("always", RenamedWarning)
        warnings.simplefilter("ignore", ClippedWarning)  # commands say how many samples of which file
        warnings.showwarning = show  # type: ignore[assignment]
        yield


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0]
