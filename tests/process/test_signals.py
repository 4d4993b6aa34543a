"""SIGTERM, as `docker stop` and kubectl send it, at several moments of each command that writes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import torch
from deadly import slow
from helpers import make_corpus, make_manifest, speech_like

from flowvocoder.ending import surely
from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.mel.spec import convention
from flowvocoder.parallel import ordered_map

SCRIPT = Path(__file__).with_name("at_moments.py")
SAME = {
    "synth": "synth {data}/mels {{}} --checkpoint {checkpoint}",
    "resynth": "resynth {data}/long.flac {{}}/out.wav --plot {{}}/out.png --checkpoint {checkpoint}",
    "mel": "mel {data}/long.flac {{}}/out.npy --checkpoint {checkpoint}",
    "encode": "encode {data}/long.flac {{}}/out.npz --checkpoint {checkpoint}",
    "prepare": "prepare {data}/wavs/manifest.jsonl {{}}/shards --shard-size 2 --jobs 2",
}
"""Commands whose files are a function of their inputs."""
OTHER = {
    "score": "score {data}/long.flac {data}/long.flac {data}/long.flac --checkpoint {checkpoint}",
    "evaluate": "evaluate {checkpoint} --corpus {data}/wavs --limit 2 --out {{}}/out --keep-audio --jobs 1",
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


class Runner:
    """The process whose forks run the commands."""

    def __init__(self, process: "subprocess.Popen[str]", moments: int):
        self.process, self.moments = process, moments

    def at_moments(self, command: str, number: int, data: Path, checkpoint: Path, out: Path) -> list[dict[str, Any]]:
        """What is left of a whole run, and of those that a signal ended."""
        out.mkdir()
        words = command.format(data=data, checkpoint=checkpoint).split()
        asked = {"out": str(out), "signal": int(number), "moments": self.moments, "words": words}
        assert self.process.stdin and self.process.stdout
        print(json.dumps(asked), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        assert answer, "it died"
        return checked(json.loads(answer), number, out)


@pytest.fixture(scope="module")
def runner(thorough: bool) -> Iterator[Runner]:
    """Tries a moment of a command, or ten."""
    with subprocess.Popen(
        [sys.executable, str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Runner(process, 10 if thorough else 1)
        assert process.stdin
        process.stdin.close()  # and it ends


def checked(runs: list[dict[str, Any]], number: int, out: Path) -> list[dict[str, Any]]:
    whole, *others = runs
    assert whole["code"] == 0, (out / "0.log").read_text()
    assert [run for run in others if run["code"] == 128 + number], "no run was ended"
    for moment, run in enumerate(others, 1):
        expected = (128 + number, named(run)), (0, named(whole)), (-number, [])  # ended, too late, before it began
        assert (run["code"], named(run)) in expected, run
        assert run["hidden"] == [] and "Traceback" not in (out / f"{moment}.log").read_text()
    return runs


def named(run: dict[str, Any]) -> list[str]:
    return sorted(file for file in run["files"] if "tensorboard" not in file)  # whose names hold the time


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("name", SAME)
def test_what_sigterm_leaves_is_whole(name: str, runner: Runner, data: Path, checkpoint: Path, tmp_path: Path) -> None:
    whole, *others = runner.at_moments(SAME[name], signal.SIGTERM, data, checkpoint, tmp_path / "out")
    for run in others:
        assert run["files"].items() <= whole["files"].items()


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHER)
def test_sigterm_leaves_nothing_hidden(name: str, runner: Runner, data: Path, checkpoint: Path, tmp_path: Path) -> None:
    runner.at_moments(OTHER[name], signal.SIGTERM, data, checkpoint, tmp_path / "out")


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
