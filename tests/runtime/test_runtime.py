"""The runtime without PyTorch gives what PyTorch gives."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from command import refused
from helpers import speech_like

from flowvocoder import Vocoder, runtime
from flowvocoder.errors import CheckpointError, ConfigError, ImplausibleMelError, MelError
from flowvocoder.mel.filterbank import filterbank
from flowvocoder.mel.frontend import MelFrontEnd, mel_filterbank
from flowvocoder.mel.spec import CONVENTIONS, MelSpec
from flowvocoder.runtime.frontend import MelFrontEnd as PlainFrontEnd
from flowvocoder.runtime.frontend import MelStream
from flowvocoder.runtime.graph import ExportedGraph
from flowvocoder.runtime.noise import NoiseSource as PlainNoise
from flowvocoder.streaming.noise import NoiseSource

SPECS = [*CONVENTIONS.values(), MelSpec(sample_rate=44100, n_fft=2048, win_length=1200, hop_length=512, fmax=16000.0)]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name())
def test_mels(spec: MelSpec) -> None:
    assert np.abs(filterbank(spec) - mel_filterbank(spec).numpy()).max() < 1e-5
    audio = speech_like(0.7, spec.sample_rate, 0)
    expected = MelFrontEnd(spec)(torch.from_numpy(audio)).numpy()
    assert np.abs(PlainFrontEnd(spec)(audio) - expected).max() < 1e-3
    whole = PlainFrontEnd(spec)(np.pad(audio, (0, -len(audio) % spec.hop_length)))
    stream = MelStream(PlainFrontEnd(spec))
    pieces = [stream.push(audio[at : at + 700]) for at in range(0, len(audio), 700)]
    streamed = np.concatenate([*pieces, stream.flush()], 1)
    assert np.abs(streamed - whole[:, : streamed.shape[1]]).max() < 1e-6
    assert streamed.shape[1] == -(-len(audio) // spec.hop_length)


@pytest.mark.parametrize("seeds", [0, 7, 2**40 + 3, [5, 2**33]])
def test_noise_is_what_pytorch_draws(seeds: int | list[int]) -> None:
    sources = PlainNoise(seeds, 2, 2, 100), NoiseSource(seeds, 2, 2, 100)
    for frames in (3, 40):
        plain, expected = (source.draw(frames) for source in sources)
        assert np.abs(plain - expected.transpose(1, 2).numpy()).max() < 1e-5
        assert plain.std() > 0.9


def test_an_exported_voice_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("FLOWVOCODER_VOICE", str(tmp_path / "default"))
    found = {None: "default", "bundled": "default", "universal-22k": "default", "universal-24k": "universal-24k"}
    for voice, folder in found.items():
        with pytest.raises(CheckpointError, match=f"/{folder}: "):
            runtime.Vocoder.from_pretrained(voice)
    monkeypatch.delenv("FLOWVOCODER_VOICE")
    with pytest.raises(CheckpointError, match="/cache/flowvocoder/universal-22k: "):
        runtime.Vocoder.from_pretrained()


def test_what_is_no_voice_of_the_list_is_exported_to_a_name(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(capsys, "export", checkpoint) == f"flowvocoder: {checkpoint} is none of `voices`: name OUT"


@pytest.mark.slow
@pytest.mark.parametrize("piece", [1024, 32])
def test_synthesis_and_streams(exported_voice: tuple[Path, Path], piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowvocoder.runtime.vocoder.CHUNK", piece - 2)
    monkeypatch.setattr("flowvocoder.runtime.graph.PIECE", piece)
    monkeypatch.setattr("flowvocoder.runtime.graph.CONTEXT", 24)
    at_once, run = list[int](), ExportedGraph.__call__
    monkeypatch.setattr(
        ExportedGraph, "__call__", lambda graph, **x: at_once.append(x["mel"].shape[2]) or run(graph, **x)
    )
    checkpoint, folder = exported_voice
    plain, vocoder = runtime.Vocoder.from_pretrained(folder), Vocoder.from_pretrained(checkpoint)
    assert plain.card.licence == "CC0-1.0" and plain.spec == vocoder.spec
    mel = plain.mel_for(speech_like(1.0, 22050, 1))
    for settings in ({}, {"gl_iters": 0}, {"latency_ms": 400}, {"latency_ms": 290}):
        expected = vocoder.synthesize(mel, seed=3, **settings).numpy()
        assert np.abs(plain.synthesize(mel, seed=3, **settings) - expected).max() < 1e-4, settings
    batch = np.concatenate([mel, mel[:, :, ::-1]])
    expected = vocoder.synthesize(batch, seed=3, lengths=[87, 31], trust_mel=True).numpy()
    assert np.abs(plain.synthesize(batch, seed=3, lengths=[87, 31], trust_mel=True) - expected).max() < 1e-4
    assert max(at_once) <= piece + 2 * 24  # memory grows with the frames at once
    if piece == 32:
        return
    streams = plain.stream(seed=3), vocoder.stream(seed=3)
    assert streams[0].seconds_behind == streams[1].seconds_behind
    audio = [
        np.concatenate([*(np.asarray(stream.push(mel[0, :, at : at + size])) for at in range(0, 87, size)),
                        np.asarray(stream.flush())])
        for stream, size in zip(streams, (5, 8), strict=True)
    ]  # fmt: skip
    assert audio[0].shape == (87 * 256,) and np.abs(audio[0] - audio[1]).max() < 1e-4


@pytest.mark.slow
def test_what_is_refused(exported_voice: tuple[Path, Path], tmp_path: Path) -> None:
    plain = runtime.Vocoder.from_pretrained(exported_voice[1])
    mel = plain.mel(speech_like(1.0, 22050, 1))
    with pytest.raises(ConfigError, match="runs 2 and 3 iterations, or none with 0 and 0, not 5 and 3"):
        plain.synthesize(mel, gl_iters=5)
    with pytest.raises(ConfigError, match="a latency of 3 ms is too short"):
        plain.stream(latency_ms=3)
    with pytest.raises(ConfigError, match="temperature must be 0 or above"):
        plain.synthesize(mel, -1.0)
    with pytest.raises(ImplausibleMelError):
        plain.synthesize(mel * 0.0 + np.linspace(0.2, 0.9, 80)[:, None])
    with pytest.raises(MelError, match="it looks transposed"):
        plain.synthesize(np.swapaxes(mel, 1, 2))
    with pytest.raises(MelError, match="only with PyTorch"):
        plain.synthesize(mel, convention="hifigan")
    with pytest.raises(CheckpointError, match="no such folder"):
        runtime.Vocoder.from_pretrained(tmp_path / "none")
    (tmp_path / "step.onnx").write_bytes(b"no model")
    with pytest.raises(CheckpointError, match="not an ONNX file"):
        runtime.Vocoder.from_pretrained(tmp_path)


WITHOUT = """
import io, sys
sys.modules["torch"] = None
import numpy as np
from flowvocoder.cli.main import main
recording, voice, out = sys.argv[1:]
assert main(["mel", recording, f"{out}/m.npy", "--checkpoint", voice]) == 0
assert main(["synth", f"{out}/m.npy", f"{out}/s.wav", "--checkpoint", voice]) == 0
assert main(["resynth", recording, f"{out}/r.wav", "--checkpoint", voice]) == 0
assert main(["resynth", recording, f"{out}/x.wav", "--checkpoint", voice, "--denoise", "1"]) == 2
assert main(["info"]) == 2
"""


@pytest.mark.slow
def test_commands_where_torch_is_not_installed(exported_voice: tuple[Path, Path], wav: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITHOUT, str(wav), str(exported_voice[1]), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "denoise 1.0 needs PyTorch" in done.stderr and "info needs PyTorch" in done.stderr
    import soundfile

    audio, _ = soundfile.read(tmp_path / "s.wav", dtype="float32")
    vocoder = Vocoder.from_pretrained(exported_voice[0])
    expected = vocoder.synthesize(np.load(tmp_path / "m.npy"), seed=0)[0].numpy()
    assert np.abs(audio - expected).max() < 1e-3
    assert (tmp_path / "r.wav").is_file() and not (tmp_path / "x.wav").exists()
