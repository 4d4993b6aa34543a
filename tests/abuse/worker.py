"""The process that runs inputs one after the other, and what it looks at after each."""

import contextlib
import ctypes
import faulthandler
import functools
import gc
import importlib
import io
import os
import random
import re
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
import torch

import flowvocoder.cli.main
import recipes.cli
from flowvocoder.checkpoint import load_checkpoint
from flowvocoder.data.manifest import read_manifest
from flowvocoder.extras import librosa
from flowvocoder.training import logs
from recipes.extract import extract
from tests.abuse import corpora, hostile, recordings, seeds, voices, words  # noqa: F401  (they register families)
from tests.abuse.case import FAMILIES, GB, Case

LONGEST_LINE = 500
ROOM = 4 * GB
"""Bytes of address space beyond what is used at the start; a process that wants more gets none."""

PROGRAMS: dict[str, Callable[[list[str]], Any]] = {
    "flowvocoder": flowvocoder.cli.main.main,
    "recipes": recipes.cli.main,
    "extract": lambda paths: flowvocoder.cli.main.carry_out(
        "recipes", lambda _: extract(Path(paths[0]), Path(paths[1])) or 0, None  # type: ignore[arg-type]
    ),
}  # fmt: skip


def serve(connection: Connection, home: Path, seed: int) -> None:
    """Answer each (family, number) with what came of that input."""
    sys.dont_write_bytecode = True  # what Python compiles as it imports is no output of a command
    os.chdir(home)
    # The parser is the same for every input, and takes as long to make as most of them take to run.
    flowvocoder.cli.main.parser = functools.cache(flowvocoder.cli.main.parser)  # type: ignore[assignment]
    # The spectrograms of a run take longer to draw than all else of its one step.
    logs.draw_pair = lambda *_: np.zeros((2, 2, 3), np.uint8)
    torch.set_num_threads(1)
    guard = Guard(home)
    libraries = _resident()
    outside = contextlib.ExitStack()
    with (home / "log").open("wb+") as log, outside:
        for fd in (1, 2):
            os.dup2(log.fileno(), fd)
        with _streams(None):
            seeds.begin(home / "seeds")
            voices.make_all()
            hostile.every()
            # What libraries do as they are imported is no command's doing: a folder for their settings, machine code.
            importlib.import_module("matplotlib.backends.backend_agg")
            librosa().filters.mel(sr=22050, n_fft=512)
        gc.collect()
        gc.freeze()  # then what is collected before an input is what earlier ones left, and takes no time
        faulthandler.enable(log)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, used + ROOM))
        connection.send({"ready": True})
        while (request := connection.recv()) is not None:
            connection.send(one(guard, home, seed, libraries, *request))


def one(guard: "Guard", home: Path, seed: int, libraries: int, name: str, number: int) -> dict[str, Any]:
    """Make an input, run it, look at what came of it. Memory is that of a new process, which has only the libraries."""
    for folder in ("in", "out"):
        shutil.rmtree(home / folder, ignore_errors=True)
        (home / folder).mkdir()
    family = FAMILIES[name]
    case = family.make(random.Random(f"{seed} {name} {number}"), number, home)
    before = _state(home, "in", "seeds")
    held = _forget_peak()
    started = time.process_time()
    guard.broken = []
    with _streams(case.stdin) as said, guard:
        code, trace = _run(case)
    memory = libraries + max(0, _peak() - held)
    result = {"code": code, "seconds": time.process_time() - started, "memory": memory, "said": said.text()}
    faults = [*guard.broken, *_of_message(case, code, trace, said)]
    if result["memory"] > family.most:
        faults.append(f"memory: {result['memory'] / GB:.1f} GB")
    if _state(home, "in", "seeds") != before:
        faults.append("an input was changed")
    faults += _of_output(case, code, home)
    return {**result, "faults": faults, "command": [case.program, *case.arguments], "trace": trace}


def _run(case: Case) -> tuple[int | None, str]:
    try:
        return int(PROGRAMS[case.program](list(case.arguments)) or 0), ""
    except SystemExit as error:
        return int(error.code or 0), ""
    except BaseException:
        return None, traceback.format_exc()


def _of_message(case: Case, code: int | None, trace: str, said: "Said") -> Iterator[str]:
    if code is None:
        yield f"traceback: {trace.splitlines()[-1][:200] if trace else ''}"
        return
    if code not in case.codes:
        yield f"exit code {code}"
    lines = [line for line in said.error.splitlines() if line.strip()]
    refusals = re.compile(r"(flowvocoder|recipes)[a-z -]*: (?!--match is now)")
    sentences = [line for line in lines if refusals.match(line)]
    several = case.arguments[0] in ("train", "score")  # each bad recording is named
    if code == 2 and not 1 <= len(sentences) <= (9 if several else 1):
        yield f"{len(sentences)} sentences: {sentences[:3]}"
    for line in lines:
        if len(line) > LONGEST_LINE:
            yield f"a line of {len(line)} characters"
        if not line.isprintable():
            yield "a line with control characters"
        if re.match(r"\[|.*Warning: |Traceback|.*/site-packages/", line):
            yield f"a line that is not ours: {line[:100]}"
        if "not enough memory" in line:
            yield "memory: more than there is room for"


def _of_output(case: Case, code: int | None, home: Path) -> Iterator[str]:
    made = sorted((home / "out").rglob("*"))
    names = [path.relative_to(home).as_posix() for path in made]
    if left := [name for name in names if re.search(r"(^|/)\.[^/]*$", name)]:
        yield f"left over: {left[:3]}"
    if code != 0 and names and not case.keeps and case.codes != (0, 1, 2):
        yield f"a refusal that writes: {names[:3]}"
    others = sorted({path.name for path in home.iterdir()} - {"in", "out", "seeds", "log"})
    if others:
        yield f"written beside: {others[:3]}"
        for name in others:
            shutil.rmtree(home / name) if (home / name).is_dir() else (home / name).unlink()
    if code == 0 and case.program != "extract":
        for path in made:
            try:
                _check(path)
            except Exception as error:
                yield f"a result that cannot be used: {path.relative_to(home)} ({type(error).__name__}: {error})"[:300]


def _check(path: Path) -> None:
    """Read a result again."""
    if path.suffix == ".wav":
        samples, _ = sf.read(path)
        assert len(samples) and np.isfinite(samples).all()
    elif path.suffix == ".npy":
        assert np.isfinite(np.load(path)).all()
    elif path.suffix == ".npz":
        with np.load(path) as archive:
            assert np.isfinite(archive["latent"]).all()
    elif path.name == "voice":
        load_checkpoint(path)
    elif path.name in ("fixed.jsonl", "manifest.jsonl"):
        list(read_manifest(path))


class Guard:
    """Sees what Python is about to do, and notes what a command must not do with a stranger's file."""

    RUN = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "os.startfile", "socket.connect",
           "socket.getaddrinfo", "webbrowser.open", "ctypes.dlopen")  # fmt: skip
    CHANGE = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.chmod", "os.truncate",
              "shutil.rmtree", "shutil.move", "shutil.copyfile")  # fmt: skip

    def __init__(self, home: Path):
        self.home = f"{home.resolve()}{os.sep}"
        self.watching = False
        self.broken: list[str] = []
        sys.addaudithook(self._see)

    def __enter__(self) -> None:
        self.watching = True

    def __exit__(self, *error: object) -> None:
        self.watching = False

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.watching:
            return
        writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if event in self.RUN and "libnvidia" not in str(arguments):  # PyTorch's own, for `--device 1`
            self.broken.append(f"ran: {event} {str(arguments)[:100]}")
        elif (writes or event in self.CHANGE) and isinstance(arguments[0], str | bytes | os.PathLike):
            path = os.path.abspath(os.fsdecode(arguments[0]))  # noqa: PTH100  (a link at the end is not followed)
            compiled = path.endswith("__pycache__")  # where numba tries whether it can keep what it compiles
            if not path.startswith(self.home) and not path.startswith("/dev/") and not compiled:
                self.broken.append(f"touched outside: {event} {path[:100]}")


class Said:
    """What a command printed."""

    def __init__(self) -> None:
        self.output, self.error = "", ""

    def text(self) -> str:
        return self.output[-2000:] + self.error[-4000:]


@contextlib.contextmanager
def _streams(stdin: bytes | None) -> Iterator[Said]:
    """Standard streams that are files, also for C libraries; read back at the end."""
    said = Said()
    before = sys.stdin, sys.stdout, sys.stderr
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
        files[0].write(stdin or b"")
        files[0].seek(0)
        saved = [os.dup(fd) for fd in range(3)]
        for fd, file in enumerate(files):
            os.dup2(file.fileno(), fd)
        sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)))
        sys.stdout, sys.stderr = _text(1, "strict"), _text(2, "backslashreplace")
        try:
            yield said
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):
                    stream.flush()
            sys.stdin, sys.stdout, sys.stderr = before
            for fd, old in enumerate(saved):
                os.dup2(old, fd)
                os.close(old)
            said.output, said.error = (_content(file) for file in files[1:])


def _text(number: int, errors: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedWriter(io.FileIO(number, "w", closefd=False)), "utf-8", errors)


def _content(file: Any) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "backslashreplace")


def _state(home: Path, *folders: str) -> dict[str, tuple[int, int]]:
    """Size and time of every file in them."""
    paths = [path for folder in folders for path in (home / folder).rglob("*")]
    return {str(path): (s.st_size, s.st_mtime_ns) for path in paths if (s := path.lstat()) and not path.is_dir()}


def _forget_peak() -> int:
    """Bytes that are held before an input: by the files of all families, by pools that keep what they were given."""
    if _resident() > GB:  # much is left of earlier inputs, and would be there for this one's use
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _resident()


def _resident() -> int:
    """Bytes in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _peak() -> int:
    """Bytes of the largest resident set since then."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return 1024 * int(found[1]) if found else 0
