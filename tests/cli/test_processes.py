"""Many files: shared among processes, and with other programs; and how far they are."""

from pathlib import Path

import numpy as np
import pytest
import torch
from command import run
from helpers import speech_like

from flowvocoder import progress
from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.mel.spec import convention
from flowvocoder.unfinished import unfinished


@pytest.fixture
def mels(tmp_path: Path) -> Path:
    """A folder of three."""
    mel = MelFrontEnd(convention("tacotron2"))(torch.from_numpy(speech_like(0.5, 22050)).float())
    (tmp_path / "mels").mkdir()
    for number in range(3):
        np.save(tmp_path / f"mels/{number}.npy", mel[:, : 30 + number])
    return tmp_path / "mels"


@pytest.mark.slow
def test_two_programs_share_the_work(
    mels: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with unfinished(out / "1.wav"):  # as if another program were at it
        assert run("synth", mels, out, "--checkpoint", checkpoint) == 0
        assert {p.name for p in out.glob("[!.]*")} == {"0.wav", "2.wav"}
    assert capsys.readouterr().out.endswith(f"2 written to {out}, 0 refused, 1 left to another program\n")
    assert run("synth", mels, out, "--checkpoint", checkpoint) == 0
    assert {p.name for p in out.iterdir()} == {"0.wav", "1.wav", "2.wav"}


@pytest.mark.slow
def test_files_in_processes_are_those_of_one(
    mels: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], thorough: bool
) -> None:
    np.save(mels / "bad.npy", np.zeros(3))
    for threads in ("1", "2"):
        assert run("synth", mels, tmp_path / threads, "--checkpoint", checkpoint, "--threads", threads) == 2
        captured = capsys.readouterr()
        assert "3 written" in captured.out and captured.err.count("bad.npy") == 1
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / n).iterdir()} for n in "12")
    assert len(one) == 3 and one == two
    scores = []
    for threads in ("1", "2")[: 1 + thorough]:  # what shares the work is the same
        assert run("score", tmp_path / "1", "--checkpoint", checkpoint, "--threads", threads) == 0
        scores.append(capsys.readouterr().out)
    assert scores[0] == scores[-1] and scores[0].count("nats/sample") == 4


def test_progress_off_a_terminal_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(progress.progress(range(3), "synth", "mel")) == [0, 1, 2]
    assert capsys.readouterr().err == "", "nothing in the first minute"
    monkeypatch.setattr(progress, "EVERY", 0.0)
    assert list(progress.progress(range(3), "synth", "mel")) == [0, 1, 2]
    lines = capsys.readouterr().err.splitlines()
    assert lines[1].startswith("synth: 1 of 3 in 00:00, ") and not any("\r" in line for line in lines)


def test_progress_needs_no_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.0)
    monkeypatch.setattr("sys.stderr", None)
    assert list(progress.progress(range(3), "synth", "mel")) == [0, 1, 2]
