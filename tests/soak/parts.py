"""What runs for an hour, each as a program of its own."""

import hashlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from tests.demo import load

EXAMPLES = Path(__file__).parents[2] / "flowvocoder/examples"
VISITORS, PAUSE = 2, 4.0  # seconds between an answer and the next request

PATIENCE = 900.0
"""Seconds after SIGTERM: beside many others, a step of training and its validation take minutes."""


class Part:
    """One program.

    Args:
        folder: of its own.
        seconds: that it is to run.

    Attributes:
        checked: results that were compared.
        problems: one sentence for each that was wrong.
    """

    name = ""

    def __init__(self, folder: Path, seconds: float):
        self.folder, self.seconds = folder, seconds
        self.checked, self.problems = 0, list[str]()
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        raise NotImplementedError

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Ask it to end, as `docker stop` does."""
        assert self._process is not None
        if not self.is_running():
            self.problems.append(f"ended with {self._process.returncode}: {self._said()}")
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.problems.append(f"did not end {PATIENCE:.0f} s after SIGTERM: {self._said()}")
            return
        if code != 128 + signal.SIGTERM:
            self.problems.append(f"ended with {code} at SIGTERM: {self._said()}")

    def kill(self) -> None:
        if self.is_running() and self._process is not None:
            self._process.kill()
            self._process.wait()

    def compare(self) -> None:
        """Compare what it did with the same alone."""

    def _begin(self, *words: object) -> None:
        self._process = self._program(*words)

    def _program(self, *words: object) -> "subprocess.Popen[bytes]":
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen([sys.executable, *map(str, words)], stdout=log, stderr=log)

    def _said(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-500:]


class Demo(Part):
    """The demo server, and visitors who compare every answer."""

    name = "demo"

    def start(self) -> None:
        answers = load.expected()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._begin("-m", "flowvocoder", "demo", "--port", port)
        address = f"http://127.0.0.1:{port}/"
        load.wait(address)
        self._tally, end = load.Tally(), time.monotonic() + self.seconds
        self._visitors = [
            threading.Thread(
                target=load.visit,
                args=(index, address, end, answers, self.folder / str(index), self._tally, PAUSE),
                daemon=True,
            )
            for index in range(VISITORS)
        ]
        for visitor in self._visitors:
            visitor.start()

    def stop(self) -> None:
        for visitor in self._visitors:
            visitor.join(PATIENCE)
        self.checked, self.problems = len(self._tally.seconds), list(self._tally.wrong)
        super().stop()


class Stream(Part):
    """One stream in real time; its audio is that of the same frames as fast as possible."""

    name = "stream"

    def start(self) -> None:
        # It is ended while it runs: an hour more than it gets.
        self._begin("-m", "tests.soak.stream", self.seconds + 3600.0, 1.0, self.folder / "beside")

    def stop(self) -> None:
        assert self._process is not None
        if self.is_running():
            self.kill()  # a script of ours: it knows no SIGTERM
        else:
            super().stop()

    def compare(self) -> None:
        from tests.soak.stream import BLOCK

        beside = (self.folder / "beside").read_text().split()
        self._program("-m", "tests.soak.stream", BLOCK * len(beside), 0.0, self.folder / "alone").wait()
        alone = (self.folder / "alone").read_text().split()
        self.checked = len(beside)
        pairs = zip(beside, alone, strict=False)
        self.problems += [f"block {number} differs" for number, (a, b) in enumerate(pairs) if a != b]
        if not beside or len(alone) < len(beside):
            self.problems.append(f"{len(beside)} blocks, alone {len(alone)}")


class Training(Part):
    """One training; a copy of its state at nine tenths of the time, continued alone, ends with the same weights."""

    name = "training"

    def start(self) -> None:
        self._run, self._copy = self.folder / "run", self.folder / "copy"
        self._started = time.monotonic()
        self._begin(*self._command(self._run))

    def is_running(self) -> bool:
        if time.monotonic() - self._started > 0.9 * self.seconds and not self._copy.exists():
            self._copy_state()
        return super().is_running()

    def compare(self) -> None:
        if not self._copy.exists():
            self.problems.append("no state after nine tenths of the time")
            return
        steps = json.loads((self._run / "state/state.json").read_text())["step"]
        first = json.loads((self._copy / "state/state.json").read_text())["step"]
        code = self._program(*self._command(self._copy), "--resume", "--max-steps", steps).wait()
        self.checked = steps - first
        for name in ("checkpoint/model.safetensors", "state/state.safetensors"):
            if code or _hash(self._run / name) != _hash(self._copy / name):
                self.problems.append(f"steps {first} to {steps} alone give another {name} (exit code {code})")

    def _command(self, out: Path) -> Sequence[object]:
        # The first validation lifts memory for good: it must come in the warm-up, on a busy machine too.
        settings = ("steps=1000000", "save_every=10", "validate_every=20", "batch=4")
        sets = [word for setting in settings for word in ("--set", setting)]
        return ("-m", "flowvocoder", "train", "--corpus", EXAMPLES, "--out", out, "--preset", "lapglow-tiny", *sets)

    def _copy_state(self) -> None:
        """Of a run that goes on: its folder is replaced as a whole, so that only the moment between must be missed."""
        state = self._run / "state"
        try:
            before = (state / "state.json").read_bytes()
            shutil.copytree(state, self._copy / "state")
            if (state / "state.json").read_bytes() == before:
                return
        except (OSError, shutil.Error):
            pass
        shutil.rmtree(self._copy, ignore_errors=True)


def _hash(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


PARTS: dict[str, type[Part]] = {part.name: part for part in (Demo, Stream, Training)}
