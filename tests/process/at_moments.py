"""Runs commands whole, then several times more, each time ended by a signal a little later.

Reads requests as lines of JSON: `{"out": FOLDER, "signal": NUMBER, "moments": N, "words": [WORD, ...]}`. `{}` in a word
is the run's own folder in OUT. Answers each with a line: for each run the exit code, hidden files left, and the SHA-256
of the others. Each run is a fork of this process: to start Python and import would take most of the time.
"""

import hashlib
import json
import math
import os
import sys
import time
from pathlib import Path

import numpy as np

PATIENCE = 10.0  # seconds for processes of a command that has ended
MORE = 10  # runs, where a machine became so much faster that all others came to their end before they were ended


def begin(words: list[str], log: Path) -> int:
    from flowvocoder.cli.main import main

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
    results: list[dict[str, object]] = []
    whole = math.inf  # seconds, of the fastest run that came to its end: a busy machine has slow ones
    for moment in range(moments + 1 + MORE):
        if moment > moments and any(result["code"] == 128 + number for result in results):
            break
        folder = out / str(moment)
        folder.mkdir()
        started = time.monotonic()
        pid = begin([word.replace("{}", str(folder)) for word in words], out / f"{moment}.log")
        if moment:
            time.sleep(whole * (moment if moment <= moments else 1) / (moments + 1))
            os.kill(pid, number)
        results.append(result(pid, folder))
        if results[-1]["code"] == 0:
            whole = min(whole, time.monotonic() - started)
    return results


def serve() -> None:
    # Not above: a command's own processes import this module again.
    import matplotlib.pyplot  # noqa: F401
    import torch
    import torch._dynamo  # an optimizer does
    import torch.utils.tensorboard

    import flowvocoder.audio.plots
    import flowvocoder.evaluation.checkpoint
    import flowvocoder.extras
    import flowvocoder.prepare.run
    import flowvocoder.training.trainer
    from flowvocoder.training import logs

    logs.draw_pair = lambda *_: np.zeros((2, 2, 3), np.uint8)  # takes longer than the steps
    flowvocoder.extras.librosa()
    torch.set_num_threads(1)
    for line in sys.stdin:
        asked = json.loads(line)
        runs = run(Path(asked["out"]), asked["signal"], asked["moments"], asked["words"])
        print(json.dumps(runs), flush=True)


if __name__ == "__main__":
    serve()
