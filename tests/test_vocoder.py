"""The Python interface, and the bundled voice on real speech."""

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from helpers import heard, speech_like

import flowvocoder
from flowvocoder.checkpoint import WEIGHTS
from flowvocoder.errors import AudioError, CheckpointError, ConfigError, MelError
from flowvocoder.vocoder import Vocoder
from flowvocoder.voice_card import BUNDLED_VOICE, VOICES

EXAMPLES = sorted((Path(flowvocoder.__file__).parent / "examples").glob("*.flac"))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def vocoder() -> Vocoder:
    return Vocoder.from_pretrained()


@pytest.fixture(scope="module")
def small(small_voice: Path) -> Vocoder:
    """Untrained, for what is true of any voice."""
    return Vocoder.from_pretrained(small_voice)


def recording(path: Path) -> torch.Tensor:
    return torch.from_numpy(sf.read(path, dtype="float32")[0])


@pytest.fixture(scope="module", params=EXAMPLES, ids=lambda p: p.stem)
def speech(request: pytest.FixtureRequest) -> torch.Tensor:
    return recording(request.param)


@pytest.fixture(scope="module")
def kathleen() -> torch.Tensor:
    """One of them, for what no speaker changes."""
    return recording(EXAMPLES[0])


@pytest.mark.parametrize("name", ["universal-22k", "universal-24k", "pocket-22k"])
def test_a_voice_of_the_package_fits_it(name: str) -> None:
    assert (VOICES / name / WEIGHTS).stat().st_size <= 25e6
    card = (VOICES / name / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "CC BY 4.0" in card and "@" not in card


@pytest.mark.slow
def test_the_voice_at_24_khz_says_what_lies_above_8_khz(kathleen: torch.Tensor) -> None:
    voice = Vocoder.from_pretrained("universal-24k")
    assert (voice.sample_rate, voice.spec.n_mels) == (24000, 100)
    mel = voice.mel(kathleen)  # as if it had been spoken at 24 kHz
    again = voice.mel(voice.synthesize(mel, seed=0))[..., : mel.shape[2]]
    assert (again - mel).abs().mean() < 0.2 and (again - mel)[:, 80:].mean().abs() < 0.1
    assert voice.score(kathleen) > 5.0


@pytest.mark.slow
def test_the_small_voice_comes_near_the_mel(kathleen: torch.Tensor) -> None:
    voice = Vocoder.from_pretrained("pocket-22k")
    assert 1e6 < sum(p.numel() for p in voice.parameters()) < 2e6
    mel = voice.mel(kathleen)
    again = voice.mel(voice.synthesize(mel, seed=0))[..., : mel.shape[2]]
    assert (again - mel).abs().mean() < 0.2
    assert voice.score(kathleen) > 4.9


def test_the_default_is_one_of_them() -> None:
    assert BUNDLED_VOICE == VOICES / "universal-22k"


@pytest.mark.slow
def test_shapes(small: Vocoder, kathleen: torch.Tensor) -> None:
    mel = small.mel(kathleen)
    assert mel.shape == (1, 80, 1 + len(kathleen) // 256)
    assert small.synthesize(mel[0]).shape == small.synthesize(mel).shape == (1, mel.shape[-1] * 256)
    pair = torch.stack([mel[0], mel[0] - 1.0])
    assert small.synthesize(pair, temperature=0.5).shape == (2, mel.shape[-1] * 256)
    assert small.resynthesize(kathleen).shape == (1, len(kathleen))


@pytest.mark.slow
def test_same_seed_same_samples(small: Vocoder, kathleen: torch.Tensor) -> None:
    mel = small.mel(kathleen)
    first, again, other = (small.synthesize(mel, seed=seeded(s)) for s in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(small.synthesize(mel, temperature=0.0), small.synthesize(mel, temperature=0.0))


@pytest.mark.slow
def test_one_convention_for_seeds(small: Vocoder, kathleen: torch.Tensor) -> None:
    """A number, one for each item, or a generator: an item comes out, and scores, as it does alone."""
    audio = kathleen[: 60 * 256]
    mel, pair = small.mel_for(audio), torch.stack([audio, 0.5 * audio])
    seeds = torch.randint(2**62, (1,), generator=seeded(7)).tolist()
    assert torch.equal(small.synthesize(mel, seed=seeded(7)), small.synthesize(mel, seed=seeds))
    mels = small.mel_for(pair)
    second = small.synthesize(mels[1:], seed=6)
    for seed in (5, [0, 6]):
        assert (small.synthesize(mels, seed=seed)[1] - second[0]).abs().max() < 1e-3
    assert torch.allclose(small.score(pair, seed=5)[1], small.score(pair[1:], seed=6)[0], rtol=1e-5)
    assert small.score(audio, seed=5) != small.score(audio, seed=6)
    assert torch.equal(small.resynthesize(audio, seed=3), small.resynthesize(audio, seed=[3]))
    for refused in (small.synthesize, small.score):
        with pytest.raises(ConfigError, match="3 seeds for 2 items"):
            refused(mels if refused == small.synthesize else pair, seed=[1, 2, 3])


@pytest.mark.slow
def test_real_speech_survives_the_round_trip_in_float32(vocoder: Vocoder, speech: torch.Tensor) -> None:
    latent, mel = vocoder.encode(speech)
    back = vocoder.decode(latent, mel)[0, : len(speech)]
    assert (back - speech).abs().max() < 1e-4
    assert 0.5 < latent.std() < 1.5 and latent.mean().abs() < 0.1


@pytest.mark.slow
def test_real_speech_survives_the_round_trip_in_float64(kathleen: torch.Tensor) -> None:
    double = Vocoder(Vocoder.from_pretrained().model.double())
    latent, mel = double.encode(kathleen.double())
    assert (double.decode(latent, mel)[0, : len(kathleen)] - kathleen.double()).abs().max() < 1e-9


@pytest.mark.slow
def test_recording_scores_above_a_noisy_copy_and_a_foreign_mel(vocoder: Vocoder, speech: torch.Tensor) -> None:
    own = float(vocoder.score(speech))
    power = speech.square().mean()
    noisy = speech + (power / 100).sqrt() * torch.randn(speech.shape, generator=seeded())  # 20 dB below
    assert own > float(vocoder.score(noisy))
    foreign = torch.from_numpy(speech_like(len(speech) / 22050 + 1, 22050))
    assert own > float(vocoder.score(speech, vocoder.mel(foreign)))
    assert 4.5 < own < 8.0


@pytest.mark.slow
def test_vocoded_speech_has_the_mel_it_was_made_from(vocoder: Vocoder, speech: torch.Tensor) -> None:
    """Real speech out: its mel is close to the recording's, far closer than noise of the same envelope gets."""
    mel = vocoder.mel(speech)
    vocoded = vocoder.resynthesize(speech, seed=seeded())[0]
    assert (vocoder.mel(vocoded) - mel).abs().mean() < 0.5
    assert 0.7 < float(vocoded.square().mean().sqrt() / speech.square().mean().sqrt()) < 1.4


@pytest.mark.slow
def test_vocoded_speech_has_the_pitch_of_the_recording(vocoder: Vocoder, speech: torch.Tensor) -> None:
    from flowvocoder.audio.periodicity import lag_range, pitch_periods
    from flowvocoder.flows.pitch import fractional_lag

    blocks = len(speech) // 256
    audio = speech[: blocks * 256]
    vocoded = vocoder.resynthesize(audio, seed=seeded())
    low, high = lag_range(22050)
    target, strength = pitch_periods(audio[None], low, high, blocks)
    ours, our_strength = pitch_periods(vocoded, low, high, blocks)
    voiced = strength[0] > 0.9
    assert our_strength[0, voiced].mean() > 0.7, "a whisper"
    cents = 1200 * torch.log2(
        fractional_lag(ours.clamp_min(1e-30).log(), low) / fractional_lag(target.clamp_min(1e-30).log(), low)
    )
    assert cents[0, voiced].abs().median() < 40


def test_log_prob_is_per_item_and_wants_whole_frames(vocoder: Vocoder, kathleen: torch.Tensor) -> None:
    audio = kathleen[: 100 * 256] + 1e-5 * torch.randn(25600, generator=seeded())
    alone = vocoder.log_prob(audio)
    quieter = 0.5 * audio
    together = vocoder.log_prob(torch.stack([audio, quieter]))
    assert torch.allclose(together, torch.cat([alone, vocoder.log_prob(quieter)]), rtol=1e-5)
    with pytest.raises(AudioError, match="whole number of frames"):
        vocoder.log_prob(kathleen[:1000])


@pytest.mark.parametrize(
    ("mel", "message"),
    [
        (torch.zeros(80, 0), "expected"),
        (torch.zeros(64, 20), "expected"),
        (torch.zeros(20, 80), "transposed"),
        (torch.full((80, 20), float("nan")), "NaN"),
        (torch.zeros(80), "axes"),
    ],
)
def test_bad_mels_are_refused(vocoder: Vocoder, mel: torch.Tensor, message: str) -> None:
    with pytest.raises(MelError, match=message):
        vocoder.synthesize(mel)


def test_other_refusals(vocoder: Vocoder, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        Vocoder.from_pretrained(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="temperature"):
        vocoder.synthesize(torch.full((80, 4), -5.0), temperature=-0.1)
    with pytest.raises(MelError, match="does not fit"):
        vocoder.decode(torch.zeros(128, 9), torch.zeros(80, 4))
    with pytest.raises(AudioError, match="220 samples"):
        vocoder.mel(torch.zeros(220))


def test_works_from_numpy(vocoder: Vocoder) -> None:
    audio = speech_like(1.0, 22050)
    assert isinstance(audio, np.ndarray)
    assert vocoder.mel(torch.from_numpy(audio)).shape[1] == 80


@pytest.mark.slow
def test_autocast_around_the_vocoder_changes_nothing(vocoder: Vocoder, kathleen: torch.Tensor) -> None:
    audio = kathleen[: 40 * 256]
    mel = vocoder.mel_for(audio)
    expected = heard(vocoder, audio, mel)
    fresh = Vocoder.from_pretrained()  # its steps are made under autocast too
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for name, value in heard(fresh, audio, mel).items():
            assert value.dtype == torch.float32 and torch.equal(value, expected[name]), name
        for _ in vocoder.synthesize_pieces(mel):
            assert torch.is_autocast_enabled("cpu")  # between two pieces the caller's own code runs


@pytest.mark.slow
def test_results_are_ordinary_tensors(small: Vocoder, kathleen: torch.Tensor) -> None:
    """They go through a network that is trained, and can be changed in place."""
    audio = kathleen[: 40 * 256]
    for name, value in heard(small, audio, small.mel_for(audio)).items():
        assert not value.is_inference() and not value.requires_grad, name
        layer = torch.nn.Linear(value.shape[-1], 1)
        layer(value).sum().backward()
        assert torch.allclose(layer.weight.grad, value.reshape(-1, value.shape[-1]).sum(0)), name  # type: ignore[arg-type]
        before = value.clone()
        value += 1.0
        assert torch.equal(value, before + 1.0), name
    for _ in small.synthesize_pieces(small.mel_for(audio)):
        assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


def test_own_mel_fits_the_recording(small: Vocoder, kathleen: torch.Tensor) -> None:
    """`mel` gives one frame more than the whole frames of a recording; longer ones belong to something else."""
    audio = kathleen[: 40 * 256]
    mel = small.mel(audio)
    assert mel.shape[-1] == 41
    assert torch.equal(small.log_prob(audio, mel), small.log_prob(audio))
    for given, own in zip(small.encode(audio, mel), small.encode(audio), strict=True):
        assert torch.equal(given, own)
    for refused in (small.log_prob, small.encode):
        for other in (mel[..., :39], torch.cat([mel, mel[..., :1]], 2)):
            with pytest.raises(AudioError, match="do not fit"):
                refused(audio, other)
