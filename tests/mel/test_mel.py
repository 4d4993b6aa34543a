"""The mel front end against librosa and torchaudio, mel files, and the plausibility check."""

import json
import math
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch
import torchaudio
from helpers import speech_like

from flowvocoder.errors import AudioError, ConfigError, MelError
from flowvocoder.flows.encoders import MelEncoder
from flowvocoder.flows.envelope import Envelope
from flowvocoder.mel.diagnose import implausible
from flowvocoder.mel.files import read_mel, sidecar, write_mel
from flowvocoder.mel.frontend import MelFrontEnd, band_centres, edge_padding, frame_count, unit_noise_level
from flowvocoder.mel.spec import CONVENTIONS, MelSpec, convention

OTHERS = {
    "16 kHz": MelSpec(sample_rate=16000, hop_length=160, win_length=400, n_fft=512, n_mels=40, fmax=7600.0),
    "48 kHz htk": MelSpec(sample_rate=48000, hop_length=480, n_fft=2048, n_mels=128, fmax=24000.0, mel_scale="htk"),
}


def librosa_mel(audio: np.ndarray, spec: MelSpec) -> np.ndarray:
    left, right = edge_padding(spec)
    magnitude = np.abs(
        librosa.stft(
            np.pad(audio, (left, right), mode="reflect"),
            n_fft=spec.n_fft, hop_length=spec.hop_length, win_length=spec.win_length, center=False,
        )
    )  # fmt: skip
    magnitude = np.sqrt(magnitude**2 + spec.magnitude_eps)
    filters = librosa.filters.mel(
        sr=spec.sample_rate, n_fft=spec.n_fft, n_mels=spec.n_mels, fmin=spec.fmin, fmax=spec.fmax,
        htk=spec.mel_scale == "htk", norm="slaney" if spec.norm == "slaney" else None,
    )  # fmt: skip
    mel = np.maximum(filters @ magnitude, spec.floor)
    return np.log10(mel) if spec.log == "log10" else np.log(mel)


@pytest.mark.filterwarnings("ignore:.*n_mels.*:UserWarning", "ignore:Empty filters:UserWarning")
@pytest.mark.parametrize("name", [*CONVENTIONS, *OTHERS])
def test_agrees_with_librosa(name: str) -> None:
    spec = CONVENTIONS.get(name) or OTHERS[name]
    audio = speech_like(1.0, spec.sample_rate)
    ours = MelFrontEnd(spec)(torch.from_numpy(audio)).numpy()
    assert ours.shape == (spec.n_mels, frame_count(len(audio), spec))
    assert np.abs(ours - librosa_mel(audio, spec)).max() < 2e-3  # float32 filters; in the log, at the floor


def test_tacotron2_padding_is_librosas_centering() -> None:
    audio, spec = speech_like(0.5, 22050), convention("tacotron2")
    magnitude = np.abs(librosa.stft(audio, n_fft=1024, hop_length=256, pad_mode="reflect"))
    filters = librosa.filters.mel(sr=22050, n_fft=1024, n_mels=80, fmin=0, fmax=8000)
    expected = np.log(np.maximum(filters @ magnitude, 1e-5))
    assert np.abs(MelFrontEnd(spec)(torch.from_numpy(audio)).numpy() - expected).max() < 2e-3


def test_vocos_agrees_with_torchaudio() -> None:
    audio = torch.from_numpy(speech_like(1.0, 24000))
    reference = torchaudio.transforms.MelSpectrogram(
        sample_rate=24000, n_fft=1024, hop_length=256, n_mels=100, center=True, power=1
    )(audio)
    ours = MelFrontEnd(convention("vocos"))(audio)
    assert torch.allclose(ours, reference.clamp_min(1e-7).log(), atol=1e-4)


def test_too_short_audio_is_refused_with_both_numbers() -> None:
    with pytest.raises(AudioError, match=r"220 samples.*at least 513"):
        MelFrontEnd(convention("tacotron2"))(torch.zeros(220))


@pytest.mark.parametrize("name", CONVENTIONS)
def test_the_mel_states_the_envelope_of_noise(name: str) -> None:
    """Noise of known level: the envelope that a fresh model reads off its mel is that level, in every band."""
    spec = convention(name)
    encoder, envelope = MelEncoder(spec, 8, 0, 2, 0), Envelope(spec, spec.n_mels + 8, 128, 8)
    noise = 0.03 * torch.randn(1, spec.sample_rate * 10, generator=torch.Generator().manual_seed(3))
    level = envelope(encoder(MelFrontEnd(spec)(noise))).mean((0, 2))
    assert (level - math.log(0.03)).abs().max() < 0.15


def test_band_centres_rise() -> None:
    centres = band_centres(convention("tacotron2"))
    assert (centres.diff() > 0).all() and 0 < centres[0] < 60 and 7500 < centres[-1] < 8000
    assert unit_noise_level(convention("tacotron2")).shape == (80,)


def test_spec_round_trip_and_refusals() -> None:
    spec = convention("parallelwavegan")
    assert MelSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec and spec.name() == "parallelwavegan"
    with pytest.raises(ConfigError, match="fmax"):
        MelSpec(fmax=12000.0)
    with pytest.raises(ConfigError, match=r"n_mels must be in 1\.\.n_fft / 2 \+ 1 = 513, not 514"):
        MelSpec(n_mels=514)
    with pytest.raises(ConfigError, match="hop"):
        MelSpec.from_dict({**spec.to_dict(), "hop": 3})
    with pytest.raises(ConfigError, match="hifigan"):
        convention("melgan")


def mel_of(name: str, gain: float = 1.0) -> np.ndarray:
    spec = convention(name)
    return MelFrontEnd(spec)(gain * torch.from_numpy(speech_like(2.0, spec.sample_rate))).numpy()


def test_mel_file_round_trip(tmp_path: Path) -> None:
    mel, spec = mel_of("tacotron2"), convention("tacotron2")
    write_mel(tmp_path / "a.npy", mel, spec)
    assert np.array_equal(read_mel(tmp_path / "a.npy", spec), mel)
    assert sidecar(tmp_path / "a.npy").name == "a.npy.json"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npy", "a.npy.json"]


def test_mel_of_another_spec_is_refused_with_the_difference(tmp_path: Path) -> None:
    write_mel(tmp_path / "a.npy", mel_of("parallelwavegan"), convention("parallelwavegan"))
    with pytest.raises(MelError, match=r"parallelwavegan mel.*tacotron2.*fmin 80.0, not 0.0.*log log10, not ln"):
        read_mel(tmp_path / "a.npy", convention("tacotron2"))


REFUSED = {
    "transposed": (lambda mel: mel.T, r"looks transposed: save mel\.T"),
    "nan": (lambda mel: np.where(np.arange(mel.shape[1]) == 3, np.nan, mel), r"80 of \d+ values are NaN"),
    "bands": (lambda mel: mel[:64], "64 bands, the checkpoint wants 80"),
    "one axis": (lambda mel: mel[0], r"shape \(\d+,\), expected \(80, frames\)"),
    "no frames": (lambda mel: mel[:, :0], "0 frames"),
    "integers": (lambda mel: mel.astype(np.int32), "int32"),
    "linear": (np.exp, "linear magnitudes"),
    "log10": (lambda mel: mel / math.log(10), "looks like log10"),
    "decibels": (lambda mel: mel * 20 / math.log(10), "looks like decibels"),
    "normalised": (lambda mel: (mel - mel.mean()) / mel.std(), "mean-variance normalised"),
    "0 to 1": (lambda mel: (mel - mel.min()) / np.ptp(mel), "scaled to 0..1"),
    "vocos floor": (lambda mel: mel - 4.6, "floor"),
    "integer audio": (lambda mel: mel + math.log(32768), "integer samples"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_implausible_mel_is_refused_and_named(case: str, tmp_path: Path) -> None:
    change, message = REFUSED[case]
    np.save(tmp_path / "a.npy", change(mel_of("tacotron2")))
    with pytest.raises(MelError, match=message):
        read_mel(tmp_path / "a.npy", convention("tacotron2"))


@pytest.mark.parametrize("gain", [1.0, 0.1, 0.01, 0.0])
@pytest.mark.parametrize("name", CONVENTIONS)
def test_true_mels_are_plausible_at_any_level(name: str, gain: float) -> None:
    assert implausible(mel_of(name, gain), convention(name)) is None


def test_ln_is_not_taken_for_log10() -> None:
    assert "ln, not log10" in str(implausible(mel_of("tacotron2"), convention("parallelwavegan")))


def test_text_named_npy_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_text("not an array")
    with pytest.raises(MelError, match=r"a\.npy: not a \.npy file"):
        read_mel(tmp_path / "a.npy", convention("tacotron2"))


def test_pickled_npy_is_not_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(MelError, match="pickled Python objects"):
        read_mel(tmp_path / "a.npy", convention("tacotron2"))
