"""The guide network: what it predicts, how far iterations follow it, and how it learns."""

import dataclasses
import math

import pytest
import torch
from helpers import speech_like
from hypothesis import given, settings
from hypothesis import strategies as st
from mel_pairs import FRAMES, ODD, in_pieces, pair
from torch import Tensor

from flowvocoder.mel.spec import MelSpec, convention
from flowvocoder.postfilter import guide as guide_module
from flowvocoder.postfilter import guided as guided_module
from flowvocoder.postfilter.chain import FEWEST_AFTER_GUIDE, WIDE_BAND
from flowvocoder.postfilter.guide import GUIDED, MAX_CHANGE, RELATIVE_FLOOR, Guide
from flowvocoder.postfilter.guided import GuidedIterations
from flowvocoder.postfilter.low_band import LowBand, LowBandStage
from flowvocoder.postfilter.schedule import learned

SPEC = convention("tacotron2")
CONVENTIONS = pytest.mark.parametrize("name", ["tacotron2", "hifigan", "vocos"])


def random_guide(spec: MelSpec = SPEC, seed: int = 0) -> Guide:
    """A guide that predicts a change; a fresh one predicts none."""
    torch.manual_seed(seed)
    guide = Guide(spec, 16, 2)
    torch.nn.init.normal_(guide.last.weight, std=0.02)
    return guide.double().requires_grad_(False)


def lows(guide: Guide, spec: MelSpec) -> tuple[Tensor, Tensor, Tensor]:
    """The mel of speech, and the low bands of noise and of the speech."""
    mel, noise = pair(spec)
    samples = noise.shape[1]
    speech = torch.from_numpy(speech_like(samples / spec.sample_rate + 1.0, spec.sample_rate)).double()
    speech = torch.stack([speech[at : at + samples] for at in (0, 500)])
    return mel, guide.band.of(noise), guide.band.of(speech)


def correction(guide: Guide, low: Tensor, target: Tensor, level: Tensor) -> Tensor:
    """What an iteration adds to a whole signal."""
    return guide.change(low, target, RELATIVE_FLOOR * level, guide._whole(target.shape[1], low))


@CONVENTIONS
def test_a_fresh_guide_predicts_what_is_there(name: str) -> None:
    spec = convention(name)
    guide = Guide(spec, 16, 1).double()
    mel, low, _ = lows(guide, spec)
    predicted, spread = guide(low, mel)
    assert predicted.shape == spread.shape == (2, (FRAMES + 1) // 2, guide.bins)
    assert torch.equal(predicted, guide.magnitudes(low, mel)) and not spread.any()
    assert (guide.guided_round(low, mel) - low).abs().max() < 1e-12  # iterations towards where it is change nothing


@CONVENTIONS
def test_iterations_towards_a_recordings_magnitudes_come_nearer_to_them(name: str) -> None:
    spec = convention(name)
    guide = Guide(spec, 16, 1).double().requires_grad_(False)
    mel, low, recorded = lows(guide, spec)
    magnitudes, level = guide.magnitudes(recorded, mel), guide.level(mel)
    target = level * magnitudes.exp()

    def error(low: Tensor) -> float:
        return float((guide.magnitudes(low, mel) - magnitudes)[:, 4:-4].abs().mean())

    after = low
    for _ in range(GUIDED):
        after = after + correction(guide, after, target, level)
    assert error(after) < 0.6 * error(low)
    assert correction(guide, recorded, target, level)[:, guide.size : -guide.size].abs().max() < 1e-9


@pytest.mark.parametrize("change", [0.3, -0.3])
def test_a_round_goes_a_quarter_further_than_the_predicted_change(change: float) -> None:
    """A guide that predicts every magnitude 0.3 nats up or down moves those of loud bins by 0.375."""
    guide = Guide(SPEC, 16, 1).double().requires_grad_(False)
    guide.last.bias[: guide.bins] = change
    mel, _, low = lows(guide, SPEC)
    after = guide.guided_round(low, mel)
    before, moved = guide.magnitudes(low, mel), guide.magnitudes(after, mel) - guide.magnitudes(low, mel)
    loud = before > math.log(0.5)
    loud[:, :4] = loud[:, -4:] = False
    assert loud.any() and float(moved[loud].mean()) == pytest.approx(1.25 * change, rel=0.06)


def test_the_mel_has_the_last_word() -> None:
    """The fewest unguided iterations that follow a round bring the mel back that it leaves."""
    guide = Guide(SPEC, 16, 1).double().requires_grad_(False)
    guide.last.bias[: guide.bins] = 0.5
    mel, _, low = lows(guide, SPEC)
    consistency = guide.band.consistency

    def error(low: Tensor) -> float:
        return float((consistency.log_mel_of(low, FRAMES) - consistency.target(mel))[:, 6:-6, :-4].abs().mean())

    guided, wide = guide.guided_round(low, mel), LowBand(SPEC, WIDE_BAND).double()
    after = wide.iterate(wide.of(guide.band.to_full_rate(guided)), mel, learned(FEWEST_AFTER_GUIDE))
    assert error(guided) > 0.3 and error(guide.band.of(wide.to_full_rate(after))) < 0.25


@CONVENTIONS
def test_frames_that_reach_over_an_end_are_left_alone(name: str) -> None:
    """The network learns nothing there: a prediction of 80 dB too much once made a click of full scale."""
    spec = convention(name)
    guide = Guide(spec, 16, 1).double().requires_grad_(False)
    mel, _, low = lows(guide, spec)
    level = guide.level(mel)
    added = correction(guide, low, 1e4 * level, level)
    starts = [guide.hop * j - guide._before(guide.size) for j in range(level.shape[1])]
    whole = [start for start in starts if start >= 0 and start + guide.size <= low.shape[1]]
    assert 0 < len(whole) < len(starts)
    inside = slice(whole[0], whole[-1] + guide.size)
    outside = torch.cat([added[:, : inside.start], added[:, inside.stop :]], 1)
    assert not outside.any() and added[:, inside].square().mean() > low.square().mean()


def test_a_prediction_is_believed_within_limits() -> None:
    mel, _, low = lows(Guide(SPEC, 16, 1), SPEC)

    def after(change: float) -> Tensor:
        guide = Guide(SPEC, 16, 1).double().requires_grad_(False)
        guide.last.bias[: guide.bins] = change
        return guide.guided_round(low, mel)

    assert torch.equal(after(100.0), after(MAX_CHANGE)) and not torch.equal(after(3.0), after(MAX_CHANGE))


def test_magnitudes_are_relative_to_the_mel() -> None:
    """Half as loud, and its mel as much lower: the same log magnitudes."""
    guide = random_guide()
    mel, low, _ = lows(guide, SPEC)
    loud = guide.level(mel) > 0.1
    quieter = guide.magnitudes(0.5 * low, mel + math.log(0.5))
    assert (quieter - guide.magnitudes(low, mel))[loud].abs().max() < 1e-6


@pytest.mark.slow
def test_it_learns_and_every_weight_takes_part() -> None:
    torch.manual_seed(0)
    guide = Guide(SPEC, 32, 2)
    mel, low, recorded = (x.float() for x in lows(guide.double(), SPEC))
    guide.float()
    optimizer = torch.optim.Adam(guide.parameters(), 3e-3)
    losses = []
    for step in range(60):
        optimizer.zero_grad()
        loss = guide.loss(low, recorded, mel)
        loss.backward()
        if step == 1:  # the last layer is zero at first
            assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in guide.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.5
    predicted, own, target = guide(low, mel)[0], guide.magnitudes(low, mel), guide.magnitudes(recorded, mel)
    assert (predicted - target).abs().mean() < 0.8 * (own - target).abs().mean()


def test_what_lies_beyond_a_segment_does_not_count() -> None:
    """Frames at its ends have no loss: half of what their windows see is not there."""
    guide = random_guide()
    mel, low, recorded = lows(guide, SPEC)
    loss, other = guide.loss(low, recorded, mel), recorded.clone()
    other[:, : 2 * guide.hop] = other[:, -2 * guide.hop :] = 0.0
    assert guide.loss(low, other, mel) == loss
    other[:, 8 * guide.hop : 10 * guide.hop] = 0.0
    assert guide.loss(low, other, mel) != loss


@pytest.mark.parametrize(("hz", "counts"), [(80.0, True), (160.0, False)])
def test_creaky_voice_counts_more(hz: float, counts: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second of pulses, predicted badly, and a second of noise, predicted well."""
    guide = Guide(SPEC, 8, 1).double().requires_grad_(False)
    time = torch.arange(64 * 32, dtype=torch.float64) * 8 / SPEC.sample_rate
    voice = sum(torch.cos(2 * math.pi * hz * n * time) for n in range(1, int(1000 / hz)))
    noise = torch.randn(64 * 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    recorded = 0.05 * torch.cat([voice, noise])[None]
    mel = torch.full((1, SPEC.n_mels, 128), -2.0, dtype=torch.float64)
    low = recorded * torch.where(torch.arange(recorded.shape[1]) < len(voice), 0.1, 1.0)
    losses = []
    for weight in (0.0, 3.0):
        monkeypatch.setattr(guide_module, "CREAK_WEIGHT", weight)
        losses.append(float(guide.loss(low, recorded, mel)))
    assert losses[1] > 1.2 * losses[0] if counts else losses[1] == pytest.approx(losses[0], rel=0.02), losses


def guided_stage(guide: Guide) -> LowBandStage:
    return LowBandStage(guide.band, GuidedIterations(guide))


@pytest.mark.slow
@given(seed=st.integers(0, 10**6), hop=st.sampled_from([256, 300]))
@settings(max_examples=6, deadline=None)
def test_pieces_of_any_size_give_the_whole(seed: int, hop: int) -> None:
    spec = SPEC if hop == 256 else dataclasses.replace(ODD, n_fft=1200, win_length=1200)
    guide = random_guide(spec, seed)
    mel, audio = pair(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guided_module, "PIECE", 24)
        patch.setattr(guided_module, "CONTEXT", 9)
        stage = guided_stage(guide)
        parts, late = in_pieces(stage, mel, audio, seed, hop)
        whole = guided_stage(guide).push(mel, audio, ends=True)
    assert parts.shape == audio.shape and (parts - whole).abs().max() < 1e-12
    assert late <= stage.behind + 2 * hop


def test_pieces_have_enough_context() -> None:
    guide = random_guide()
    mel, audio = pair(SPEC)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guided_module, "PIECE", 20)
        patch.setattr(guided_module, "CONTEXT", 24)
        parts = guided_stage(guide).push(mel, audio, ends=True)
    whole = guided_stage(guide).push(mel, audio, ends=True)
    change = (whole - audio).square().mean()
    assert change > 0 and (parts - whole).square().mean() < 1e-6 * change


@pytest.mark.parametrize("lengths", [(FRAMES, FRAMES - 5), (FRAMES - 4, FRAMES), (3, FRAMES - 1), (1, 2)])
def test_items_of_a_batch_are_guided_as_alone(lengths: tuple[int, int]) -> None:
    """Of odd and even numbers of frames, whatever the mel and the audio after their ends."""
    guide, hop = random_guide(), SPEC.hop_length
    mel, audio = pair(SPEC)
    inside = torch.arange(audio.shape[1]) < hop * torch.tensor(lengths)[:, None]
    stage = LowBandStage(guide.band, GuidedIterations(guide, torch.tensor(lengths)), torch.tensor(lengths))
    together = stage.push(mel, audio * inside, ends=True)
    for item, length in enumerate(lengths):
        one, samples = slice(item, item + 1), length * hop
        alone = guided_stage(guide).push(mel[one, :, :length], audio[one, :samples], ends=True)
        assert (together[one, :samples] - alone).abs().max() < 1e-12 and not together[item, samples:].any()


@pytest.mark.slow
def test_few_frames_are_no_error() -> None:
    for frames in (1, 2, 5):
        mel, audio = pair(SPEC)
        mel, audio = mel[..., :frames], audio[:, : frames * SPEC.hop_length]
        after = guided_stage(random_guide()).push(mel, audio, ends=True)
        assert after.shape == audio.shape and after.isfinite().all()
