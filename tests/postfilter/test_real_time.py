"""Mel consistency frame by frame: nearer to the mel, in pieces as at once, and exactly as late as it says."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mel_pairs import FRAMES, ODD, distance, in_pieces, pair
from torch import Tensor

from flowvocoder.errors import ConfigError
from flowvocoder.mel.spec import CONVENTIONS, MelSpec, convention
from flowvocoder.postfilter.chain import PostFilter
from flowvocoder.postfilter.latency import ROUNDS, of_stream, with_delay, within
from flowvocoder.postfilter.real_time import RealTimeIterations
from flowvocoder.postfilter.settings import PostfilterSettings
from flowvocoder.postfilter.stages import Stages

SPEC = convention("tacotron2")
SPECS = [
    pytest.param(spec, id=name, marks=[] if spec in (SPEC, ODD) else pytest.mark.thorough)
    for name, spec in [*((name, convention(name)) for name in CONVENTIONS), ("hop 300", ODD)]
]
"""What tells conventions apart is tested with all of them in test_consistency.py."""


def stage(spec: MelSpec, settings: PostfilterSettings, lengths: Tensor | None = None) -> Stages:
    return PostFilter(spec).double().requires_grad_(False).stages(settings, lengths)


def first(given: tuple[Tensor, Tensor], frames: int, spec: MelSpec) -> tuple[Tensor, Tensor]:
    return given[0][..., :frames], given[1][:, : frames * spec.hop_length]


@pytest.mark.slow
@pytest.mark.parametrize("spec", SPECS)
def test_rounds_bring_the_mel_nearer_than_a_pass_of_the_same_delay(spec: MelSpec, thorough: bool) -> None:
    mel, audio = pair(spec)

    def after(settings: PostfilterSettings) -> float:
        return distance(stage(spec, settings).push(mel, audio, ends=True), mel, spec)

    before, one_pass = after(PostfilterSettings()), after(PostfilterSettings(gl_iters=1))
    assert after(with_delay(4)) < 0.8 * one_pass < 0.8 * before
    if thorough or spec in (SPEC, ODD):
        assert after(with_delay(7)) < after(with_delay(2)) < after(with_delay(0)) < 0.9 * before


@pytest.mark.slow
@given(seed=st.integers(0, 10**6), hops=st.sampled_from(sorted(ROUNDS)), spec=st.sampled_from([SPEC, ODD]))
@settings(max_examples=4, deadline=None)
def test_pieces_of_any_size_give_the_whole(seed: int, hops: int, spec: MelSpec) -> None:
    mel, audio = first(pair(spec), 36, spec)
    whole = stage(spec, with_delay(hops)).push(mel, audio, ends=True)
    parts, _ = in_pieces(stage(spec, with_delay(hops)), mel, audio, seed, spec.hop_length)
    assert (parts - whole).abs().max() < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("spec", [SPEC, ODD], ids=lambda spec: spec.name())
@pytest.mark.parametrize(("hops", "compiled"), [(0, False), (4, True)])
def test_one_item_on_the_cpu_is_what_pytorch_makes_of_it(spec: MelSpec, hops: int, compiled: bool) -> None:
    """By NumPy, and by numba."""
    if compiled:
        pytest.importorskip("numba")
    mel, audio = (x[:1].float() for x in pair(spec))
    postfilter = PostFilter(spec)
    general = RealTimeIterations(postfilter.consistency, postfilter.low_band, with_delay(hops))
    expected = general.push(mel, audio, ends=True)
    parts, _ = in_pieces(postfilter.stages(with_delay(hops), compiled=compiled), mel, audio, 3, spec.hop_length)
    assert (parts - expected).abs().max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("hops", sorted(ROUNDS))
def test_it_is_so_many_hops_late(hops: int) -> None:
    """And no output depends on audio that is further ahead, nor on mel frames that were not there."""
    mel, audio = first(pair(SPEC), 26, SPEC)
    hop, at = SPEC.hop_length, 16
    one = stage(SPEC, with_delay(hops))
    ahead = 1 if hops == 0 else 0  # frames more than hops, as any flow with look-ahead gives them
    given, out = one.push(mel[..., : at + ahead], audio[:, : at * hop]), (at - hops) * hop
    assert given.shape[1] == out and one.behind == hops * hop
    louder, other = audio.clone(), mel.clone()
    louder[:, at * hop :] *= 3.0
    other[..., at + ahead :] += 1.0
    whole = stage(SPEC, with_delay(hops)).push(other, louder, ends=True)
    assert (whole[:, :out] - given).abs().max() < 1e-12
    plain = stage(SPEC, with_delay(hops)).push(mel, audio, ends=True)
    assert (whole - plain)[:, out : out + hop].abs().max() > 1e-6, "it could have come out earlier"


@pytest.mark.slow
def test_an_item_of_a_batch_is_what_it_is_alone() -> None:
    mel, audio = pair(SPEC)
    samples = 40 * SPEC.hop_length
    audio[1, samples:] = 0.0
    together = stage(SPEC, with_delay(4), torch.tensor([FRAMES, 40])).push(mel, audio, ends=True)
    alone = stage(SPEC, with_delay(4)).push(mel[1:, :, :40], audio[1:, :samples], ends=True)
    assert (together[1, :samples] - alone[0]).abs().max() < 1e-12
    assert together[1, samples:].abs().max() == 0.0
    assert (together[0] - stage(SPEC, with_delay(4)).push(mel[:1], audio[:1], ends=True)[0]).abs().max() < 1e-12


@pytest.mark.slow
def test_gradients_reach_the_audio() -> None:
    mel, audio = pair(SPEC)
    audio.requires_grad_()
    used = slice(0, 20 * SPEC.hop_length)
    stage(SPEC, with_delay(2)).push(mel[..., :20], audio[:, used], ends=True).square().sum().backward()
    assert audio.grad is not None and audio.grad.isfinite().all()
    assert (audio.grad[:, used] != 0).float().mean() > 0.99


def test_a_latency_gets_the_most_hops_that_fit() -> None:
    def delay(settings: PostfilterSettings) -> int:
        return 1024 + settings.look_ahead * 256

    chosen = {ms: within(ms, delay, 22050).look_ahead for ms in (46, 57, 58, 92, 93, 127, 128, 10_000)}
    assert chosen == {46: 0, 57: 0, 58: 1, 92: 3, 93: 4, 127: 4, 128: 7, 10_000: 7}
    for latency in (45, 0, -3, float("nan")):
        with pytest.raises(ConfigError, match=f"latency of {latency:g} ms is too short: this voice is 46 ms behind"):
            within(latency, delay, 22050)
    assert of_stream(PostfilterSettings(4, 40)).rounds > 0
    assert of_stream(PostfilterSettings()) == PostfilterSettings(), "a voice without iterations streams without"
