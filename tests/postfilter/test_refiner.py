"""The refiner: what its masks change, that it works on audio as it comes, and where the post-filter runs it."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from helpers import speech_like
from hypothesis import given, settings
from hypothesis import strategies as st
from mel_pairs import FRAMES, in_pieces, pair
from torch import Tensor

from flowvocoder.checkpoint import Checkpoint, build_model, build_postfilter, load_checkpoint, save_checkpoint
from flowvocoder.config import PostfilterConfig, override
from flowvocoder.errors import ConfigError
from flowvocoder.mel.spec import MelSpec, convention
from flowvocoder.postfilter.chain import PostFilter
from flowvocoder.postfilter.consistency import Iteration
from flowvocoder.postfilter.frame_by_frame import FrameByFrame
from flowvocoder.postfilter.low_band import LowBandStage
from flowvocoder.postfilter.refinement import Refinement
from flowvocoder.postfilter.refiner import MOST, Refiner
from flowvocoder.postfilter.settings import PostfilterSettings
from flowvocoder.presets import preset
from flowvocoder.threads import set_threads
from flowvocoder.vocoder import Vocoder
from flowvocoder.voice_card import VoiceCard

SPEC = convention("tacotron2")
WIDER = dataclasses.replace(SPEC, hop_length=320, n_fft=960, win_length=960)
CONVENTIONS = pytest.mark.parametrize("name", ["tacotron2", "hifigan", "vocos"])


def random_refiner(spec: MelSpec = SPEC, seed: int = 0) -> Refiner:
    """A refiner whose masks are of all sizes; those of a fresh one are 0."""
    torch.manual_seed(seed)
    refiner = Refiner(spec, 16, 2)
    torch.nn.init.normal_(refiner.last.weight, std=0.3)
    return refiner.double().requires_grad_(False)


def refined(refiner: Refiner, mel: Tensor, audio: Tensor, lengths: Tensor | None = None) -> Tensor:
    return Refinement(refiner, lengths).push(mel, audio, ends=True)


def energy(audio: Tensor, lowest: float, highest: float, spec: MelSpec = SPEC) -> float:
    """Between two frequencies in Hz."""
    power = torch.fft.rfft(audio * torch.hann_window(audio.shape[1])).abs().square()
    hz = torch.arange(power.shape[1]) * spec.sample_rate / audio.shape[1]
    return float(power[:, (hz >= lowest) & (hz < highest)].sum())


@CONVENTIONS
def test_a_fresh_refiner_changes_nothing(name: str) -> None:
    spec = convention(name)
    mel, audio = pair(spec)
    assert torch.equal(refined(Refiner(spec, 8, 1).double().requires_grad_(False), mel, audio), audio)


@pytest.mark.slow
@CONVENTIONS
@pytest.mark.parametrize("frames", [1, 3, 7])
def test_audio_in_pieces_gives_the_whole(name: str, frames: int) -> None:
    spec = convention(name)
    refiner, (mel, audio) = random_refiner(spec), pair(spec)
    stage, hop, parts = Refinement(refiner), spec.hop_length, []
    for start in range(0, FRAMES, frames):
        now, samples = slice(start, start + frames), slice(start * hop, (start + frames) * hop)
        parts.append(stage.push(mel[..., now], audio[:, samples], ends=start + frames >= FRAMES))
        arrived, given_out = min(start + frames, FRAMES) * hop, sum(part.shape[1] for part in parts)
        assert arrived - given_out <= stage.behind
    whole = refined(refiner, mel, audio)
    assert (whole - audio).abs().mean() > 0.1 * audio.abs().mean()
    assert (torch.cat(parts, 1) - whole).abs().max() < 1e-12


@pytest.mark.slow
@given(seed=st.integers(0, 10**6), spec=st.sampled_from([SPEC, WIDER]))
@settings(max_examples=8, deadline=None)
def test_pieces_of_any_size_give_the_whole(seed: int, spec: MelSpec) -> None:
    """Also where mel and audio are not in step."""
    refiner, (mel, audio) = random_refiner(spec, seed), pair(spec)
    stage = Refinement(refiner)
    parts, late = in_pieces(stage, mel, audio, seed, spec.hop_length)
    assert parts.shape == audio.shape and (parts - refined(refiner, mel, audio)).abs().max() < 1e-12
    assert late <= stage.behind


@CONVENTIONS
def test_an_item_of_a_batch_is_what_it_is_alone(name: str) -> None:
    spec = convention(name)
    refiner, (mel, audio) = random_refiner(spec), pair(spec)
    samples = 37 * spec.hop_length
    alone = refined(refiner, mel[1:, :, :37], audio[1:, :samples])
    audio[1, samples:], mel[1, :, 37:] = 9.0, 3.0  # what is there does not count
    together = refined(refiner, mel, audio, torch.tensor([FRAMES, 37]))
    assert (together[1:, :samples] - alone).abs().max() < 1e-12 and not together[1, samples:].any()
    assert (together[0] - refined(refiner, mel[:1], audio[:1])[0]).abs().max() < 1e-12


def test_few_frames_are_no_error() -> None:
    mel, audio = pair(SPEC)
    for frames in (1, 2, 5):
        few = audio[:, : frames * SPEC.hop_length]
        after = refined(random_refiner(), mel[..., :frames], few)
        assert after.shape == few.shape and after.isfinite().all()


def test_what_lies_low_stays() -> None:
    """Bins of a short frame are 345 Hz wide, so a little of what changes above 600 Hz is below it."""
    mel, audio = pair(SPEC)
    refiner = random_refiner()
    for least, most_below in ((1.0, (1e-3, 1e-2)), (0.5, (1e-9, 1e-9))):  # by both kinds of masks, then by long ones
        change = refined(refiner, mel, audio) - audio
        assert energy(change, 1000, 9000) > least * energy(audio, 1000, 9000)
        for hz, most in zip(((0, 300), (300, 600)), most_below, strict=True):
            assert energy(change, *hz) < most * energy(audio, *hz), (hz, most)
        refiner.short_share.zero_()


@pytest.mark.parametrize("short", [False, True])
def test_a_mask_changes_magnitudes_by_what_it_says(short: bool) -> None:
    """The same for every bin and frame: above 1.1 kHz all is louder by so much, and phases stay."""
    refiner, nats = Refiner(SPEC, 8, 1).double().requires_grad_(False), 0.4
    masks = refiner.last.bias[len(refiner.share) :] if short else refiner.last.bias[: len(refiner.share)]
    masks.fill_(nats / (1.0 - nats / MOST))  # which the bound makes less
    mel, audio = pair(SPEC)
    time = torch.arange(audio.shape[1], dtype=torch.float64) / SPEC.sample_rate
    tones = sum(torch.cos(2 * math.pi * hz * time) for hz in (1900.0, 4321.0, 8000.0)).expand(2, -1)
    after = refined(refiner, mel, 0.1 * tones)
    inside = slice(2 * SPEC.n_fft, -2 * SPEC.n_fft)
    assert (after - 0.1 * math.exp(nats) * tones)[:, inside].abs().max() < 1e-3


@pytest.mark.parametrize(("bias", "nats"), [(1e6, MOST), (-1e6, -MOST)])
def test_a_mask_has_bounds(bias: float, nats: float) -> None:
    refiner = Refiner(SPEC, 8, 1).double().requires_grad_(False)
    refiner.last.bias[: len(refiner.share)] = bias
    mel, audio = pair(SPEC)
    gain = math.sqrt(energy(refined(refiner, mel, audio), 2000, 10000) / energy(audio, 2000, 10000))
    assert math.log(gain) == pytest.approx(nats, abs=0.01)


def test_every_weight_takes_part() -> None:
    refiner = random_refiner().requires_grad_()
    mel, audio = pair(SPEC)
    refined(refiner, mel, audio).square().mean().backward()
    for name, parameter in refiner.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name
    fresh = Refiner(SPEC, 8, 1).double()
    refined(fresh, mel, audio).square().mean().backward()
    assert fresh.last.weight.grad is not None and fresh.last.weight.grad.any(), "it could not begin to learn"


def test_silence_has_a_gradient() -> None:
    """Digital silence, as it is beyond the end of an item: what is given out for it does not depend on much."""
    mel, audio = (x.requires_grad_() for x in (pair(SPEC)[0], torch.zeros(2, FRAMES * SPEC.hop_length).double()))
    refined(random_refiner(), mel, audio).sum().backward()
    assert all(x.grad is not None and x.grad.isfinite().all() for x in (mel, audio))


@pytest.mark.slow
def test_it_learns_to_level_what_the_mel_leaves_open() -> None:
    """Noise whose envelope ripples within each frame is to become noise that does not, and has the same mel."""
    torch.manual_seed(0)
    refiner, (mel, smooth) = Refiner(SPEC, 16, 1), pair(SPEC)
    mel, smooth = mel.float(), smooth.float()
    ripple = 1.0 + 0.9 * torch.cos(2 * math.pi * torch.arange(smooth.shape[1]) / 192)
    optimizer = torch.optim.Adam(refiner.parameters(), 3e-3)

    def envelope(audio: Tensor) -> Tensor:
        return audio.unflatten(1, (-1, 16)).square().mean(2).clamp_min(1e-7).log()

    losses = []
    for _ in range(40):
        loss = (envelope(refined(refiner, mel, ripple * smooth)) - envelope(smooth)).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0], losses


@pytest.mark.parametrize(
    ("hop", "message"), [(300, "3 or more times mel.hop_length 300"), (200, "16 divides, not 200")]
)
def test_mels_that_it_cannot_do_are_refused(hop: int, message: str) -> None:
    spec = dataclasses.replace(SPEC, hop_length=hop, n_fft=1000, win_length=1000)
    with pytest.raises(ConfigError, match=message):
        PostfilterConfig(guide_channels=0, refiner_channels=8).check(spec)
    PostfilterConfig(guide_channels=0).check(spec)  # there is no network


@pytest.mark.slow
@given(
    hop=st.sampled_from([16, 48, 160, 256]), overlap=st.sampled_from([3, 4, 5]), n_mels=st.sampled_from([2, 25]),
    padding=st.sampled_from(["center", "same"]), log=st.sampled_from(["ln", "log10"]),
)  # fmt: skip
@settings(max_examples=10, deadline=None)
def test_mels_that_pass_its_check_are_no_error(hop: int, overlap: int, n_mels: int, padding: str, log: str) -> None:
    spec = MelSpec(16000, hop * overlap, hop * overlap, hop, n_mels, fmax=8000.0, padding=padding, log=log)
    PostfilterConfig(0, refiner_channels=8).check(spec)
    audio, mel = torch.randn(2, 9 * hop).double(), torch.randn(2, n_mels, 9).double() - 4.0
    stage, refiner = Refinement(random_refiner(spec)), random_refiner(spec)
    parts = [stage.push(mel[..., n : n + 1], audio[:, n * hop : (n + 1) * hop], ends=n == 8) for n in range(9)]
    whole = refined(refiner, mel, audio)
    assert whole.shape == audio.shape and (torch.cat(parts, 1) - whole).abs().max() < 1e-12


# Where the post-filter runs it.


@pytest.mark.parametrize(("gl_iters", "after"), [(0, None), (1, 0), (2, 1), (3, 2), (4, 2), (9, 2)])
def test_the_last_iterations_over_all_bands_come_after_it(gl_iters: int, after: int | None) -> None:
    postfilter = PostFilter(SPEC, None, random_refiner()).double()
    iterations = PostfilterSettings(gl_iters, 30)
    assert postfilter.iterations_after_refiner(iterations) == after
    kinds = [type(stage) for stage in postfilter.stages(iterations).stages]
    low = [LowBandStage]
    if after is None:
        assert kinds == low
    else:
        assert kinds == [*[Iteration] * (gl_iters - after), *low, Refinement, *[Iteration] * after]
        assert [type(stage) for stage in postfilter.unrefined(iterations).stages] == kinds[: kinds.index(Refinement)]
    assert PostFilter(SPEC).iterations_after_refiner(iterations) is None


def test_rounds_do_without_it() -> None:
    rounds = PostfilterSettings(2, 12, rounds=2, look_ahead=1)
    postfilter = PostFilter(SPEC, None, random_refiner())
    assert postfilter.iterations_after_refiner(rounds) is None
    kinds = [type(stage) for stage in postfilter.stages(rounds).stages]
    assert FrameByFrame in kinds and Refinement not in kinds


def test_the_chain_is_its_parts_one_after_the_other() -> None:
    refiner, (mel, audio) = random_refiner(), pair(SPEC)
    postfilter, plain = (PostFilter(SPEC, None, own).double().requires_grad_(False) for own in (refiner, None))
    found = postfilter(audio, mel, PostfilterSettings(4, 5))
    expected = refined(refiner, mel, plain(audio, mel, PostfilterSettings(2, 5)))
    for number in (2, 3):  # as the iterations go on: each treats every second frame
        expected = Iteration(plain.consistency, number).push(mel, expected, ends=True)
    assert (found - expected).abs().max() < 1e-12
    assert torch.equal(postfilter(audio, mel, PostfilterSettings(0, 5)), plain(audio, mel, PostfilterSettings(0, 5)))


def test_an_item_of_a_batch_is_what_it_is_alone_in_the_chain() -> None:
    postfilter = PostFilter(SPEC, None, random_refiner()).double().requires_grad_(False)
    (mel, audio), iterations, samples = pair(SPEC), PostfilterSettings(4, 5), 40 * SPEC.hop_length
    audio[1, samples:] = 0.0
    together = postfilter(audio, mel, iterations, torch.tensor([FRAMES, 40]))
    alone = postfilter(audio[1:, :samples], mel[1:, :, :40], iterations)
    assert (together[1, :samples] - alone[0]).abs().max() < 1e-12 and not together[1, samples:].any()


# In a voice.


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of an untrained flow with both networks, whose masks are of all sizes."""
    folder = tmp_path_factory.mktemp("refined") / "voice"
    settings = ["model.causal=true", "model.block=256", "model.encoder_ahead=1"]
    sizes = PostfilterConfig(guide_channels=8, guide_layers=1, refiner_channels=8, refiner_layers=2)
    experiment = dataclasses.replace(override(preset("lapglow-tiny"), settings), postfilter=sizes)
    torch.manual_seed(0)
    model, postfilter = build_model(experiment), build_postfilter(experiment)
    assert postfilter is not None and postfilter.refiner is not None and postfilter.guide is not None
    torch.nn.init.normal_(postfilter.refiner.last.weight, std=0.3)
    card = VoiceCard(temperature=0.7, postfilter=PostfilterSettings(4, 24))
    save_checkpoint(folder, Checkpoint(model, experiment, card, postfilter))
    return folder


@pytest.fixture(scope="module")
def mel() -> Tensor:
    return Vocoder.from_pretrained("universal-22k").mel_for(torch.from_numpy(speech_like(2.0, 22050)))


def unrefined_of(voice: Path) -> Vocoder:
    """The same voice without its refiner."""
    checkpoint = load_checkpoint(voice)
    assert checkpoint.postfilter is not None
    return Vocoder(checkpoint.model, checkpoint.card, PostFilter(SPEC, checkpoint.postfilter.guide))


@pytest.mark.slow
def test_a_checkpoint_keeps_it(voice: Path, mel: Tensor, tmp_path: Path) -> None:
    vocoder = Vocoder.from_pretrained(voice)
    spoken = vocoder.synthesize(mel, seed=0)
    assert (spoken - unrefined_of(voice).synthesize(mel, seed=0)).abs().max() > 1e-3
    vocoder.save_pretrained(tmp_path / "copy")
    again = load_checkpoint(tmp_path / "copy")
    assert again.experiment.postfilter == PostfilterConfig(8, 1, 8, 2)
    assert torch.equal(Vocoder.from_pretrained(tmp_path / "copy").synthesize(mel, seed=0), spoken)


@pytest.mark.slow
def test_threads_give_the_same_bits(voice: Path, mel: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowvocoder.streaming.pieces.CHUNK", 24)
    vocoder = Vocoder.from_pretrained(voice)
    set_threads(1)
    alone = vocoder.synthesize(mel, seed=0)
    set_threads(2)
    assert torch.equal(vocoder.synthesize(mel, seed=0), alone)


@pytest.mark.slow
def test_pieces_give_the_whole(voice: Path, mel: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    vocoder = Vocoder.from_pretrained(voice)
    whole = vocoder.synthesize(mel, seed=0)
    monkeypatch.setattr("flowvocoder.streaming.pieces.CHUNK", 24)
    assert (vocoder.synthesize(mel, seed=0) - whole).abs().max() < 1e-4


@pytest.mark.slow
def test_engines_agree(voice: Path, mel: Tensor) -> None:
    eager, numba = (Vocoder.from_pretrained(voice, engine=name).synthesize(mel, seed=0) for name in ("eager", "numba"))
    assert (eager - numba).abs().max() < 1e-3 * eager.abs().max()


@pytest.mark.slow
def test_only_streams_that_iterate_over_all_frames_use_it(voice: Path, mel: Tensor) -> None:
    vocoder, plain = Vocoder.from_pretrained(voice), unrefined_of(voice)

    def streamed(vocoder: Vocoder, **iterations: int) -> Tensor:
        stream, late, parts = vocoder.stream(seed=0, **iterations), 0.0, []
        for frame in range(mel.shape[2]):
            parts.append(stream.push(mel[..., frame : frame + 1]))
            late = max(late, (frame + 1) * 256 - sum(part.shape[-1] for part in parts))
        assert late <= round(stream.seconds_behind * 22050) + 256
        return torch.cat([*parts, stream.flush()], -1)

    assert torch.equal(streamed(vocoder), streamed(plain))
    of_all_frames = streamed(vocoder, gl_iters=4)
    assert (of_all_frames - streamed(plain, gl_iters=4)).abs().max() > 1e-3
    assert (of_all_frames - vocoder.synthesize(mel, seed=0, gl_iters=4, low_band_iters=0)[0]).abs().max() < 1e-4
