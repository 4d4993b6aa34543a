"""What `synth` does with mels that are not what the voice was trained on, in files and from a pipe."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import speech_like

from flowvocoder.cli.main import main
from flowvocoder.mel.files import write_mel
from flowvocoder.mel.spec import MelSpec, convention
from flowvocoder.mel.spread import NOISE_DB, spread
from flowvocoder.vocoder import Vocoder


@pytest.fixture
def mel(small_voice: Path) -> np.ndarray:
    return Vocoder.from_pretrained(small_voice).mel_for(speech_like(0.7, 22050))[0].numpy()


def stream(mel: np.ndarray, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> tuple[int, bytes]:
    """Exit code and standard output of `synth --stream`."""
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(mel.T.astype(np.float32).tobytes())))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out))
    code = main(["synth", "--stream", *map(str, arguments)])
    return code, out.getvalue()


@pytest.mark.slow
def test_a_pipe_is_checked_as_files_are(
    mel: np.ndarray, small_voice: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scaled = (mel - mel.min()) / np.ptp(mel)
    assert stream(scaled, monkeypatch, "--checkpoint", small_voice) == (2, b"")
    assert "standard input: not a plausible tacotron2 mel: looks like a mel scaled to 0..1" in capsys.readouterr().err
    code, trusted = stream(scaled, monkeypatch, "--checkpoint", small_voice, "--trust-mel")
    assert code == 0 and len(trusted) == 2 * 256 * mel.shape[1]
    assert "samples clipped, " in capsys.readouterr().err
    assert stream(mel, monkeypatch, "--checkpoint", small_voice)[0] == 0


def test_a_mel_that_another_voice_takes_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "a.npy", np.full((100, 30), -5.0, np.float32))
    assert main(["synth", str(tmp_path / "a.npy"), str(tmp_path / "a.wav")]) == 2
    assert "has 100 bands" in (said := capsys.readouterr().err) and "--checkpoint universal-24k" in said


@pytest.mark.slow
def test_a_folder_is_read_in_every_format_and_what_is_passed_over_is_named(
    mel: np.ndarray, small_voice: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mels = tmp_path / "mels"
    mels.mkdir()
    write_mel(mels / "a.npy", mel, convention("tacotron2"))
    np.savez(mels / "b.npz", mel=mel)
    for name in ("c.pt", "d.pth", "e.ckpt"):
        torch.save(torch.from_numpy(mel), mels / name)
    assert main(["synth", str(mels), str(tmp_path / "out"), "--checkpoint", str(small_voice)]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.wav", "b.wav", "c.wav"]
    assert "mels: passed over: d.pth, e.ckpt\n" in capsys.readouterr().err


@pytest.mark.slow
def test_trust_overrules_a_spec_beside_the_mel(
    mel: np.ndarray, small_voice: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_mel(tmp_path / "a.npy", mel, MelSpec(sample_rate=24000))
    command = ["synth", str(tmp_path / "a.npy"), str(tmp_path / "a.wav"), "--checkpoint", str(small_voice)]
    assert main(command) == 2 and "a custom mel does not fit" in capsys.readouterr().err
    assert main([*command, "--trust-mel"]) == 0


@pytest.mark.slow
def test_the_best_of_some_seeds_is_what_that_seed_gives(
    mel: np.ndarray, small_voice: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out, again = tmp_path / "a.npy", tmp_path / "a.wav", tmp_path / "b.wav"
    vocoder = Vocoder.from_pretrained(small_voice)
    write_mel(file, mel, vocoder.spec)
    assert main(["synth", str(file), str(out), "--best-of", "3", "--seed", "4", "--checkpoint", str(small_voice)]) == 0
    chosen = int(capsys.readouterr().out.split("seed ")[1].split(" of 4 to 6")[0])
    assert main(["synth", str(file), str(again), "--seed", str(chosen), "--checkpoint", str(small_voice)]) == 0
    assert out.read_bytes() == again.read_bytes()
    off = [(vocoder.mel_for(vocoder.synthesize(mel, seed=n)) - torch.from_numpy(mel)).abs().mean() for n in (4, 5, 6)]
    assert chosen == 4 + int(np.argmin(off))
    assert main(["synth", "--stream", "--best-of", "2"]) == 2
    assert main(["synth", str(file), str(out), "--best-of", "2", "--seed", str(2**63 - 1)]) == 2


@pytest.mark.slow
def test_what_a_mel_leaves_open_is_drawn_and_told(
    mel: np.ndarray, small_voice: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, plot = tmp_path / "a.npy", tmp_path / "a.png"
    vocoder = Vocoder.from_pretrained(small_voice)
    write_mel(file, mel, vocoder.spec)
    command = ["info", str(small_voice), "--mel", str(file), "--draws", "3", "--json", "--plot", str(plot)]
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out)["spread_db"]
    assert all(0.0 < value < 12.0 for value in told.values()) and len(told) >= 5
    assert plot.read_bytes()[1:4] == b"PNG"
    noise = spread((torch.randn(1, 20480) for _ in range(40)), vocoder.spec)
    assert abs(float(noise[:, 5:].mean()) - NOISE_DB) < 0.2
    assert float(vocoder.uncertainty(mel, 2, temperature=0.0).max()) < 1e-3, "nothing was drawn"
    assert main([*command[:4], "--draws", "1"]) == 2
