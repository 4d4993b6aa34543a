"""The denoiser: takes out the model's own tones and leaves the rest alone."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from command import refused, run
from helpers import speech_like
from torch import Tensor

from flowvocoder.cli.options import DENOISER_MODES
from flowvocoder.errors import AudioError, ConfigError
from flowvocoder.evaluation import measure_block_tones
from flowvocoder.flows.base import Chain
from flowvocoder.flows.coupling import AffineCoupling
from flowvocoder.flows.density import FlowVocoder
from flowvocoder.flows.encoders import Repeat
from flowvocoder.flows.multiscale import Squeeze
from flowvocoder.mel.spec import convention
from flowvocoder.postfilter.denoiser import FRAMES, Mode
from flowvocoder.vocoder import Vocoder

GROUP = 8


class Hums(torch.nn.Module):
    """A conditioner that shifts channels by constants: tones at multiples of rate / 8, as WaveGlow has them."""

    def forward(self, a: Tensor, context: Tensor) -> Tensor:
        shift = torch.tensor([0.03, -0.01, 0.02, 0.0])[:, None].expand(len(a), 4, a.shape[-1])
        return torch.cat([torch.zeros_like(a), shift.to(a)], 1)


@pytest.fixture
def humming() -> Vocoder:
    flow = Chain([Squeeze(GROUP), AffineCoupling(GROUP, Hums())])
    flow.register_parameter("none", torch.nn.Parameter(torch.zeros(1)))
    spec = dataclasses.replace(convention("tacotron2"), n_mels=20)
    return Vocoder(FlowVocoder(spec, Repeat(256 // GROUP), flow, GROUP))


def tone(audio: Tensor, k: int = 1) -> float:
    """Amplitude at k * rate / 8."""
    length = audio.shape[-1] // 1024 * 1024
    return float(torch.fft.rfft(audio[..., :length]).abs()[..., k * length // GROUP]) / length * 2


@pytest.mark.parametrize("mode", DENOISER_MODES)
def test_tones_go_and_speech_stays(humming: Vocoder, mode: Mode) -> None:
    speech = torch.from_numpy(speech_like(2.0, 22050))[: 160 * 256]
    hum = humming.synthesize(torch.zeros(20, 160), temperature=0.0, trust_mel=True)[0]
    dirty = (speech + hum)[None]
    denoiser = humming.denoiser(mode)
    clean = denoiser(dirty, strength=1.0)
    assert clean.shape == dirty.shape
    for k in (1, 2, 3):
        before, after = tone(hum, k), abs(tone(clean[0], k) - tone(speech, k))
        assert before > 0.003 and after < 0.35 * before, (k, before, after)
    assert (clean[0] - speech).square().mean() < 0.3 * hum.square().mean()
    meter = [measure_block_tones(audio.numpy(), 22050, GROUP).mean for audio in (speech, dirty[0], clean[0])]
    assert meter[1] > meter[0] + 30.0
    # The first frame alone, half of it a reflection, is not quite the hum's spectrum: what is left stands out.
    assert mode == "reference" or meter[2] < meter[0] + 0.5 * (meter[1] - meter[0]), meter
    assert torch.allclose(denoiser(dirty, 0.0), dirty, atol=1e-6)
    weak, strong = ((denoiser(dirty, s) - dirty).square().mean() for s in (0.1, 1.0))
    assert 0 < weak < strong


def test_reference_mode_is_the_references_formula(humming: Vocoder) -> None:
    """First frame of a centred, reflected STFT of what a mel of zeros gives without noise."""
    hum = humming.synthesize(torch.zeros(20, FRAMES), temperature=0.0, trust_mel=True)[0].numpy()
    frame = np.pad(hum, 512, mode="reflect")[:1024] * np.hanning(1025)[:-1]
    expected = np.abs(np.fft.rfft(frame))
    assert np.allclose(humming.denoiser("reference").bias[:, 0], expected, atol=1e-5)


def test_level_is_the_hums(humming: Vocoder) -> None:
    hum = humming.synthesize(torch.zeros(20, FRAMES), temperature=0.0, trust_mel=True)
    assert humming.denoiser().level == pytest.approx(10 * float(hum.square().mean().log10()), abs=1e-3)


@pytest.mark.slow
def test_any_length_and_the_bundled_voice() -> None:
    vocoder = Vocoder.from_pretrained()
    denoiser = vocoder.denoiser()
    assert denoiser.level < -40.0
    for samples in (1, 100, 513, 4001):
        audio = 0.1 * torch.randn(samples)
        assert denoiser(audio, 0.1).shape == (1, samples)
        assert torch.allclose(denoiser(audio, 0.1)[0], audio, atol=0.02)


def test_refusals(humming: Vocoder) -> None:
    with pytest.raises(ConfigError, match="there are silence, reference, normal"):
        humming.denoiser("zeros")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="strength must be 0 or above, not -1"):
        humming.denoiser()(torch.zeros(1, 2000), -1.0)
    with pytest.raises(AudioError, match="3 axes"):
        humming.denoiser()(torch.zeros(1, 1, 2000), 0.1)


@pytest.mark.slow
def test_commands(wav: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain, denoised, mel = tmp_path / "p.wav", tmp_path / "d.wav", tmp_path / "m.npy"
    common = ("--checkpoint", checkpoint, "--seed", 1)
    assert run("resynth", wav, plain, *common) == 0
    assert run("resynth", wav, denoised, *common, "--denoise", 1.0) == 0
    assert "block-rate tones, every 172 Hz" in capsys.readouterr().out
    assert sf.info(denoised).frames == sf.info(wav).frames and plain.read_bytes() != denoised.read_bytes()
    assert run("mel", wav, mel, "--checkpoint", checkpoint) == 0
    assert run("synth", mel, tmp_path / "s.wav", *common, "--denoise", 0.5, "--denoise-mode", "normal") == 0
    assert "as loud as speech" in capsys.readouterr().err
    out = tmp_path / "no.wav"
    assert "--denoise must be 0 or above" in refused(capsys, "resynth", wav, out, "--denoise", "nan")
    assert "invalid choice" in refused(capsys, "resynth", wav, out, "--denoise-mode", "zeros")
    assert not out.exists()
