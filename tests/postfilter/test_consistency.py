"""Mel matching: nearer to the mel with every pass, the same in pieces, and nothing else."""

import itertools
import math

import pytest
import torch
from helpers import speech_like
from hypothesis import given, settings
from hypothesis import strategies as st
from mel_pairs import FRAMES, ODD, in_pieces, pair
from torch import Tensor

from flowvocoder import Vocoder
from flowvocoder.errors import ConfigError
from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.mel.spec import CONVENTIONS, MelSpec, convention
from flowvocoder.postfilter.chunked import LowPasses, Matcher, Matching, MatchPass
from flowvocoder.postfilter.consistency import LOW, LowBand, MelMatch, decimation


def distance(audio: Tensor, mel: Tensor, spec: MelSpec) -> float:
    inner = slice(6, FRAMES - 6)
    return float((MelFrontEnd(spec).double()(audio)[..., :FRAMES] - mel)[..., inner].abs().mean())


@pytest.mark.parametrize("spec", [*map(convention, CONVENTIONS), ODD], ids=[*CONVENTIONS, "hop 300"])
def test_every_pass_comes_nearer(spec: MelSpec) -> None:
    match = MelMatch(spec).double()
    mel, audio = pair(spec)
    distances = [distance(match(audio, mel, passes), mel, spec) for passes in (0, 1, 2, 4)]
    assert all(later < 0.9 * earlier for earlier, later in itertools.pairwise(distances)), distances
    assert distances[-1] < 0.35 * distances[0]


def test_audio_that_has_the_mel_is_left_as_it_is() -> None:
    spec = convention("tacotron2")
    _, audio = pair(spec)
    mel = MelFrontEnd(spec).double()(audio)[..., :FRAMES]
    assert (MelMatch(spec).double()(audio, mel, 3) - audio).abs().max() < 1e-6


def test_a_gain_of_the_mel_is_a_gain_of_the_audio() -> None:
    """A mel 6 dB higher everywhere: audio 6 dB louder in its bands, wherever frames are whole; not above the mel."""
    spec = convention("tacotron2")
    _, audio = pair(spec)
    mel = MelFrontEnd(spec).double()(audio)[..., :FRAMES] + 0.6931
    inner = slice(2048, -2048)
    ratio = (torch.fft.rfft(MelMatch(spec).double()(audio, mel, 1)[:, inner]).abs().square(),
             torch.fft.rfft(audio[:, inner]).abs().square())  # fmt: skip
    hz = torch.linspace(0, spec.sample_rate / 2, ratio[0].shape[1])
    for low, high, gain in ((100.0, 7000.0, 4.0), (8500.0, 11000.0, 1.0)):
        band = (hz > low) & (hz < high)
        assert float(ratio[0][:, band].sum() / ratio[1][:, band].sum()) == pytest.approx(gain, rel=0.02)


@given(seed=st.integers(0, 10**6), passes=st.integers(1, 4), hop=st.sampled_from([256, 300]))
@settings(max_examples=20, deadline=None)
def test_pieces_of_any_size_give_the_whole(seed: int, passes: int, hop: int) -> None:
    spec = convention("tacotron2") if hop == 256 else ODD
    match = MelMatch(spec).double()
    mel, audio = pair(spec)
    matching = Matching([MatchPass(match, number) for number in range(passes)])
    parts, late = in_pieces(matching, mel, audio, seed, hop)
    assert (parts - match(audio, mel, passes)).abs().max() < 1e-12
    assert late <= matching.behind + 2 * hop


def test_an_item_of_a_batch_is_what_it_is_alone() -> None:
    spec = convention("tacotron2")
    match = MelMatch(spec).double()
    mel, audio = pair(spec)
    audio[1, 40 * spec.hop_length :] = 0.0
    lengths = torch.tensor([FRAMES, 40])
    together = Matching([MatchPass(match, number, lengths) for number in range(3)]).push(mel, audio, ends=True)
    alone = match(audio[1:, : 40 * spec.hop_length], mel[1:, :, :40], 3)
    assert (together[1, : 40 * spec.hop_length] - alone[0]).abs().max() < 1e-12
    assert together[1, 40 * spec.hop_length :].abs().max() == 0.0
    assert (together[0] - match(audio[:1], mel[:1], 3)[0]).abs().max() < 1e-12


LOW_SPECS = [*map(convention, CONVENTIONS), ODD]


@pytest.mark.parametrize("spec", LOW_SPECS, ids=[*CONVENTIONS, "hop 300"])
def test_low_passes_come_nearer_and_leave_the_rest(spec: MelSpec) -> None:
    band = LowBand(spec).double()
    assert band.decimate == (4 if spec is ODD else 8)
    mel, audio = pair(spec)
    bands = slice(0, int(0.8 * band.match.bands))

    def low_distance(audio: Tensor) -> float:
        error = (MelFrontEnd(spec).double()(audio)[..., :FRAMES] - mel)[:, bands, 6 : FRAMES - 6]
        return float(error.abs().mean())

    after = [LowPasses(band, passes).push(mel, audio, ends=True) for passes in (1, 4, 24)]
    distances = [low_distance(audio), *map(low_distance, after)]
    assert all(later < 0.8 * earlier for earlier, later in itertools.pairwise(distances)), distances
    change = torch.fft.rfft(after[-1] - audio).abs().square()
    hz = torch.linspace(0, spec.sample_rate / 2, change.shape[1])
    assert change[:, hz > 1.5 * LOW[1]].sum() < 1e-4 * change.sum()


@pytest.mark.parametrize("spec", LOW_SPECS, ids=[*CONVENTIONS, "hop 300"])
def test_the_low_band_comes_back_from_the_lower_rate(spec: MelSpec) -> None:
    band = LowBand(spec).double()
    time = torch.arange(8192 + 4 * band.reach, dtype=torch.float64) / spec.sample_rate
    below = sum(torch.cos(2 * math.pi * hz * time + hz) for hz in (80.0, 450.0, 1050.0))[None]
    above = torch.cos(2 * math.pi * (spec.sample_rate / band.decimate - 1000.0) * time)[None]  # would fold to 1 kHz
    middle = slice(2 * band.reach, -2 * band.reach - band.decimate)
    back = band.raised(band.lower(below))
    assert (back - below[:, 2 * band.reach :][:, : back.shape[1]])[:, : 4 * 1024].abs().max() < 5e-3
    assert band.lower(above)[:, middle].abs().max() < 2e-3


@given(seed=st.integers(0, 10**6), passes=st.integers(1, 6), hop=st.sampled_from([256, 300]))
@settings(max_examples=20, deadline=None)
def test_low_passes_in_pieces_of_any_size_give_the_whole(seed: int, passes: int, hop: int) -> None:
    spec = convention("tacotron2") if hop == 256 else ODD
    band = LowBand(spec).double()
    mel, audio = pair(spec)
    low = LowPasses(band, passes)
    parts, late = in_pieces(low, mel, audio, seed, hop)
    assert (parts - LowPasses(band, passes).push(mel, audio, ends=True)).abs().max() < 1e-12
    assert late <= low.behind + 2 * hop


def test_low_passes_of_an_item_of_a_batch_are_what_they_are_alone() -> None:
    spec = convention("tacotron2")
    matcher = Matcher(spec).double()
    mel, audio = pair(spec)
    samples = 40 * spec.hop_length
    audio[1, samples:] = 0.0
    together = matcher.begin(2, 5, torch.tensor([FRAMES, 40])).push(mel, audio, ends=True)
    alone = matcher.begin(2, 5).push(mel[1:, :, :40], audio[1:, :samples], ends=True)
    assert (together[1, :samples] - alone[0]).abs().max() < 1e-12
    assert together[1, samples:].abs().max() == 0.0


def test_low_passes_where_nothing_divides_run_at_the_full_rate() -> None:
    spec = MelSpec.from_dict({**vars(convention("tacotron2")), "hop_length": 255, "win_length": 1020, "n_fft": 1020})
    assert decimation(spec) == 1
    mel, audio = pair(spec)
    band = LowBand(spec).double()
    before, after = audio, LowPasses(band, 4).push(mel, audio, ends=True)
    assert distance(after, mel, spec) < 0.95 * distance(before, mel, spec)


def test_shorter_than_a_window_is_left_as_it_is() -> None:
    spec = convention("tacotron2")
    mel, audio = pair(spec)
    few = audio[:, : 3 * spec.hop_length]
    assert torch.equal(MelMatch(spec).double()(few, mel[..., :3], 4), few)
    assert torch.equal(Matcher(spec).double().begin(4, 4).push(mel[..., :3], few, ends=True), few)


def test_gradients_reach_the_audio() -> None:
    spec = convention("tacotron2")
    mel, audio = pair(spec)
    audio.requires_grad_()
    MelMatch(spec).double()(audio, mel, 2).square().sum().backward()
    assert audio.grad is not None and audio.grad.isfinite().all() and (audio.grad != 0).float().mean() > 0.99


def test_the_bundled_voice_says_the_mel_it_is_given() -> None:
    vocoder = Vocoder.from_pretrained()
    assert vocoder.match > 0
    audio = torch.from_numpy(speech_like(2.0, vocoder.sample_rate)).float()
    mel = vocoder.mel_for(audio)
    distances = [float((vocoder.mel_for(vocoder.synthesize(mel, seed=0, match=m)) - mel).abs().mean()) for m in (0, 4)]
    assert distances[1] < 0.6 * distances[0]
    both = [vocoder.synthesize(mel, seed=0, low_match=passes) for passes in (0, 24)]
    low = [float((vocoder.mel_for(audio) - mel)[:, :24].abs().mean()) for audio in both]
    assert low[1] < 0.6 * low[0]
    with pytest.raises(ConfigError, match="0 passes or more, not -1"):
        vocoder.synthesize(mel, match=-1)
    with pytest.raises(ConfigError, match="low_match must be 0 passes or more, not -2"):
        vocoder.synthesize(mel, low_match=-2)
