"""Gradients through `Vocoder`, on request, against finite differences along a random direction in float64."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers import speech_like
from tiny_models import TINY, tiny
from torch import Tensor

from flowvocoder.vocoder import Vocoder

AUDIO = torch.from_numpy(speech_like(0.4, 22050))[: 12 * 256].double()


@pytest.fixture
def vocoder(small_voice: Path) -> Vocoder:
    return Vocoder.from_pretrained(small_voice).double()


@pytest.fixture
def mel(vocoder: Vocoder) -> Tensor:
    return vocoder.mel_for(AUDIO)


def assert_gradient(function: Callable[[Tensor], Tensor], x: Tensor, step: float = 1e-6, within: float = 1e-6) -> None:
    """That of a weighted sum of the result, along a random direction: a wrong one is almost never orthogonal to it."""
    generator = torch.Generator().manual_seed(0)
    x = x.clone().requires_grad_()
    result = function(x)
    weight = torch.randn(result.shape, generator=generator, dtype=torch.float64)
    (weight * result).sum().backward()
    assert x.grad is not None
    direction = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    above, below = (function((x + sign * step * direction).detach()) for sign in (1, -1))
    found = (weight * (above - below)).sum() / (2 * step)
    assert torch.isclose((x.grad * direction).sum(), found, rtol=within), (x.grad * direction).sum() / found


def test_likelihood(vocoder: Vocoder, mel: Tensor) -> None:
    assert_gradient(lambda audio: vocoder.log_prob(audio, mel), AUDIO[None], 1e-9, 1e-4)
    assert_gradient(vocoder.log_prob, AUDIO[None], 1e-9, 1e-4)  # its mel moves with the audio
    assert_gradient(lambda mel: vocoder.log_prob(AUDIO, mel), mel)


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_likelihood_of_every_architecture(name: str) -> None:
    vocoder = Vocoder(tiny(name).double())
    mel = vocoder.mel_for(AUDIO)
    assert_gradient(lambda audio: vocoder.log_prob(audio, mel), AUDIO[None], 1e-9, 1e-3)
    assert_gradient(lambda mel: vocoder.log_prob(AUDIO, mel), mel)
    assert_gradient(lambda mel: vocoder.synthesize(mel, 0.1, seed=0, gradients=True), mel)


@pytest.mark.slow
def test_mel_and_latent(vocoder: Vocoder, mel: Tensor) -> None:
    latent = vocoder.encode(AUDIO)[0]
    assert_gradient(vocoder.mel, AUDIO[None], 1e-9, 1e-4)
    assert_gradient(lambda audio: vocoder.encode(audio)[0], AUDIO[None], 1e-9, 1e-3)
    assert_gradient(lambda latent: vocoder.decode(latent, mel), latent)
    assert_gradient(lambda mel: vocoder.decode(latent, mel), mel)


@pytest.mark.slow
@pytest.mark.parametrize("iterations", [(0, 0), (2, 0), (1, 8), (1, 24)], ids=str)
def test_synthesis(iterations: tuple[int, int], vocoder: Vocoder, mel: Tensor) -> None:
    """Pitch, excitation, envelope, mel consistency and guide: all that the mel decides."""
    settings = {"gl_iters": iterations[0], "low_band_iters": iterations[1]}
    # Long moves are strongly curved, and the difference that this is compared with is a straight line.
    assert_gradient(lambda mel: vocoder(mel, 0.3, seed=0, gradients=True, **settings), mel, within=1e-5)


def test_synthesis_with_gradients_is_the_same_audio(vocoder: Vocoder, mel: Tensor) -> None:
    both = torch.cat([mel, mel - 1.0]).requires_grad_()
    audio = vocoder(both, seed=0, lengths=[12, 7], gradients=True)
    assert audio.requires_grad and (audio - vocoder(both, seed=0, lengths=[12, 7])).abs().max() < 1e-9
    audio[1].sum().backward()
    assert both.grad is not None and not both.grad[0].any() and not both.grad[1, :, 7:].any()


def test_nothing_is_recorded_without_request(vocoder: Vocoder, mel: Tensor) -> None:
    asking = mel.clone().requires_grad_()
    assert not vocoder(asking, seed=0).requires_grad
    assert not vocoder.score(AUDIO.clone().requires_grad_()).requires_grad
    with torch.no_grad():
        for result in (vocoder.log_prob(AUDIO, asking), vocoder(asking, gradients=True)):
            assert not result.requires_grad
    assert not vocoder.log_prob(AUDIO, mel).requires_grad


@pytest.mark.slow
def test_autocast_around_gradients_changes_nothing(small_voice: Path) -> None:
    vocoder = Vocoder.from_pretrained(small_voice)
    mel = vocoder.mel_for(AUDIO[: 8 * 256]).requires_grad_()
    found = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            nats, audio = vocoder.log_prob(AUDIO[: 8 * 256], mel), vocoder(mel, seed=0, gradients=True)
        found.append((nats, audio, *torch.autograd.grad(nats.sum() + audio.sum(), mel)))
    for plain, under_autocast in zip(*found, strict=True):
        assert torch.equal(plain, under_autocast)


def test_a_mel_is_found_by_its_likelihood(vocoder: Vocoder, mel: Tensor) -> None:
    """What gradients are for: descend from a wrong mel to one that explains the recording better."""
    guess = (mel + 0.5).requires_grad_()
    optimiser = torch.optim.Adam([guess], 0.05)
    nats = []
    for _ in range(5):
        optimiser.zero_grad()
        nats.append(vocoder.log_prob(AUDIO, guess))
        (-nats[-1]).sum().backward()
        optimiser.step()
    assert nats[-1] > nats[0] + 10.0
