"""Standard streams that are closed, as daemons and windowed programs have them."""

import argparse
import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import Fork

from flowvocoder.cli.main import carry_out

EXAMPLE = Path(__file__).parents[2] / "flowvocoder/examples/kathleen.flac"
CLOSED = {"no stdin": "<&-", "no stdout": ">&-", "no stderr": "2>&-", "none": "<&- >&- 2>&-"}


def shell(line: str, folder: Path) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(["sh", "-c", line], cwd=folder, capture_output=True, timeout=120, check=False)


def flowvocoder(words: str) -> str:
    return f"{sys.executable} -m flowvocoder {words}"


@pytest.mark.parametrize("closed", CLOSED.values(), ids=CLOSED)
def test_the_streams_of_a_program_are_open(closed: str, tmp_path: Path) -> None:
    """What is written to a closed one goes nowhere: not to another stream, and not into a file opened later."""
    code = (
        "import os, sys\n"
        "from flowvocoder.cli.main import as_program\n"
        "with as_program():\n"
        "    out = open('out.bin', 'wb')\n"
        "    assert out.fileno() > 2 and sys.stdin.read() == ''\n"
        "    print('text'); print('status', file=sys.stderr); sys.stderr.flush(); os.write(2, b'from C')\n"
    )
    (tmp_path / "program.py").write_text(code)
    done = shell(f"{sys.executable} program.py {closed}{' </dev/null' * ('<&-' not in closed)}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"text\n" * (">&- " not in f"{closed} " or closed == "2>&-")
    assert (tmp_path / "out.bin").read_bytes() == b""
    assert done.stderr == b"status\nfrom C" * ("2>&-" not in closed)


COMMANDS = [
    pytest.param(f"mel {EXAMPLE} out.npy", 0, id="mel"),
    pytest.param("corpus list", 0, id="list"),  # which needs no PyTorch
    pytest.param("encode --none", 2, id="refusal"),
    *(
        pytest.param(words, code, id=words.split()[0], marks=pytest.mark.thorough)
        for words, code in (("info", 0), (f"score {EXAMPLE}", 0), ("score there.wav", 2), ("--version", 0))
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("words", "code"), COMMANDS)
def test_commands_do_the_same_without_standard_streams(words: str, code: int, tmp_path: Path) -> None:
    done = shell(f"{flowvocoder(words)} <&- >&- 2>&-", tmp_path)
    assert done.returncode == code and (tmp_path / "out.npy").exists() == (words.split()[0] == "mel")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a broken pipe is another error there")
def test_a_reader_that_has_seen_enough_is_no_fault() -> None:
    """As in `flowvocoder corpus list | head -1`; 141 is what other programs leave with."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "flowvocoder", "corpus", "list"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, timeout=120, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_another_broken_pipe_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """As of a worker that died, while standard output is well."""

    def broken(_: argparse.Namespace) -> int:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", sys.stdout)  # which a refusal replaces
        assert carry_out("flowvocoder", broken, argparse.Namespace()) == 2
    assert capsys.readouterr().err == "flowvocoder: Broken pipe\n"


@pytest.mark.slow
def test_status_never_gets_into_the_audio(checkpoint: Path, tmp_path: Path) -> None:
    np.zeros((20, 80), np.float32).tofile(tmp_path / "frames")
    words = f"synth --stream --trust-mel --checkpoint {checkpoint}"
    command = flowvocoder(f"{words} < frames")
    heard = Fork(*words.split(), stdin=(tmp_path / "frames").read_bytes()).wait()
    deaf = shell(f"{command} 2>&-", tmp_path)
    assert b"look-ahead" in heard.stderr and heard.returncode == deaf.returncode == 0
    assert len(heard.stdout) == 2 * 20 * 256 and heard.stdout == deaf.stdout
    lost = shell(f"{command} >&-", tmp_path)
    assert lost.returncode == 2 and lost.stderr == b"flowvocoder: standard output is closed: the audio would be lost\n"
