"""Mels of one convention for a voice of another."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
import torchaudio
from helpers import speech_like
from tiny_models import TINY
from torch import Tensor

from flowvocoder.checkpoint import Checkpoint, build_model, save_checkpoint
from flowvocoder.cli.main import main
from flowvocoder.config import Experiment, TrainConfig
from flowvocoder.errors import ConfigError, MelError
from flowvocoder.extras import librosa
from flowvocoder.mel.conversion import MelConversion, served
from flowvocoder.mel.files import write_mel
from flowvocoder.mel.frontend import MelFrontEnd, band_centres
from flowvocoder.mel.spec import MelSpec, convention
from flowvocoder.mel.toolkits import TOOLKITS, Toolkit, toolkit
from flowvocoder.vocoder import Vocoder
from flowvocoder.voice_card import VoiceCard

CENTER, SAME = convention("tacotron2"), convention("hifigan")


def test_what_a_voice_takes() -> None:
    assert served(CENTER) == served(SAME) == ["tacotron2", "hifigan", "nemo", "speechbrain"]
    assert served(CENTER, exactly=False) == ["parallelwavegan", "coqui", "diffsinger"]
    assert served(convention("vocos")) == ["vocos"] and not served(convention("vocos"), exactly=False)
    with pytest.raises(MelError, match=r"a vocos mel does not fit a voice of tacotron2 .*: sample_rate 24000, not"):
        MelConversion(toolkit("vocos"), CENTER)


def test_logarithm_and_floor() -> None:
    conversion = MelConversion(Toolkit(MelSpec(log="log10", floor=1e-10)), CENTER)
    mel = torch.tensor([-10.0, -3.0, 0.5]).expand(1, 80, 3)
    expected = torch.tensor([math.log(1e-5), -3.0 * math.log(10.0), 0.5 * math.log(10.0)])
    assert torch.allclose(conversion.mel(mel)[0, 7], expected)


def magnitudes(audio: np.ndarray, low: float, high: float, edges: str = "reflect") -> np.ndarray:
    """As librosa computes them, which the programs below call."""
    spectrum = np.abs(librosa().stft(audio, n_fft=1024, hop_length=256, win_length=1024, pad_mode=edges))
    return librosa().filters.mel(sr=22050, n_fft=1024, n_mels=80, fmin=low, fmax=high) @ spectrum


def coqui(audio: np.ndarray) -> np.ndarray:
    """coqui-ai/TTS, BaseAudioConfig: decibels, of which 20 are taken off and 100 are shown, as -4 to 4."""
    decibels = 20.0 * np.log10(np.maximum(1e-8, magnitudes(audio, 0.0, 11025.0)))
    return np.clip(8.0 * ((decibels - 20.0 + 100.0) / 100.0) - 4.0, -4.0, 4.0)


def diffsinger(audio: np.ndarray) -> np.ndarray:
    """MoonInTheRiver/DiffSinger, data_gen_utils.py and configs/tts/base.yaml."""
    return np.log10(np.maximum(1e-6, magnitudes(audio, 80.0, 7600.0, "constant")))


def nemo(audio: np.ndarray) -> np.ndarray:
    """NVIDIA/NeMo, FilterbankFeatures with fastpitch_align_v1.05.yaml: 1e-5 is added."""
    return np.log(magnitudes(audio, 0.0, 8000.0) + 1e-5)


def speechbrain(audio: np.ndarray) -> np.ndarray:
    """speechbrain, mel_spectogram with the recipe of FastSpeech 2 for LJ Speech."""
    transform = torchaudio.transforms.MelSpectrogram(
        22050, 1024, 1024, 256, 0.0, 8000.0, n_mels=80, power=1, normalized=False, norm="slaney", mel_scale="slaney"
    )
    return np.log(np.maximum(transform(torch.from_numpy(audio)).numpy(), 1e-5))


def conventional(padding: int, log10: bool = False) -> Callable[[np.ndarray], np.ndarray]:
    """tacotron2's and hifigan's own, which differ in padding, and parallelwavegan's, as `test_mel.py` has them."""

    def of(audio: np.ndarray) -> np.ndarray:
        if log10:
            return np.log10(np.maximum(1e-10, magnitudes(audio, 80.0, 7600.0)))
        padded = np.pad(audio, padding, "reflect")
        spectrum = np.abs(librosa().stft(padded, n_fft=1024, hop_length=256, center=False))
        filters = librosa().filters.mel(sr=22050, n_fft=1024, n_mels=80, fmin=0.0, fmax=8000.0)
        return np.log(np.maximum(filters @ np.sqrt(spectrum**2 + 1e-9 * (padding == 384)), 1e-5))

    return of


CONVENTIONAL = {"tacotron2": conventional(512), "hifigan": conventional(384), "parallelwavegan": conventional(0, True)}
PROGRAMS = {"coqui": coqui, "diffsinger": diffsinger, "nemo": nemo, "speechbrain": speechbrain}


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_toolkits_numbers_become_its_mel(name: str) -> None:
    audio = speech_like(1.0, 22050)
    source = toolkit(name)
    found, expected = source.undo(PROGRAMS[name](audio)), MelFrontEnd(source.spec)(torch.from_numpy(audio)).numpy()
    assert found.shape == expected.shape and np.abs(found - expected)[:, 2:-2].max() < 2e-3
    assert np.allclose(source.undo(torch.from_numpy(PROGRAMS[name](audio))).numpy(), found, atol=1e-4)
    assert set(PROGRAMS) == set(TOOLKITS) and all(source.source for source in TOOLKITS.values())


@pytest.mark.parametrize("other", [
    MelSpec(fmin=80.0, fmax=7600.0, log="log10", floor=1e-10), MelSpec(fmax=11025.0),
    MelSpec(n_fft=2048, win_length=2048), MelSpec(mel_scale="htk", norm="none", n_mels=100), MelSpec(win_length=800),
])  # fmt: skip
def test_the_flow_gets_nearly_the_mel_of_the_same_noise(other: MelSpec) -> None:
    """Coloured noise of known level, where no band's level is that of its neighbour."""
    noise = torch.randn(1, 22050 * 4, generator=torch.Generator().manual_seed(2))
    spectrum = torch.fft.rfft(noise)
    hz = torch.linspace(0.0, 11025.0, spectrum.shape[1])
    coloured = torch.fft.irfft(spectrum * 0.1 * (1.5 + torch.cos(hz / 600.0)) * (1 + hz / 300.0) ** -1)
    conversion = MelConversion(Toolkit(other), CENTER)
    approximate = conversion.for_flow(conversion.mel(MelFrontEnd(other)(coloured)))
    bias = (approximate[..., :340] - MelFrontEnd(CENTER)(coloured)[..., :340])[..., 4:].mean(2)[0]
    inside = (band_centres(CENTER) > other.fmin + 60) & (band_centres(CENTER) < other.fmax - 300)
    assert not conversion.exact and bias[inside].abs().max() < 0.2


def some_mel(items: int = 1, frames: int = 40) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(items, 80, frames, generator=generator) - 5.0


@pytest.fixture(params=["center for same", "same for center"])
def vocoder_and_name(request: pytest.FixtureRequest, small_voice: Path) -> tuple[Vocoder, str]:
    """A voice, and the convention whose frames lie elsewhere."""
    vocoder = Vocoder.from_pretrained(small_voice)
    if request.param == "same for center":
        return vocoder, "hifigan"
    vocoder.spec = SAME  # the weights are those of no training: what a mel means is all the same to them
    return vocoder, "tacotron2"


@pytest.mark.slow
def test_audio_is_moved_by_half_a_hop(vocoder_and_name: tuple[Vocoder, str]) -> None:
    vocoder, name = vocoder_and_name
    mel = some_mel()
    audio = vocoder.synthesize(mel, seed=3, convention=name)
    assert audio.shape == (1, 40 * 256)
    longer = [mel[..., :1], mel] if name == "hifigan" else [mel, mel[..., -1:]]
    own = vocoder.synthesize(torch.cat(longer, 2), seed=3)
    assert torch.equal(audio, own[:, 128 : 128 + 40 * 256])


@pytest.mark.slow
def test_items_and_chunks_get_what_they_get_alone(vocoder_and_name: tuple[Vocoder, str]) -> None:
    vocoder, name = vocoder_and_name
    mel, lengths = some_mel(items=2), [40, 17]
    mel[1, :, 17:] = 3.0  # loud rubbish, which must reach nothing
    together = vocoder.synthesize(mel, seed=3, lengths=lengths, convention=name)
    for item, frames in enumerate(lengths):
        alone = vocoder.synthesize(mel[item, :, :frames], seed=3 + item, convention=name)[0]
        assert (together[item, : frames * 256] - alone).abs().max() < 1e-5
        assert not together[item, frames * 256 :].any()
        stream = vocoder.stream(seed=3 + item, low_band_iters=24, convention=name)
        parts = [stream.push(mel[item, :, i : min(i + 7, frames)]) for i in range(0, frames, 7)]
        behind = round(stream.seconds_behind * 22050)
        assert sum(map(len, parts)) == max(0, frames * 256 - behind)
        assert (torch.cat([*parts, stream.flush()]) - alone).abs().max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["parallelwavegan", "coqui"])
def test_an_approximate_mel_streams_and_batches_like_any(small_voice: Path, name: str) -> None:
    vocoder, source = Vocoder.from_pretrained(small_voice), toolkit(name)
    mel = (some_mel(items=2) - source.shift * math.log(10.0)) / math.log(10.0) / source.factor
    mel, lengths = mel.clamp_min(-4.0), [40, 17]
    together = vocoder.synthesize(mel, seed=3, lengths=lengths, convention=name)
    for item, frames in enumerate(lengths):
        alone = vocoder.synthesize(mel[item, :, :frames], seed=3 + item, convention=name)[0]
        assert (together[item, : frames * 256] - alone).abs().max() < 1e-5
        stream = vocoder.stream(seed=3 + item, low_band_iters=24, gl_iters=4, convention=name)
        own = vocoder.synthesize(mel[item, :, :frames], seed=3 + item, low_band_iters=24, gl_iters=4, convention=name)
        parts = [stream.push(mel[item, :, i : min(i + 7, frames)]) for i in range(0, frames, 7)]
        assert (torch.cat([*parts, stream.flush()]) - own[0]).abs().max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tacotron2", "hifigan", "nemo", "parallelwavegan", "coqui"])
def test_the_bundled_voice_speaks_it_as_well_as_its_own(name: str) -> None:
    """From the program's own numbers to audio, whose mel by the program's definition is near to the given one."""
    vocoder, source = Vocoder.from_pretrained(), toolkit(name)
    audio, _ = sf.read(Path("flowvocoder/examples/kathleen.flac"), dtype="float32")
    audio = audio[: 2 * 22050]
    numbers = torch.from_numpy({**CONVENTIONAL, **PROGRAMS}[name](audio)).float()
    result = MelFrontEnd(source.spec)(vocoder.synthesize(numbers, seed=0, convention=name))
    mel = source.undo(numbers)
    unit = math.log(10.0) if source.spec.log == "log10" else 1.0
    assert unit * (result[0, :, : mel.shape[1]] - mel[:, : result.shape[2]]).abs().mean() < 0.115


@pytest.mark.slow
def test_the_command(small_voice: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mel = some_mel()[0].numpy()
    np.save(tmp_path / "bare.npy", mel)
    write_mel(tmp_path / "named.npy", mel, SAME)
    write_mel(tmp_path / "other.npy", np.zeros((100, 40), np.float32) - 5, convention("vocos"))

    def synth(name: str, *options: str) -> int:
        out = str(tmp_path / f"{name}.wav")
        return main(["synth", str(tmp_path / f"{name}.npy"), out, "--checkpoint", str(small_voice), *options])

    assert synth("bare", "--convention", "hifigan", "--seed", "3") == synth("named", "--seed", "3") == 0
    assert (tmp_path / "bare.wav").read_bytes() == (tmp_path / "named.wav").read_bytes()
    assert synth("bare", "--seed", "3") == 0
    assert (tmp_path / "bare.wav").read_bytes() != (tmp_path / "named.wav").read_bytes()
    capsys.readouterr()
    for name, options, said in [
        ("other", [], "a vocos mel does not fit a voice of tacotron2 mels: sample_rate 24000, not 22050; the"
         " voice universal-24k takes it: --checkpoint universal-24k"),
        ("named", ["--convention", "tacotron2"], "is a hifigan mel, --convention says tacotron2: padding same"),
        ("bare", ["--convention", "nobody"], "unknown mel convention 'nobody'"),
    ]:  # fmt: skip
        assert synth(name, *options) == 2
        printed = capsys.readouterr().err
        assert said in printed and printed.count("\n") == 1


def test_a_damaged_voice_does_not_hide_the_one_that_takes_a_mel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Voices that were added are looked through by name, after those of the package."""
    spec, added = MelSpec(sample_rate=16000, n_mels=8), tmp_path / "flowvocoder" / "voices"
    (added / "a-damaged-one").mkdir(parents=True)
    (added / "a-damaged-one" / "config.json").write_text("{")
    experiment = Experiment(TINY["squeezewave"], spec, TrainConfig())
    save_checkpoint(added / "small", Checkpoint(build_model(experiment), experiment, VoiceCard(name="small")))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    write_mel(tmp_path / "mel.npy", np.zeros((8, 40), np.float32) - 5, spec)
    assert main(["synth", str(tmp_path / "mel.npy"), str(tmp_path / "out.wav")]) == 2
    assert "the voice small takes it: --checkpoint small" in capsys.readouterr().err


def test_the_door(small_voice: Path) -> None:
    vocoder = Vocoder.from_pretrained(small_voice)
    with pytest.raises(ConfigError, match="unknown mel convention"):
        vocoder.synthesize(some_mel(), convention="nobody")
    with pytest.raises(MelError, match="sample_rate 24000, not 22050"):
        vocoder.stream(convention="vocos")
