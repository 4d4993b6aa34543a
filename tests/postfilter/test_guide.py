"""The fine spectrum of the lowest kilohertz: what it tells, what it leads to, and how it is taught."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from command import refused, run
from helpers import speech_like
from hypothesis import given, settings
from hypothesis import strategies as st
from mel_pairs import FRAMES, ODD, in_pieces, pair
from safetensors.torch import load_file
from torch import Tensor

from flowvocoder.checkpoint import Checkpoint, build_model, load_checkpoint, save_checkpoint
from flowvocoder.config import override
from flowvocoder.errors import ConfigError
from flowvocoder.interop.onnx.metadata import ENOUGH, metadata
from flowvocoder.interop.onnx.modules import Whole
from flowvocoder.mel.spec import MelSpec, convention
from flowvocoder.postfilter import chunked as matching
from flowvocoder.postfilter import guide as fine_module
from flowvocoder.postfilter.chunked import FinePasses, LowPasses, Matcher
from flowvocoder.postfilter.guide import ALONE, LED, UNLED, FineSpectrum
from flowvocoder.presets import preset
from flowvocoder.training.trainer import Trainer
from flowvocoder.vocoder import Vocoder

SPEC = convention("tacotron2")
SMALL = ["--set", "model.fine_channels=16", "--set", "model.fine_layers=1", "--set", "batch=2", "--threads", "1"]


def guesses(spec: MelSpec = SPEC, seed: int = 0) -> FineSpectrum:
    """One whose last layer is not zero, so that it leads somewhere."""
    torch.manual_seed(seed)
    fine = FineSpectrum(spec, 16, 2)
    torch.nn.init.normal_(fine.last.weight, std=0.02)
    return fine.double().requires_grad_(False)


def lows(fine: FineSpectrum, spec: MelSpec) -> tuple[Tensor, Tensor, Tensor]:
    """The mel of speech, and the low bands of noise and of the speech."""
    mel, noise = pair(spec)
    samples = noise.shape[1]
    speech = torch.from_numpy(speech_like(samples / spec.sample_rate + 1.0, spec.sample_rate)).double()
    speech = torch.stack([speech[at : at + samples] for at in (0, 500)])
    return mel, fine.low_of(noise), fine.low_of(speech)


@pytest.mark.parametrize("name", ["tacotron2", "hifigan", "vocos"])
def test_what_is_not_taught_says_what_there_is(name: str) -> None:
    spec = convention(name)
    fine = FineSpectrum(spec, 16, 1).double()
    mel, low, _ = lows(fine, spec)
    told, spread = fine(low, mel)
    assert told.shape == spread.shape == (2, (FRAMES + 1) // 2, fine.bins)
    assert torch.equal(told, fine.magnitudes(low, mel)) and not spread.any()
    led, alone = fine.refine(low, mel, LED + ALONE), fine.settle(low, mel, ALONE)
    assert (led - alone).abs().max() < 1e-12  # passes towards where it is are none


@pytest.mark.parametrize("name", ["tacotron2", "hifigan", "vocos"])
def test_passes_by_the_right_magnitudes_come_nearer_to_them(name: str) -> None:
    spec = convention(name)
    fine = FineSpectrum(spec, 16, 1).double().requires_grad_(False)
    mel, low, recorded = lows(fine, spec)
    target, level = fine.magnitudes(recorded, mel), fine.level(mel)
    wanted = level * target.exp()

    def distance(low: Tensor) -> float:
        return float((fine.magnitudes(low, mel) - target)[:, 4:-4].abs().mean())

    after = low
    for _ in range(LED):
        after = after + fine._toward(after, wanted, level)
    assert distance(after) < 0.6 * distance(low)
    assert fine._toward(recorded, wanted, level)[:, fine.size : -fine.size].abs().max() < 1e-9


def test_what_is_told_is_scale_free() -> None:
    """Half as loud, and its mel as much lower: the same magnitudes over their level."""
    fine = guesses()
    mel, low, _ = lows(fine, SPEC)
    loud = fine.level(mel) > 0.1
    quieter = fine.magnitudes(0.5 * low, mel + math.log(0.5))
    assert (quieter - fine.magnitudes(low, mel))[loud].abs().max() < 1e-6


def test_it_learns_and_every_weight_takes_part() -> None:
    torch.manual_seed(0)
    fine = FineSpectrum(SPEC, 32, 2)
    mel, low, recorded = (x.float() for x in lows(fine.double(), SPEC))
    fine.float()
    optimizer = torch.optim.Adam(fine.parameters(), 3e-3)
    losses = []
    for step in range(60):
        optimizer.zero_grad()
        loss = fine.loss(low, recorded, mel)
        loss.backward()
        if step == 1:  # the last layer is zero at first
            assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in fine.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.5
    told, own, right = fine(low, mel)[0], fine.magnitudes(low, mel), fine.magnitudes(recorded, mel)
    assert (told - right).abs().mean() < 0.8 * (own - right).abs().mean()


@pytest.mark.parametrize(("hz", "counts"), [(80.0, True), (160.0, False)])
def test_creaking_voice_counts_more(hz: float, counts: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second of pulses, told badly, and a second of noise, told well."""
    fine = FineSpectrum(SPEC, 8, 1).double().requires_grad_(False)
    time = torch.arange(64 * 32, dtype=torch.float64) * 8 / SPEC.sample_rate
    voice = sum(torch.cos(2 * math.pi * hz * n * time) for n in range(1, int(1000 / hz)))
    noise = torch.randn(64 * 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    recorded = 0.05 * torch.cat([voice, noise])[None]
    mel = torch.full((1, SPEC.n_mels, 128), -2.0, dtype=torch.float64)
    told = recorded * torch.where(torch.arange(recorded.shape[1]) < len(voice), 0.1, 1.0)
    losses = []
    for weight in (0.0, 3.0):
        monkeypatch.setattr(fine_module, "CREAK_WEIGHT", weight)
        losses.append(float(fine.loss(told, recorded, mel)))
    assert losses[1] > 1.2 * losses[0] if counts else losses[1] == pytest.approx(losses[0], rel=0.02), losses


@given(seed=st.integers(0, 10**6), passes=st.integers(1, 20), hop=st.sampled_from([256, 300]))
@settings(max_examples=15, deadline=None)
def test_pieces_of_any_size_give_the_whole(seed: int, passes: int, hop: int) -> None:
    spec = SPEC if hop == 256 else dataclasses.replace(ODD, n_fft=1200, win_length=1200)
    fine = guesses(spec, seed)
    mel, audio = pair(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, "PIECE", 24)
        patch.setattr(matching, "AROUND", 9)
        led = FinePasses(fine, passes)
        parts, late = in_pieces(led, mel, audio, seed, hop)
        whole = FinePasses(fine, passes).push(mel, audio, ends=True)
    assert parts.shape == audio.shape and (parts - whole).abs().max() < 1e-12
    assert late <= led.behind + 2 * hop


def test_pieces_know_enough_of_what_is_around() -> None:
    fine = guesses()
    mel, audio = pair(SPEC)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, "PIECE", 20)
        patch.setattr(matching, "AROUND", 24)
        parts = FinePasses(fine, 16).push(mel, audio, ends=True)
    whole = FinePasses(fine, 16).push(mel, audio, ends=True)
    change = (whole - audio).square().mean()
    assert change > 0 and (parts - whole).square().mean() < 1e-6 * change


def test_an_item_of_a_batch_is_what_it_is_alone() -> None:
    matcher = Matcher(SPEC, guesses()).double()
    mel, audio = pair(SPEC)
    samples = 40 * SPEC.hop_length
    audio[1, samples:] = 0.0
    together = matcher.begin(2, UNLED + 16, torch.tensor([FRAMES, 40])).push(mel, audio, ends=True)
    alone = matcher.begin(2, UNLED + 16).push(mel[1:, :, :40], audio[1:, :samples], ends=True)
    assert (together[1, :samples] - alone[0]).abs().max() < 1e-12
    assert together[1, samples:].abs().max() == 0.0


def test_the_first_passes_are_not_led() -> None:
    fine = guesses()
    mel, audio = pair(SPEC)
    plain = LowPasses(fine.band, UNLED).push(mel, audio, ends=True)
    assert torch.equal(Matcher(SPEC, fine).double().begin(0, UNLED).push(mel, audio, ends=True), plain)
    led = Matcher(SPEC, fine).double().begin(0, UNLED + 16).push(mel, audio, ends=True)
    unled = Matcher(SPEC).double().begin(0, UNLED + 16).push(mel, audio, ends=True)
    assert (led - plain).abs().max() > 1e-3 and (led - unled).abs().max() > 1e-3


def test_few_frames_are_no_error() -> None:
    for frames in (1, 2, 5):
        mel, audio = pair(SPEC)
        mel, audio = mel[..., :frames], audio[:, : frames * SPEC.hop_length]
        after = FinePasses(guesses(), 16).push(mel, audio, ends=True)
        assert after.shape == audio.shape and after.isfinite().all()


@pytest.fixture(scope="module")
def taught(checkpoint: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint with a fine spectrum that was taught for four steps."""
    out = tmp_path_factory.mktemp("fine") / "run"
    command = ["train", "--corpus", corpus, "--out", out, "--preset", "lapglow-fine", "--init-from", checkpoint, *SMALL,
               "--set", "segment=8192", "--set", "steps=4", "--set", "warmup=0", "--set", "lr=1e-2",
               "--set", "low_match=40"]  # fmt: skip
    assert run(*command) == 0
    return out


def test_it_is_taught_beside_a_flow_that_stays_as_it_is(taught: Path, checkpoint: Path) -> None:
    before, after = (load_file(folder / "model.safetensors") for folder in (checkpoint, taught / "checkpoint"))
    assert all(torch.equal(before[name], after[name]) for name in before)
    own = {name: value for name, value in after.items() if name not in before}
    assert own and all(name.startswith("fine.") for name in own) and own["fine.last.weight"].any()
    rows = [json.loads(line) for line in (taught / "log.jsonl").read_text().splitlines()]
    assert all(-5 < row["fine"] < 5 and "nats" not in row for row in rows if "seconds" in row)
    assert all("nats" in row["validation"] for row in rows if "seconds" not in row)
    # No likelihood tells which is best, and the first is untaught.
    best = load_file(taught / "best" / "model.safetensors")
    assert all(torch.equal(best[name], after[name]) for name in after)
    vocoder = Vocoder.from_pretrained(taught / "checkpoint")
    assert vocoder.low_match == 40 and vocoder.temperature == 0.9  # as taught
    mel = pair(SPEC)[0].float()
    led, plain = (vocoder.synthesize(mel, seed=0, low_match=passes) for passes in (None, UNLED))
    assert (led - plain).abs().max() > 1e-4


def test_training_it_resumes_exactly(taught: Path, checkpoint: Path, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = ["train", "--corpus", corpus, "--out", out, "--preset", "lapglow-fine", "--init-from", checkpoint, *SMALL,
               "--set", "segment=8192", "--set", "steps=4", "--set", "warmup=0", "--set", "lr=1e-2",
               "--set", "low_match=40"]  # fmt: skip
    assert run(*command, "--max-steps", "2") == 0
    assert run("train", "--corpus", corpus, "--out", out, "--resume", "--threads", "1") == 0
    whole, parts = (load_file(folder / "state/state.safetensors") for folder in (taught, out))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_later_stages_leave_it_alone(taught: Path, corpus: Path, tmp_path: Path) -> None:
    before = load_file(taught / "checkpoint" / "model.safetensors")
    for name in ("lapglow-tiny", "lapglow-refine"):
        out = tmp_path / name
        assert run("train", "--corpus", corpus, "--out", out, "--preset", name, "--init-from", taught / "checkpoint",
                   "--set", "segment=4096", "--set", "batch=2", "--set", "steps=2", "--threads", "1") == 0  # fmt: skip
        after = load_file(out / "checkpoint" / "model.safetensors")
        assert all(torch.equal(before[k], after[k]) for k in before if k.startswith("fine."))
        assert not all(torch.equal(before[k], after[k]) for k in before)
        assert load_checkpoint(out / "checkpoint").about["low_match"] == 40


def test_a_run_goes_on_with_what_it_teaches(taught: Path, corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, "train", "--corpus", corpus, "--out", taught, "--resume", "--preset", "lapglow-refine",
                   "--set", "steps=6", "--set", "segment=8192", "--set", "batch=2", "--threads", "1")  # fmt: skip
    assert "train.fine_weight 0.0, was 1.0" in line


def test_refusals(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"set model\.fine_channels"):
        override(preset("lapglow-live"), ["fine_weight=1"])
    with pytest.raises(ConfigError, match=r"train\.pulse_weight must be 0, not 2"):
        override(preset("lapglow-fine"), ["pulse_weight=2"])
    with pytest.raises(ConfigError, match=r"3 or more times mel\.hop_length 300, not 1024"):
        override(preset("lapglow-fine"), ["mel.hop_length=300", "model.block=300", "model.time_slots=1",
                                          "model.level_sets=1"])  # fmt: skip
    short = override(preset("lapglow-fine"), ["segment=6144"])
    with pytest.raises(ConfigError, match=r"train\.segment 6144 must be more than 24 x mel\.hop_length 256"):
        Trainer(short, [corpus], tmp_path / "run")
    with pytest.raises(ConfigError, match=r"is taught after the flow"):
        Trainer(override(preset("lapglow-tiny"), ["model.fine_channels=8"]), [corpus], tmp_path / "run")
    line = refused(capsys, "train", "--corpus", corpus, "--out", tmp_path / "run", "--preset", "lapglow-fine")
    assert "--init-from" in line and not (tmp_path / "run").exists()


def test_an_exported_file_asks_for_no_passes_that_it_cannot_lead(tmp_path: Path) -> None:
    experiment = override(preset("lapglow-tiny"), ["model.fine_channels=8", "model.fine_layers=1"])
    save_checkpoint(tmp_path / "c", Checkpoint(build_model(experiment), experiment, {"low_match": 72}))
    checkpoint = load_checkpoint(tmp_path / "c")
    assert metadata(checkpoint, Whole(checkpoint.model))["low_match"] == ENOUGH
