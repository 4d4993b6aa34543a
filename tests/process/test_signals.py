"""SIGTERM, as `docker stop` and kubectl send it, at several moments of each command that writes."""

import dataclasses
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from command import Fork
from deadly import slow
from helpers import make_corpus, make_manifest, speech_like

from flowvocoder.ending import surely
from flowvocoder.files import sha256_of
from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.mel.spec import convention
from flowvocoder.parallel import ordered_map

SAME = {
    "synth": "synth {data}/mels {{}} --checkpoint {checkpoint}",
    "resynth": "resynth {data}/long.flac {{}}/out.wav --plot {{}}/out.png --checkpoint {checkpoint}",
    "mel": "mel {data}/long.flac {{}}/out.npy --checkpoint {checkpoint}",
    "encode": "encode {data}/long.flac {{}}/out.npz --checkpoint {checkpoint}",
    "prepare": "prepare {data}/wavs/manifest.jsonl {{}}/shards --shard-size 2 --jobs 2",
}
"""Commands whose files are a function of their inputs."""
ALIKE = {"mel", "encode"}
"""Write one file by the code of `resynth`."""
OTHER = {
    "score": "score {data}/long.flac {data}/long.flac {data}/long.flac --checkpoint {checkpoint}",
    "evaluate": "evaluate {checkpoint} --corpus {data}/wavs --limit 1 --out {{}}/out --keep-audio --jobs 1",
    "train": "train --corpus {data}/wavs --out {{}}/run --preset lapglow-tiny --set batch=2 --set segment=4096"
    " --set steps=6 --set save_every=2 --set validate_every=6",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Mels, a recording of four seconds, and a manifest."""
    folder = tmp_path_factory.mktemp("data")
    sf.write(folder / "long.flac", speech_like(4.0, 22050), 22050)
    mel = MelFrontEnd(convention("tacotron2"))(torch.from_numpy(speech_like(2.0, 22050)).float())
    (folder / "mels").mkdir()
    for number in range(4):
        np.save(folder / f"mels/{number}.npy", mel)
    make_manifest(make_corpus(folder / "wavs", utterances=6, seconds=0.8))
    return folder


MORE = 10
"""Runs, where a machine became so much faster that all others came to their end before they were ended."""
PATIENCE = 10.0
"""Seconds for processes of a command that has ended."""


@dataclasses.dataclass
class Run:
    """What is left of a command: its exit code, hidden files, and the SHA-256 of the others."""

    code: int
    hidden: list[str]
    files: dict[str, str]


def at_moments(command: str, number: int, data: Path, checkpoint: Path, out: Path, thorough: bool) -> list[Run]:
    """A whole run, and those that a signal ended at a moment, or at ten, of the time that it took."""
    words, moments = command.format(data=data, checkpoint=checkpoint).split(), 10 if thorough else 1
    runs: list[Run] = []
    whole = math.inf  # seconds, of the fastest run that came to its end: a busy machine has slow ones
    for moment in range(moments + 1 + MORE):
        if moment > moments and any(run.code == 128 + number for run in runs):
            break
        folder = out / str(moment)
        folder.mkdir(parents=True)
        started = time.monotonic()
        fork = Fork(*(word.replace("{}", str(folder)) for word in words))
        if moment:
            time.sleep(whole * (moment if moment <= moments else 1) / (moments + 1))
            os.kill(fork.pid, number)
        done = fork.wait()
        if done.returncode == 0:
            whole = min(whole, time.monotonic() - started)
        assert moment or done.returncode == 0, done.stderr
        assert b"Traceback" not in done.stderr, done.stderr
        runs.append(left(folder, done.returncode))
        expected = (128 + number, named(runs[-1])), (0, named(runs[0])), (-number, [])  # ended, too late, not begun
        assert (done.returncode, named(runs[-1])) in expected and not runs[-1].hidden, runs[-1]
    assert [run for run in runs if run.code == 128 + number], "no run was ended"
    return runs


def left(folder: Path, code: int) -> Run:
    end = time.monotonic() + PATIENCE
    while (hidden := [str(p) for p in folder.rglob(".*")]) and time.monotonic() < end:
        time.sleep(0.05)
    files = [p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")]
    return Run(code, hidden, {str(p.relative_to(folder)): sha256_of(p) for p in files})


def named(run: Run) -> list[str]:
    return sorted(file for file in run.files if "tensorboard" not in file)  # whose names hold the time


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.thorough) if name in ALIKE else name for name in SAME]
)
def test_what_sigterm_leaves_is_whole(name: str, data: Path, checkpoint: Path, tmp_path: Path, thorough: bool) -> None:
    whole, *others = at_moments(SAME[name], signal.SIGTERM, data, checkpoint, tmp_path, thorough)
    for run in others:
        assert run.files.items() <= whole.files.items()


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHER)
def test_sigterm_leaves_nothing_hidden(name: str, data: Path, checkpoint: Path, tmp_path: Path, thorough: bool) -> None:
    at_moments(OTHER[name], signal.SIGTERM, data, checkpoint, tmp_path, thorough)


def test_what_is_due_is_done_before_a_signal_ends_the_process() -> None:
    code = (
        "import os, signal, sys\n"
        "from flowvocoder.ending import leaving_at_signals, surely\n"
        "def fail(): raise ValueError\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "with leaving_at_signals(), surely(lambda: print('second', flush=True)), surely(fail):\n"
        "    with surely(lambda: print('first', flush=True)):\n"
        "        os.kill(os.getpid(), signal.SIGHUP)\n"  # as under nohup
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        print('never', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (143, "first\nsecond\n", "")


@pytest.mark.parametrize("moment", ["made", "locked", "made by a thread"])
def test_a_signal_while_a_hidden_file_is_made_leaves_none(moment: str, tmp_path: Path) -> None:
    """Between its making and the moment from which its removal is due."""
    code = (
        "import os, signal, sys, threading, time\n"
        "from pathlib import Path\n"
        "from flowvocoder import unfinished\n"
        "from flowvocoder.ending import leaving_at_signals\n"
        "path, moment = Path(sys.argv[1]), sys.argv[2]\n"
        "hold, made = unfinished.hold, threading.Event()\n"
        "def holding(place):\n"
        "    if not place.exists(): return hold(place)\n"  # what a killed process may have left
        "    if moment == 'made by a thread':\n"
        "        made.set(); time.sleep(0.3)\n"
        "    if moment == 'made': os.kill(os.getpid(), signal.SIGTERM)\n"
        "    handle = hold(place)\n"
        "    if moment == 'locked': os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return handle\n"
        "unfinished.hold = holding\n"
        "def write():\n"
        "    with unfinished.unfinished(path):\n"
        "        time.sleep(60)\n"
        "with leaving_at_signals():\n"
        "    if moment == 'made by a thread':\n"
        "        threading.Thread(target=write, daemon=True).start()\n"
        "        made.wait(); os.kill(os.getpid(), signal.SIGTERM)\n"
        "    write()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "out.json"), moment]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (143, ""), done.stderr
    assert not list(tmp_path.iterdir())


def test_an_action_is_carried_out_once_in_a_block_that_ends_well() -> None:
    done: list[int] = []
    with surely(lambda: done.append(1)):
        assert not done
    assert done == [1]


@pytest.mark.slow
def test_workers_end_at_once_when_their_map_is_abandoned() -> None:
    items = ordered_map(slow, range(8), jobs=2)
    pid = next(items)
    started = time.monotonic()
    items.close()
    assert time.monotonic() - started < 30, "they would have slept for minutes"
    with pytest.raises(ProcessLookupError):
        os.kill(int(str(pid)), 0)
