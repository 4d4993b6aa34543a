"""The examples run, with stand-ins for a sound card and for other people's models."""

import os
import runpy
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from helpers import speech_like

from flowvocoder.mel.toolkits import toolkit
from flowvocoder.text.acoustic import acoustic
from flowvocoder.vocoder import Vocoder

pytestmark = pytest.mark.slow
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def programs(folder: Path, **scripts: str) -> dict[str, str]:
    """An environment in which each name is a shell script."""
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    return {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


def test_the_live_pipe(small_voice: Path, tmp_path: Path) -> None:
    pcm = (32767 * speech_like(1.0, 22050)).astype("<i2")
    (tmp_path / "microphone").write_bytes(pcm.tobytes())
    environment = programs(
        tmp_path,
        arecord=f'echo "$@" > {tmp_path}/asked; cat {tmp_path}/microphone',
        aplay=f"cat > {tmp_path}/speakers",
        flowvocoder=f'exec {sys.executable} -m flowvocoder "$@"',
    )
    command = ["sh", str(EXAMPLES / "live.sh"), "--checkpoint", str(small_voice), "--latency", "93"]
    subprocess.run(command, check=True, env=environment)
    heard = np.frombuffer((tmp_path / "speakers").read_bytes(), "<i2")
    assert len(heard) == len(pcm) and heard.std() > 100
    assert f"-r {Vocoder.from_pretrained(small_voice).sample_rate} " in (tmp_path / "asked").read_text()


def test_matcha(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the calls of matcha-tts 0.0.7, which give the mel of a recording."""
    (tmp_path / "matcha").mkdir()
    (tmp_path / "matcha" / "cli.py").write_text(
        "import numpy as np, torch\n"
        "class MatchaTTS:\n"
        "    def synthesise(self, x, x_lengths, n_timesteps, temperature=1.0, spks=None, length_scale=1.0):\n"
        "        return {'mel': torch.from_numpy(np.load('mel.npy'))[None], 'mel_lengths': x_lengths}\n"
        "def load_matcha(model_name, checkpoint_path, device):\n"
        "    return MatchaTTS()\n"
        "def process_text(i, text, device):\n"
        "    return {'x_orig': text, 'x': torch.zeros(1, 9), 'x_lengths': torch.tensor([9]), 'x_phones': text}\n"
    )
    mel = Vocoder.from_pretrained().mel(torch.from_numpy(speech_like(0.5, 22050)))
    np.save(tmp_path / "mel.npy", mel[0].numpy())
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["matcha_tts.py", "matcha.ckpt", "Hello there.", "out.wav"])
    runpy.run_path(str(EXAMPLES / "matcha_tts.py"))
    audio, rate = sf.read(tmp_path / "out.wav")
    assert rate == 22050 and len(audio) == 256 * mel.shape[2] and audio.std() > 0.01


def test_tacotron2_and_fastpitch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the calls of NVIDIA's hub entry and of NeMo 2, which give the mel of a recording."""
    vocoder = Vocoder.from_pretrained()
    mel = vocoder.mel(torch.from_numpy(speech_like(0.5, 22050)))

    class Tacotron2(torch.nn.Module):
        def infer(self, inputs: torch.Tensor, input_lengths: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return mel, input_lengths, mel

    class FastPitch(torch.nn.Module):
        @classmethod
        def from_pretrained(cls, model_name: str, map_location: str) -> "FastPitch":
            return cls()

        def parse(self, text: str) -> torch.Tensor:
            return torch.zeros(1, len(text))

        def generate_spectrogram(
            self, tokens: torch.Tensor, speaker: int | None = None, pace: float = 1.0
        ) -> torch.Tensor:
            return mel

    utils = types.SimpleNamespace(prepare_input_sequence=lambda texts, cpu_run: (torch.zeros(1, 3), torch.tensor([3])))
    entries = {"nvidia_tacotron2": Tacotron2(), "nvidia_tts_utils": utils}
    monkeypatch.setattr(torch.hub, "load", lambda repo, entry, **options: entries[entry])
    for name in ("nemo", "nemo.collections", "nemo.collections.tts", "nemo.collections.tts.models"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["nemo.collections.tts.models"].FastPitchModel = FastPitch  # type: ignore[attr-defined]
    for name, whose in (("tacotron2", "tacotron2"), ("fastpitch", "nemo")):
        numbers, source = acoustic(str(EXAMPLES / f"{name}.py"), vocoder)("Hello there.", 1.0, 0)
        assert np.array_equal(numbers, mel[0].numpy()) and source == toolkit(whose)


@pytest.mark.thorough
def test_javascript(exported_voice: tuple[Path, Path], tmp_path: Path) -> None:
    """With onnxruntime-node of npm. Without, it is only parsed."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        pytest.skip("no node on this machine")
    program = shutil.copy(EXAMPLES / "onnx.mjs", tmp_path)
    subprocess.run([node, "--check", program], check=True)
    no_cuda = {**os.environ, "ONNXRUNTIME_NODE_INSTALL_CUDA": "skip"}
    try:
        subprocess.run([npm, "install", "--silent", "onnxruntime-node"], check=True, cwd=tmp_path, env=no_cuda)
    except subprocess.CalledProcessError:
        pytest.skip("npm does not reach its registry")
    checkpoint, exported = exported_voice
    mel = Vocoder.from_pretrained(checkpoint).mel(torch.from_numpy(speech_like(1.0, 22050)))
    np.save(tmp_path / "mel.npy", mel[0].numpy())
    command = [node, program, str(exported.with_name("whole.onnx")), "mel.npy", "out.wav"]
    subprocess.run(command, check=True, cwd=tmp_path)
    audio, rate = sf.read(tmp_path / "out.wav")
    assert rate == 22050 and len(audio) == 256 * mel.shape[2] and 0.001 < audio.std() < 1
