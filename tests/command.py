"""Running the command line inside the test's own process, or in a fork of it."""

import os
import resource
import subprocess
import sys
import tempfile
import traceback
from typing import NoReturn

import pytest

from flowvocoder.cli.main import main


def run(*arguments: object) -> int:
    try:
        return main([str(a) for a in arguments])
    except SystemExit as error:  # argparse
        return int(error.code or 0)


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line of a refusal."""
    capsys.readouterr()
    assert run(*arguments) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(lines) == 1, lines
    assert "Traceback" not in lines[0]
    return lines[0]


class Fork:
    """A command in a fork of this process, with standard streams of its own.

    As a program, but for the start: no interpreter, and no seconds of imports. `stdin` comes through a pipe; no file
    grows beyond `file_limit` bytes, which stands in for a full disk; `environment` is added to this process's.
    """

    def __init__(
        self,
        *arguments: object,
        stdin: bytes = b"",
        file_limit: int | None = None,
        environment: dict[str, str] | None = None,
    ):
        self.arguments = arguments
        reading, writing = os.pipe()
        self.out, self.err = (tempfile.TemporaryFile() for _ in range(2))  # noqa: SIM115
        self.pid = os.fork()
        if not self.pid:
            os.close(writing)
            os.environ.update(environment or {})
            _be_the_program(arguments, (reading, self.out.fileno(), self.err.fileno()), file_limit)
        os.close(reading)
        with open(writing, "wb") as pipe:  # noqa: PTH123
            pipe.write(stdin)

    def wait(self) -> "subprocess.CompletedProcess[bytes]":
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        written = []
        for file in (self.out, self.err):
            with file:
                file.seek(0)
                written.append(file.read())
        return subprocess.CompletedProcess(self.arguments, code, *written)


def _be_the_program(arguments: tuple[object, ...], streams: tuple[int, ...], file_limit: int | None) -> NoReturn:
    code = 1
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        if file_limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
        code = run(*arguments)
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
