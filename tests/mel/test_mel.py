"""The mel front end against the programs its conventions come from, mel files, and the plausibility check."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torchaudio
from helpers import speech_like

from flowvocoder.errors import AudioError, ConfigError, MelError
from flowvocoder.extras import librosa
from flowvocoder.flows.encoders import MelEncoder
from flowvocoder.flows.envelope import Envelope
from flowvocoder.mel.diagnose import StreamedMel, frame_levels, implausible
from flowvocoder.mel.files import read_mel, sidecar, write_mel
from flowvocoder.mel.frontend import MelFrontEnd, band_centres, unit_noise_level
from flowvocoder.mel.spec import CONVENTIONS, MelSpec, convention
from flowvocoder.mel.streaming import MelStream


def spectrum(audio: np.ndarray, pad: int) -> np.ndarray:
    """Windows of 1024 samples every 256, numpy alone: (513, frames), after reflecting `pad` samples at both ends."""
    padded = np.concatenate([audio[pad:0:-1], audio, audio[-2 : -pad - 2 : -1]]).astype(np.float64)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024)
    starts = range(0, len(padded) - 1023, 256)
    return np.stack([np.fft.rfft(padded[at : at + 1024] * window) for at in starts], axis=1)


def tacotron2(audio: np.ndarray) -> np.ndarray:
    """NVIDIA/tacotron2, layers.py and stft.py: ln, floor 1e-5, half a window of padding."""
    filters = librosa().filters.mel(sr=22050, n_fft=1024, n_mels=80, fmin=0.0, fmax=8000.0)
    return np.log(np.maximum(filters @ np.abs(spectrum(audio, 512)), 1e-5))


def hifigan(audio: np.ndarray) -> np.ndarray:
    """jik876/hifi-gan, meldataset.py: padding of (1024 - 256) / 2, and 1e-9 under the root."""
    filters = librosa().filters.mel(sr=22050, n_fft=1024, n_mels=80, fmin=0.0, fmax=8000.0)
    z = spectrum(audio, 384)
    return np.log(np.maximum(filters @ np.sqrt(z.real**2 + z.imag**2 + 1e-9), 1e-5))


def vocos(audio: np.ndarray) -> np.ndarray:
    """gemelo-ai/vocos, feature_extractors.py: torchaudio's transform, magnitudes, ln, floor 1e-7."""
    transform = torchaudio.transforms.MelSpectrogram(
        sample_rate=24000, n_fft=1024, hop_length=256, n_mels=100, center=True, power=1
    )
    return np.log(np.maximum(transform(torch.from_numpy(audio)).numpy(), 1e-7))


def parallelwavegan(audio: np.ndarray) -> np.ndarray:
    """kan-bayashi/ParallelWaveGAN, bin/preprocess.py with its LJSpeech recipe: log10, floor 1e-10, 80 to 7600 Hz."""
    magnitude = np.abs(librosa().stft(audio, n_fft=1024, hop_length=256, window="hann", pad_mode="reflect"))
    filters = librosa().filters.mel(sr=22050, n_fft=1024, n_mels=80, fmin=80, fmax=7600)
    return np.log10(np.maximum(1e-10, filters @ magnitude))


LITERAL = {"tacotron2": tacotron2, "hifigan": hifigan, "vocos": vocos, "parallelwavegan": parallelwavegan}
"""Each convention as the program that it comes from computes it; none of the product's code is in them."""


def test_every_convention_has_a_reference() -> None:
    assert set(LITERAL) == set(CONVENTIONS)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*n_mels.*:UserWarning")
@pytest.mark.parametrize("name", LITERAL)
@pytest.mark.parametrize("samples", [22050, 22016, 22017])
def test_a_convention_is_its_own_programs(name: str, samples: int) -> None:
    spec = convention(name)
    audio = speech_like(1.0, spec.sample_rate)[:samples]
    ours, theirs = MelFrontEnd(spec)(torch.from_numpy(audio)).numpy(), LITERAL[name](audio)
    assert ours.shape == theirs.shape == (spec.n_mels, samples // spec.hop_length + (spec.padding == "center"))
    assert np.abs(ours - theirs).max() < 2e-3  # float32 filters; in the log, at the floor


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Empty filters:UserWarning")
def test_windows_shorter_than_the_transform_and_other_rates() -> None:
    magnitude = np.abs(librosa().stft(speech_like(1.0, 16000), n_fft=512, hop_length=160, win_length=400,
                                    pad_mode="reflect"))  # fmt: skip
    filters = librosa().filters.mel(sr=16000, n_fft=512, n_mels=40, fmin=0, fmax=7600)
    spec = MelSpec(sample_rate=16000, hop_length=160, win_length=400, n_fft=512, n_mels=40, fmax=7600.0)
    ours = MelFrontEnd(spec)(torch.from_numpy(speech_like(1.0, 16000))).numpy()
    assert np.abs(ours - np.log(np.maximum(filters @ magnitude, 1e-5))).max() < 2e-3
    magnitude = np.abs(librosa().stft(speech_like(1.0, 48000), n_fft=2048, hop_length=480, win_length=1024,
                                    pad_mode="reflect"))  # fmt: skip
    filters = librosa().filters.mel(sr=48000, n_fft=2048, n_mels=128, fmin=0, fmax=24000, htk=True)
    spec = MelSpec(48000, 2048, 1024, 480, 128, 0.0, 24000.0, "htk")
    ours = MelFrontEnd(spec)(torch.from_numpy(speech_like(1.0, 48000))).numpy()
    assert np.abs(ours - np.log(np.maximum(filters @ magnitude, 1e-5))).max() < 2e-3


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
    with pytest.raises(ConfigError, match=r"mel\.n_mels 514 must be at most n_fft / 2 \+ 1 = 513"):
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
    "two mels": (lambda mel: np.stack([mel, mel]), "save each of the 2 mels in a file of its own"),
    "no axis": (lambda mel: mel[0, 0], r"shape \(\), expected \(80, frames\)"),
    "one axis": (lambda mel: mel[0], r"shape \(\d+,\), expected \(80, frames\)"),
    "no frames": (lambda mel: mel[:, :0], "0 frames"),
    "integers": (lambda mel: mel.astype(np.int32), "int32"),
    "linear": (np.exp, "linear magnitudes"),
    "log10": (lambda mel: mel / math.log(10), "looks like log10"),
    "decibels": (lambda mel: mel * 20 / math.log(10), "looks like decibels"),
    "normalised": (lambda mel: (mel - mel.mean()) / mel.std(), "mean-variance normalised"),
    "0 to 1": (lambda mel: (mel - mel.min()) / np.ptp(mel), "scaled to 0..1"),
    "-1 to 1": (lambda mel: 2 * (mel - mel.min()) / np.ptp(mel) - 1, r"normalised|scaled to -1..1"),
    "-4 to 4": (lambda mel: 8 * (mel - mel.min()) / np.ptp(mel) - 4, "too loud for audio in -1..1"),
    "filters that are not normalised": (lambda mel: mel + 3.05, "filters not normalised"),
    "vocos floor": (lambda mel: mel - 4.6, "floor"),
    "integer audio": (lambda mel: mel + math.log(32768), "integer samples"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_implausible_mel_is_refused_and_named(case: str, tmp_path: Path) -> None:
    change, message = REFUSED[case]
    np.save(tmp_path / "a.npy", change(mel_of("tacotron2")))
    with pytest.raises(MelError, match=message):
        read_mel(tmp_path / "a.npy", convention("tacotron2"))


def test_a_definition_does_not_make_a_mel_quieter(tmp_path: Path) -> None:
    spec, path = convention("tacotron2"), tmp_path / "a.npy"
    write_mel(path, mel_of("tacotron2") + np.float32(math.log(32768)), spec)
    with pytest.raises(MelError, match="too loud for audio"):
        read_mel(path, spec)
    assert read_mel(path, spec, trust=True).max() > 5.0
    flat = np.full((80, 5), -3.0, np.float32)  # of a program's own making, and odd: what is defined is taken
    write_mel(path, flat, spec)
    assert (read_mel(path, spec) == flat).all()


@pytest.mark.parametrize("gain", [1.0, 0.1, 0.01, 0.0])
@pytest.mark.parametrize("name", CONVENTIONS)
def test_true_mels_are_plausible_at_any_level(name: str, gain: float) -> None:
    assert implausible(mel_of(name, gain), convention(name)) is None


def sounds(rate: int) -> dict[str, np.ndarray]:
    """Two seconds of what recordings can be at the extremes, within -1..1."""
    rng, time = np.random.default_rng(0), np.arange(2 * rate) / rate
    speech, white = speech_like(2.0, rate).astype(np.float64), rng.standard_normal(2 * rate)
    pink = np.fft.irfft(np.fft.rfft(white) / np.sqrt(np.arange(rate + 1) + 1), 2 * rate)
    pink /= pink.std()
    made = {f"{kind} at {gain}": gain * noise for kind, noise in (("white", white), ("pink", pink))
            for gain in (0.001, 0.01, 0.1, 0.3, 1.0, 10.0)}  # fmt: skip
    made |= {f"speech, {gain} times": gain * speech for gain in (0.01, 0.1, 10.0, 30.0, 1000.0)}
    made |= {f"speech, {db} dB over noise": speech + 10 ** (-db / 20) * speech.std() * white for db in (20, 5, -10)}
    return {name: np.clip(sound, -1, 1) for name, sound in made.items()} | {
        "silence": np.zeros(2 * rate),
        "offset": np.full(2 * rate, 0.5),
        "dither": np.rint(0.5 * white) / 32768,
        "square wave": np.sign(np.sin(2 * np.pi * 200 * time)),
        "tone": np.sin(2 * np.pi * 440 * time),
        "impulses": (np.arange(2 * rate) % 200 == 0) * 1.0,
        "click": (np.arange(2 * rate) == rate) * 1.0,
        "half silence": np.where(time < 1, 0.0, speech),
        "fade": speech * np.exp(-9 * time),
        "full-scale noise": np.sign(white),
        "bursts": np.clip(white, -1, 1) * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * time)),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", CONVENTIONS)
def test_the_mel_of_any_recording_is_plausible(name: str) -> None:
    """Whole, and as it comes in a stream, from its start or from its middle, in chunks of any size."""
    spec = convention(name)
    front_end = MelFrontEnd(spec)
    for sound, samples in sounds(spec.sample_rate).items():
        mel = front_end(torch.from_numpy(samples.astype(np.float32))).numpy()
        assert implausible(mel, spec) is None, sound
        for first, chunk in ((0, 1), (0, 13), (50, 7)):
            stream = StreamedMel(spec)
            pieces = np.split(mel[:, first:], range(chunk, mel.shape[1] - first, chunk), 1)
            assert not any(map(stream.push, pieces)), (sound, first, chunk)


@pytest.mark.parametrize("case", ["0 to 1", "normalised", "decibels", "linear"])
def test_a_stream_of_another_kind_of_mel_is_refused_early(case: str) -> None:
    mel = REFUSED[case][0](mel_of("tacotron2"))
    stream = StreamedMel(convention("tacotron2"))
    found = [stream.push(mel[:, frame : frame + 1]) for frame in range(60)]
    assert any(found), "a second has passed"


def test_a_level_is_that_of_the_audio() -> None:
    for name, spec in CONVENTIONS.items():
        noise = 0.1 * torch.randn(spec.sample_rate, generator=torch.Generator().manual_seed(0))
        levels = frame_levels(MelFrontEnd(spec)(noise).double().numpy(), spec)
        low, high = 2 * spec.fmin / spec.sample_rate, 2 * spec.fmax / spec.sample_rate  # what the bands cover
        assert np.median(levels) == pytest.approx(0.1 * math.sqrt(high - low), rel=0.15), name


def test_a_trusted_mel_may_have_another_spec(tmp_path: Path) -> None:
    mel = mel_of("hifigan")
    write_mel(tmp_path / "a.npy", mel, convention("hifigan"))
    with pytest.raises(MelError, match="is a hifigan mel, the checkpoint wants tacotron2"):
        read_mel(tmp_path / "a.npy", convention("tacotron2"))
    assert np.array_equal(read_mel(tmp_path / "a.npy", convention("tacotron2"), trust=True), mel)


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


@pytest.mark.slow
def test_a_mel_of_long_and_close_frames_takes_bounded_memory(recwarn: pytest.WarningsRecorder) -> None:
    with pytest.raises(ConfigError, match="n_fft 16384 must be at most 64 x hop_length 128"):
        MelSpec(n_fft=16384, win_length=16384, hop_length=128)
    spec = MelSpec(n_fft=16384, win_length=16384, hop_length=256, n_mels=200)
    level = unit_noise_level(spec)
    assert level.shape == (200,) and level.isfinite().all() and not recwarn


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_mel_stream_refuses_what_is_no_audio(bad: float) -> None:
    stream = MelStream(MelFrontEnd(convention("tacotron2")))
    with pytest.raises(AudioError, match="NaN or infinite"):
        stream.push(torch.full((600,), bad))
