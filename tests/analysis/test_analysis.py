"""What the demo shows, without the page: likelihood over time, damage, Gaussianity, the walk through the layers."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from bijection import perturb
from helpers import speech_like
from tiny_models import ONE_EACH, TINY

from flowvocoder.analysis.damage import Damage
from flowvocoder.analysis.latent import gaussianity, likelihood_by_frame, mix
from flowvocoder.analysis.walk import EXPLANATIONS, MIXING, explained, walk
from flowvocoder.checkpoint import build_model
from flowvocoder.errors import AudioError, ConfigError
from flowvocoder.flows.base import Bijection, Composite
from flowvocoder.flows.elementwise import Affine
from flowvocoder.flows.scale_coupling import ScaleCoupling
from flowvocoder.presets import preset
from flowvocoder.vocoder import Vocoder
from flowvocoder.voice_card import BUNDLED_VOICE

RATE = 22050


@pytest.fixture(scope="module")
def vocoder(checkpoint: Path) -> Vocoder:
    """Perturbed, so that no layer is the identity; in float64, so that sums can be compared."""
    model = Vocoder.from_pretrained(checkpoint).model.double()
    perturb(model, 0.02)
    return Vocoder(model)


@pytest.fixture
def audio() -> torch.Tensor:
    return torch.from_numpy(speech_like(1.0, RATE)).double()


def test_frames_sum_to_the_score(vocoder: Vocoder, audio: torch.Tensor) -> None:
    both = torch.stack([audio, 0.5 * audio.flip(0)])
    frames = vocoder.score_by_frame(both, seed=3)
    assert frames.shape == (2, len(audio) // 256)
    samples = frames.shape[1] * 256
    assert torch.allclose(frames.sum(1) / samples, vocoder.score(both, seed=3), atol=1e-9)
    other = vocoder.mel(audio.flip(0))
    assert torch.allclose(vocoder.score_by_frame(audio, other).sum(1) / samples, vocoder.score(audio, other), atol=1e-9)


def test_every_layer_states_its_log_determinant_per_column(vocoder: Vocoder, audio: torch.Tensor) -> None:
    mel = vocoder.mel_for(audio)
    x = torch.nn.functional.pad(audio, (0, mel.shape[-1] * 256 - len(audio)))[None, None]
    context = vocoder.model.encoder(mel)
    whole, logdet = vocoder.model.flow(x, context)
    total = torch.zeros(())
    for layer, z, per_column in vocoder.model.flow.layer_outputs(x, context):
        assert torch.allclose(per_column.sum(1), layer(x, context)[1], atol=1e-8), type(layer).__name__
        x, total = z, total + per_column.sum()
    assert torch.equal(x, whole) and torch.allclose(total, logdet[0])


def test_a_click_lowers_the_likelihood_where_it_is(vocoder: Vocoder, audio: torch.Tensor) -> None:
    clicked = audio.clone()
    clicked[50 * 256 : 50 * 256 + 40] += 0.2
    mel = vocoder.mel(audio)
    change = (vocoder.score_by_frame(clicked, mel) - vocoder.score_by_frame(audio, mel))[0]
    assert 48 <= int(change.argmin()) <= 52
    assert change[:40].abs().max() < 0.01 * change.abs().max()


def test_energy_of_the_noise_is_one_for_the_models_own_speech(vocoder: Vocoder, audio: torch.Tensor) -> None:
    mel = vocoder.mel_for(audio)
    own = vocoder.decode(vocoder.draw_noise(mel, 1.0, torch.Generator().manual_seed(0)), mel)[0]
    energy = likelihood_by_frame(vocoder, own, mel).energy
    assert energy.mean() == pytest.approx(1.0, abs=0.05)
    silent = likelihood_by_frame(vocoder, torch.zeros_like(own), mel)
    assert silent.energy.mean() < 0.5 * energy.mean() and silent.nats.shape == energy.shape


def test_damage_is_what_it_says() -> None:
    audio = torch.from_numpy(speech_like(1.0, RATE))
    assert torch.equal(Damage().apply(audio, RATE), audio)
    noisy = Damage(noise_db=-20.0).apply(audio, RATE)
    ratio = (noisy - audio).square().mean() / audio.square().mean()
    assert 10 * float(ratio.log10()) == pytest.approx(-20.0, abs=0.2)
    assert torch.equal(noisy, Damage(noise_db=-20.0).apply(audio, RATE)), "another seed"
    clipped = Damage(peak=0.25).apply(audio, RATE)
    assert clipped.abs().max() == pytest.approx(0.25 * float(audio.abs().max()))
    gap = Damage(gap=0.2)
    first, end = gap.gap_range(len(audio), RATE)
    assert end - first == 4410 and not gap.apply(audio, RATE)[first:end].any()
    assert torch.equal(gap.apply(audio, RATE)[:first], audio[:first])
    spectrum = torch.fft.rfft(Damage(band_limit=3000.0).apply(audio, RATE)).abs()
    hz = torch.fft.rfftfreq(len(audio), 1 / RATE)
    assert spectrum[hz > 3001].max() < 1e-3 * spectrum.max()
    assert torch.allclose(spectrum[hz < 2700], torch.fft.rfft(audio).abs()[hz < 2700], atol=1e-3)
    for bad in ({"peak": 0.0}, {"peak": 2.0}, {"gap": -1.0}, {"band_limit": 0.0}):
        with pytest.raises(ConfigError):
            Damage(**bad)


@pytest.mark.slow
def test_gaussianity_tells_a_gaussian_from_others() -> None:
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(100, 1000, generator=generator)
    good = gaussianity(normal)
    assert abs(good.mean) < 0.02 and abs(good.deviation - 1) < 0.02 and abs(good.kurtosis) < 0.1
    assert good.distance < 0.01
    assert np.abs(good.expected - good.measured)[20:-20].max() < 0.1
    assert (good.density * np.diff(good.edges)).sum() == pytest.approx(1.0)
    assert gaussianity(2.0 * normal).distance > 0.1
    flat = gaussianity(torch.rand(100, 1000, generator=generator) * 12**0.5 - 3**0.5)
    assert flat.kurtosis == pytest.approx(-1.2, abs=0.05) and flat.distance > 0.02


def test_mixed_noise_stays_standard_normal() -> None:
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(64, 500, generator=generator), torch.randn(64, 200, generator=generator)
    assert torch.equal(mix(one, other, 0.0), one)
    assert torch.allclose(mix(one, other, 1.0)[:, 200:400], other, atol=1e-6)
    assert mix(one, other, 0.4).std() == pytest.approx(1.0, abs=0.01)


def test_walk_ends_in_the_latent_and_its_likelihood(vocoder: Vocoder, audio: torch.Tensor) -> None:
    audio = audio[: 80 * 256]
    steps = walk(vocoder, audio)
    names = [step.name for step in steps]
    assert names[:4] == ["Recording", "Pitch prediction", "Transform", "Scale"]
    couplings = len(names) - 4
    assert names[4:] == [*(f"Coupling {i}" for i in range(1, couplings)), f"Coupling {couplings}: the latent z"]
    latent, mel = vocoder.encode(audio)
    assert torch.equal(steps[-1].state, latent[0])
    assert steps[-1].nats_per_sample == pytest.approx(float(vocoder.log_prob(audio, mel)) / len(audio))
    assert [step.bands for step in steps[:5]] == [True, True, True, True, False]


@pytest.mark.slow
def test_every_layer_of_the_bundled_voice_is_explained() -> None:
    """Without a sentence the walk shows the class's name, which says nothing to a stranger."""
    layers = [layer for layer in Vocoder.from_pretrained().model.flow.modules() if isinstance(layer, Bijection)]
    kinds = {explained(layer) for layer in layers if not isinstance(layer, Composite | MIXING)}
    assert {ScaleCoupling, Affine} <= kinds <= EXPLANATIONS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", ONE_EACH)
def test_every_architecture_tells_where_and_can_be_walked_through(name: str, audio: torch.Tensor) -> None:
    torch.manual_seed(0)
    model = build_model(dataclasses.replace(preset("lapglow-tiny"), model=TINY[name])).double()
    perturb(model, 0.02)
    other, audio = Vocoder(model), audio[: 20 * 256]
    frames = other.score_by_frame(audio)
    assert frames.shape == (1, 20)
    assert torch.allclose(frames.sum(1) / len(audio), other.score(audio), atol=1e-9)
    steps = walk(other, audio)
    assert all(step.explanation for step in steps), "a class's name says nothing to a stranger"
    noise, mel = other.encode(audio)
    assert torch.allclose(steps[-1].state, noise[0], atol=1e-12) and len(steps) >= 4
    assert steps[-1].nats_per_sample == pytest.approx(float(other.log_prob(audio, mel)) / len(audio))


@pytest.mark.slow
def test_each_part_of_the_bundled_voice_adds_to_the_likelihood() -> None:
    voice = Vocoder.from_pretrained()
    speech = torch.from_numpy(sf.read(BUNDLED_VOICE.parent.parent / "examples" / "kerstin.flac", dtype="float32")[0])
    steps = walk(voice, speech)
    recording, _, transform, scale, *_, noise = (step.nats_per_sample for step in steps)
    assert recording == pytest.approx(transform, abs=0.01) and transform + 5.0 < scale < noise
    assert all(step.explanation for step in steps)


def test_too_short_a_recording_is_refused(vocoder: Vocoder) -> None:
    with pytest.raises(AudioError):
        likelihood_by_frame(vocoder, torch.zeros(100).double())
