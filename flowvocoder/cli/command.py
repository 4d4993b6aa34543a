"""What a command is, and the parser that all commands share.

No module of this folder imports torch or numpy at its top, so that `--help` is quick: a command imports what it needs
when it runs.
"""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from flowvocoder.errors import one_line
from flowvocoder.renamed import say_renamed

FAILED = 2
"""Exit code of a refusal, with one sentence on standard error."""

INTERRUPTED = 130
"""Exit code after Ctrl-C."""

UNREAD = 141
"""Exit code where nobody reads standard output any more, as after SIGPIPE."""


def say(message: object) -> None:
    """One line on standard error, whatever file names and libraries put into the message."""
    print(one_line(str(message)), file=sys.stderr)


TWO_WORDS = "mel convert", "mel doctor", "voices add"
"""Commands whose first word is one, too. A file of the second word's name is given as `./convert`."""

RENAMED = {"--match": "--gl-iters", "--low-match": "--low-band-iters", "--picture": "--plot"}
"""Old options and their new names; the old ones go in the next release."""


@dataclasses.dataclass(frozen=True)
class Command:
    """One command of `flowvocoder`."""

    name: str  # as typed; two words (`bench train`) put it in a group
    summary: str  # for --help
    options: Callable[[argparse.ArgumentParser], None]  # adds its options to a parser
    run: Callable[[argparse.Namespace], int]  # does the work; returns the exit code


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and takes an option by its old name too."""

    def error(self, message: str) -> NoReturn:
        self.exit(FAILED, f"{self.prog}: {one_line(message)} (--help tells more)\n")

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Of the top parser alone: within a command, two words are two arguments."""
        given = list(sys.argv[1:] if args is None else args)
        if " ".join(given[:2]) in TWO_WORDS:
            given[:2] = [" ".join(given[:2])]
        return super().parse_args(given, namespace)

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        given = sys.argv[1:] if args is None else args
        return super().parse_known_args([self._new_name(argument) for argument in given], namespace)

    def _new_name(self, argument: str) -> str:
        old, equals, value = argument.partition("=")
        new = RENAMED.get(old)
        if new is None or new not in self._option_string_actions:
            return argument
        say_renamed(old, new)
        return f"{new}{equals}{value}"
