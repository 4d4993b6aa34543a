"""The whole post-filter: its settings, batches of several lengths, and what it brings to the bundled voice."""

import pytest
import torch
from helpers import speech_like
from mel_pairs import FRAMES, pair

from flowvocoder import Vocoder
from flowvocoder.errors import ConfigError
from flowvocoder.mel.spec import convention
from flowvocoder.postfilter.chain import FEWEST_AFTER_GUIDE, PostFilter
from flowvocoder.postfilter.guide import GUIDED, UNGUIDED_FIRST, Guide
from flowvocoder.postfilter.schedule import steady, towards_mel
from flowvocoder.postfilter.settings import PostfilterSettings

SPEC = convention("tacotron2")


def random_guide(seed: int = 0) -> Guide:
    """A guide that predicts a change; a fresh one predicts none."""
    torch.manual_seed(seed)
    guide = Guide(SPEC, 16, 2)
    torch.nn.init.normal_(guide.last.weight, std=0.02)
    return guide


@pytest.mark.parametrize("guided", [False, True])
def test_an_item_of_a_batch_is_what_it_is_alone(guided: bool) -> None:
    postfilter = PostFilter(SPEC, random_guide() if guided else None).double().requires_grad_(False)
    iterations = PostfilterSettings(2, UNGUIDED_FIRST + GUIDED + FEWEST_AFTER_GUIDE if guided else 5)
    mel, audio = pair(SPEC)
    samples = 40 * SPEC.hop_length
    audio[1, samples:] = 0.0
    together = postfilter(audio, mel, iterations, torch.tensor([FRAMES, 40]))
    alone = postfilter(audio[1:, :samples], mel[1:, :, :40], iterations)
    assert (together[1, :samples] - alone[0]).abs().max() < 1e-12
    assert together[1, samples:].abs().max() == 0.0


def test_few_iterations_are_unguided() -> None:
    guided, plain = (PostFilter(SPEC, guide).double().requires_grad_(False) for guide in (random_guide(), None))
    mel, audio = pair(SPEC)
    few, more = (PostfilterSettings(0, UNGUIDED_FIRST + GUIDED + FEWEST_AFTER_GUIDE - n) for n in (1, 0))
    assert torch.equal(guided(audio, mel, few), plain(audio, mel, few))
    assert (guided(audio, mel, more) - plain(audio, mel, more)).abs().max() > 1e-3


def test_one_round_is_guided_and_the_last_iterations_go_over_a_wider_band() -> None:
    guide = random_guide()
    postfilter = PostFilter(SPEC, guide).double().requires_grad_(False)
    band, wide = guide.band, postfilter.wide_band
    mel, audio = pair(SPEC)
    before = band.of(audio)
    low = guide.guided_round(band.iterate(before, mel, steady(UNGUIDED_FIRST)), mel)
    expected = audio + band.to_full_rate(low - before)
    before = wide.of(expected)
    expected = expected + wide.to_full_rate(wide.iterate(before, mel, towards_mel(20)) - before)
    found = postfilter(audio, mel, PostfilterSettings(0, UNGUIDED_FIRST + GUIDED + 20))
    assert (found - expected).abs().max() < 1e-12


def test_every_low_band_iteration_is_of_some_kind() -> None:
    with_guide, without = PostFilter(SPEC, random_guide()), PostFilter(SPEC)
    assert with_guide.low_band_parts(64) == (4, 50) and without.low_band_parts(64) == (0, 64)
    assert with_guide.low_band_parts(21) == without.low_band_parts(21) == (0, 21)


def test_shorter_than_a_window_is_left_as_it_is() -> None:
    mel, audio = pair(SPEC)
    few = audio[:, : 3 * SPEC.hop_length]
    assert torch.equal(PostFilter(SPEC).double()(few, mel[..., :3], PostfilterSettings(4, 4)), few)


def test_settings_of_a_voice_give_way_to_those_of_a_call() -> None:
    voice = PostfilterSettings(4, 40)
    assert voice.chosen(None, None) == voice
    assert voice.chosen(2, None) == PostfilterSettings(2, 40)
    assert voice.chosen(0, None) == PostfilterSettings(0, 0), "the low band refines what the others leave"
    assert voice.chosen(0, 8) == PostfilterSettings(0, 8)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gl_iters": -1}, "gl_iters must be from 0 to 64, not -1"),
        ({"low_band_iters": 1025}, "low_band_iters must be from 0 to 1024, not 1025"),
    ],
)
def test_refusals(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PostfilterSettings(**settings)


@pytest.mark.slow
def test_the_bundled_voice_has_the_mel_it_is_given() -> None:
    vocoder = Vocoder.from_pretrained()
    assert vocoder.gl_iters == 4 and vocoder.low_band_iters == 56
    mel = vocoder.mel_for(torch.from_numpy(speech_like(2.0, vocoder.sample_rate)).float())

    def error(bands: int, **iterations: int) -> float:
        synthesised = vocoder.mel_for(vocoder.synthesize(mel, seed=0, **iterations))
        return float((synthesised - mel)[:, :bands].abs().mean())

    assert error(80, gl_iters=4) < 0.6 * error(80, gl_iters=0)
    assert error(24, low_band_iters=24) < 0.6 * error(24, low_band_iters=0)
    with pytest.raises(ConfigError, match="gl_iters must be from 0 to 64, not -1"):
        vocoder.synthesize(mel, gl_iters=-1)
    with pytest.raises(ConfigError, match="low_band_iters must be from 0 to 1024, not -2"):
        vocoder.synthesize(mel, low_band_iters=-2)
