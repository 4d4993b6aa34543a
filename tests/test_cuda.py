"""A voice on a GPU, and the commands that use one: what they give is what the CPU gives."""

import functools
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import soundfile as sf
import torch
from command import run
from helpers import example, heard, speech_like
from tiny_models import ONE_EACH, tiny
from torch import Tensor

from flowvocoder.mel.files import write_mel
from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.postfilter.denoiser import Mode
from flowvocoder.vocoder import Vocoder

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")

AUDIO = torch.from_numpy(speech_like(0.4, 22050)).double()[: 34 * 256]


def doubled(voice: Path) -> Vocoder:
    loaded = Vocoder.from_pretrained(voice).double()
    assert loaded.device.type == "cpu"
    return loaded


@functools.cache
def mel() -> Tensor:
    return MelFrontEnd(Vocoder.from_pretrained().spec).double()(AUDIO)[None, :, :34]


def close(found: Tensor, expected: Tensor, name: str = "") -> None:
    assert found.is_cuda, name
    assert torch.allclose(found.cpu(), expected, rtol=1e-6, atol=1e-6), name


def test_every_method_is_the_same_on_both(small_voice: Path) -> None:
    """With arguments on the GPU, on the CPU, and as arrays. A voice that comes back is as it was."""
    vocoder = doubled(small_voice)
    expected = heard(vocoder, AUDIO, mel())
    assert vocoder.to("cuda") is vocoder and vocoder.device.type == "cuda"
    for audio, frames in ((AUDIO.cuda(), mel().cuda()), (AUDIO, mel())):
        for name, found in heard(vocoder, audio, frames).items():
            close(found, expected[name], name)
    close(vocoder.synthesize(mel().numpy(), seed=0), expected["synthesize"])
    close(vocoder.score(AUDIO.numpy()), expected["score"])
    back = heard(vocoder.cpu(), AUDIO, mel())
    assert all(torch.equal(back[name], found) for name, found in expected.items())


def test_a_voice_that_is_loaded_to_the_gpu(small_voice: Path, tmp_path: Path) -> None:
    cpu, cuda = (Vocoder.from_pretrained(small_voice, device) for device in ("cpu", "cuda"))
    assert all(weight.is_cuda for weight in cuda.parameters())
    frames = mel().float()
    difference = cuda.synthesize(frames, seed=0).cpu() - cpu.synthesize(frames, seed=0)
    assert difference.abs().max() < 1e-3
    cuda.save_pretrained(tmp_path / "saved")
    again = Vocoder.from_pretrained(tmp_path / "saved")
    assert torch.equal(again.synthesize(frames, seed=0), cpu.synthesize(frames, seed=0))


OPTIONS: dict[str, dict[str, Any]] = {
    "a batch of other lengths": {"lengths": [34, 20]},
    "the flow alone": {"gl_iters": 0},
    "iterations of a stream": {"latency_ms": 200.0},
    "another convention": {"convention": "hifigan", "trust_mel": True},
    "gradients": {"gradients": True},
    "seeds": {"seed": [3, 5]},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_synthesis_with_options(name: str, small_voice: Path) -> None:
    cpu, cuda = doubled(small_voice), doubled(small_voice).to("cuda")
    pair, given = torch.cat([mel(), mel() - 1.0]), {"seed": 1, **OPTIONS[name]}
    close(cuda.synthesize(pair, **given), cpu.synthesize(pair, **given))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_reduced_precision(precision: str, small_voice: Path) -> None:
    cuda = Vocoder.from_pretrained(small_voice, "cuda", precision=precision)  # type: ignore[arg-type]
    expected = Vocoder.from_pretrained(small_voice).synthesize(mel().float(), seed=0, low_band_iters=0)
    found = cuda.synthesize(mel().float(), seed=0, low_band_iters=0).cpu()
    assert 1e-9 < (found - expected).abs().max() < 0.1 * expected.abs().max()


def test_gradients_by_mel_audio_and_latent(small_voice: Path) -> None:
    found = []
    for vocoder in (doubled(small_voice), doubled(small_voice).to("cuda")):
        audio = AUDIO.to(vocoder.device).requires_grad_()
        latent, frames = vocoder.encode(audio)
        spoken = vocoder.synthesize(frames, seed=0, gl_iters=1, low_band_iters=0, gradients=True)
        total = vocoder.log_prob(audio).sum() + spoken.square().sum() + vocoder.decode(latent, frames).sum()
        found.append(torch.autograd.grad(total, audio)[0])
    scale = found[0].abs().max()
    close(found[1] / scale.to(found[1]), found[0] / scale)


def test_what_a_mel_does_not_say(small_voice: Path) -> None:
    cpu, cuda = doubled(small_voice), doubled(small_voice).to("cuda")
    close(cuda.uncertainty(mel(), draws=2, gl_iters=0), cpu.uncertainty(mel(), draws=2, gl_iters=0))


@pytest.mark.parametrize("mode", get_args(Mode))
def test_denoisers(mode: Mode, small_voice: Path) -> None:
    cpu, cuda = doubled(small_voice), doubled(small_voice).to("cuda")
    close(cuda.denoiser(mode)(AUDIO[None].cuda(), 0.2), cpu.denoiser(mode)(AUDIO[None], 0.2))


@pytest.mark.parametrize("name", ONE_EACH)
def test_every_architecture(name: str) -> None:
    cpu, cuda = (Vocoder(tiny(name).double()).to(device) for device in ("cpu", "cuda"))
    audio = torch.randn(2, 24 * 256, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.1
    frames = cpu.mel_for(audio)
    close(cuda.mel_for(audio), frames)
    close(cuda.synthesize(frames, seed=0, trust_mel=True), cpu.synthesize(frames, seed=0, trust_mel=True))
    latent, given = cuda.encode(audio.cuda())
    close(latent, cpu.encode(audio)[0])
    close(cuda.decode(latent, given), audio)
    close(cuda.log_prob(audio), cpu.log_prob(audio))


@pytest.fixture(scope="module")
def mels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mels") / "mels"
    folder.mkdir()
    spec = Vocoder.from_pretrained().spec
    for seconds in (0.5, 0.7, 0.9):
        audio = torch.from_numpy(example(seconds)).float()
        write_mel(folder / f"{seconds}.npy", MelFrontEnd(spec)(audio).numpy(), spec)
    return folder


def test_a_folder_of_mels_is_spoken_together(mels: Path, small_voice: Path, tmp_path: Path) -> None:
    for device in ("cuda", "cpu"):
        assert run("synth", mels, tmp_path / device, "--checkpoint", small_voice, "--device", device) == 0
    for path in (tmp_path / "cpu").iterdir():
        expected, found = sf.read(path)[0], sf.read(tmp_path / "cuda" / path.name)[0]
        assert len(found) == len(expected) and np.abs(found - expected).max() < 2e-3


def test_commands(small_voice: Path, wav: Path, tmp_path: Path) -> None:
    """Every command with `--device` that takes a recording."""
    voice = ("--checkpoint", small_voice, "--device", "cuda")
    assert run("mel", wav, tmp_path / "mel.npy", "--checkpoint", small_voice, "--device", "cuda") == 0
    assert run("synth", tmp_path / "mel.npy", tmp_path / "best.wav", *voice, "--best-of", 2, "--denoise", 0.1) == 0
    assert run("resynth", wav, tmp_path / "again.wav", *voice) == 0
    assert run("encode", wav, tmp_path / "latent.npz", *voice) == 0
    assert run("decode", tmp_path / "latent.npz", tmp_path / "back.wav", *voice) == 0
    assert run("score", wav, *voice) == 0
    recording, back = sf.read(wav)[0], sf.read(tmp_path / "back.wav")[0]
    assert np.abs(back[: len(recording)] - recording).max() < 1e-3
