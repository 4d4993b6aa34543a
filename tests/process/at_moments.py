"""Runs a command whole, then N times more, each ended by a signal a little later: `at_moments.py OUT SIGNAL N WORD...`.

Prints as JSON, for each run: exit code, hidden files left, and the SHA-256 of the others. `{}` in a word is the run's
own folder in OUT. Each run is a fork of this process: to start Python and import would take most of the time.
"""

import hashlib
import json
import math
import os
import sys
import time
from pathlib import Path

import librosa.effects  # noqa: F401
import matplotlib.pyplot  # noqa: F401
import torch

import flowvocoder.audio.plots
import flowvocoder.evaluation.checkpoint
import flowvocoder.prepare.run
import flowvocoder.training.trainer  # noqa: F401
from flowvocoder.cli.main import main

PATIENCE = 10.0  # seconds for processes of a command that has ended


def begin(words: list[str], log: Path) -> int:
    pid = os.fork()
    if pid:
        return pid
    handle = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    code = main(words)
    sys.stdout.flush()
    os._exit(code)


def result(pid: int, folder: Path) -> dict[str, object]:
    status = os.waitpid(pid, 0)[1]
    end = time.monotonic() + PATIENCE
    while (hidden := [str(p) for p in folder.rglob(".*")]) and time.monotonic() < end:
        time.sleep(0.05)
    files = {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in folder.rglob("*")
        if p.is_file() and not p.name.startswith(".")
    }
    return {"code": os.waitstatus_to_exitcode(status), "hidden": hidden, "files": files}


def run(out: Path, number: int, moments: int, words: list[str]) -> list[dict[str, object]]:
    torch.set_num_threads(1)
    results: list[dict[str, object]] = []
    whole = math.inf  # seconds, of the fastest run that came to its end: a busy machine has slow ones
    for moment in range(moments + 1):
        folder = out / str(moment)
        folder.mkdir()
        started = time.monotonic()
        pid = begin([word.replace("{}", str(folder)) for word in words], out / f"{moment}.log")
        if moment:
            time.sleep(whole * moment / (moments + 1))
            os.kill(pid, number)
        results.append(result(pid, folder))
        if results[-1]["code"] == 0:
            whole = min(whole, time.monotonic() - started)
    return results


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])))
