"""Training: it learns, it resumes exactly, it survives faults."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from command import Fork
from conftest import TINY, train
from helpers import make_corpus, make_manifest, speech_like
from safetensors.torch import load_file

from flowvocoder.checkpoint import load_checkpoint
from flowvocoder.cli.main import main
from flowvocoder.config import OptimSettings, override
from flowvocoder.data.corpus import find_utterances, split
from flowvocoder.data.segments import SegmentSampler
from flowvocoder.data.splits import is_held_out
from flowvocoder.errors import AudioError, CheckpointError, ConfigError
from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.mel.spec import CONVENTIONS
from flowvocoder.presets import preset
from flowvocoder.training.sample_losses import SpectralLoss
from flowvocoder.training.schedule import learning_rate
from flowvocoder.training.spectral import SpectralDistance
from flowvocoder.training.trainer import Trainer


def log(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_run_folder_holds_what_it_should(run: Path, corpus: Path) -> None:
    assert {p.name for p in run.iterdir()} == {"checkpoint", "best", "state", "log.jsonl", "tensorboard"}
    entries = log(run)
    assert [e["step"] for e in entries if "nats" in e] == list(range(1, 13))
    validations = [e["validation"] for e in entries if "validation" in e]
    assert len(validations) == 2
    assert all(v["nats"] == v[f"nats.{corpus.name}"] > 1.0 for v in validations)
    about = json.loads((run / "checkpoint/config.json").read_text())["card"]
    assert about["step"] == 12 and about["licence"] == "CC0-1.0" and about["training_data"] == [corpus.name]
    assert any((run / "tensorboard").iterdir())


@pytest.mark.slow
def test_likelihood_and_pitch_loss_improve(corpus: Path, tmp_path: Path) -> None:
    settings = ["--set", "steps=40", "--set", "warmup=5", "--set", "lr=3e-3", "--set", "validate_every=40"]
    assert train(corpus, tmp_path / "run", *settings) == 0
    steps = [e for e in log(tmp_path / "run") if "nats" in e]

    def mean(name: str, part: slice) -> float:
        values = [e[name] for e in steps[part]]
        return sum(values) / len(values)

    assert mean("nats", slice(-10, None)) > mean("nats", slice(0, 10)) + 0.3
    assert mean("lag", slice(-10, None)) < mean("lag", slice(0, 10)) - 0.02


@pytest.mark.slow
def test_resumed_run_equals_the_uninterrupted_one_bit_for_bit(corpus: Path, tmp_path: Path) -> None:
    settings = ["--set", "steps=8", "--set", "losses.spectral=0.5", "--set", "save_every=4"]
    assert train(corpus, tmp_path / "whole", *settings) == 0
    trainer = Trainer(
        override(preset("lapglow-tiny"), [s for s in [*TINY, *settings] if "=" in s]), [corpus], tmp_path / "parts"
    )
    stop_at(trainer, 5)
    trainer.run()
    assert log(tmp_path / "parts")[-1]["step"] == 5
    assert train(corpus, tmp_path / "parts", *settings, "--resume") == 0
    for file in ("state/state.safetensors", "checkpoint/model.safetensors"):
        whole, parts = load_file(tmp_path / "whole" / file), load_file(tmp_path / "parts" / file)
        assert whole.keys() == parts.keys()
        assert all(torch.equal(whole[k], parts[k]) for k in whole), file
    ours, theirs = (
        [{k: v for k, v in e.items() if k != "seconds"} for e in log(tmp_path / n)] for n in ("whole", "parts")
    )
    assert [e for e in ours if "nats" in e] == [e for e in theirs if "nats" in e]


def stop_at(trainer: Trainer, step: int) -> None:
    original = trainer.train_step

    def counted(rate):  # type: ignore[no-untyped-def]
        values = original(rate)
        if trainer.step + 1 == step:
            trainer.stop_signal = signal.SIGTERM
        return values

    trainer.train_step = counted  # type: ignore[method-assign]


@pytest.mark.slow
def test_sigterm_saves_and_exits_with_143(corpus: Path, tmp_path: Path) -> None:
    process = Fork("train", "--corpus", corpus, "--out", tmp_path / "run", *TINY, "--set", "steps=100000")
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and not (
        (tmp_path / "run/log.jsonl").exists() and len((tmp_path / "run/log.jsonl").read_text().splitlines()) > 3
    ):
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGTERM)
    done = process.wait()
    assert done.returncode == 143, done.stderr
    assert b"stopped by signal 15 at step" in done.stderr
    state = json.loads((tmp_path / "run/state/state.json").read_text())
    assert state["step"] == log(tmp_path / "run")[-1]["step"] > 0


@pytest.mark.slow
def test_changes_to_recordings_are_reported(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "mixed"
    shutil.copytree(corpus, root)
    first, second, third = (u.path for u in split(find_utterances(root))[0][:3])
    samples, rate = sf.read(first)
    sf.write(first, np.stack([samples, samples], 1), rate)
    sf.write(second, np.zeros(2 * 48000), 48000)
    sf.write(third, np.tile(samples, 3), 48000)
    capsys.readouterr()
    assert train(root, tmp_path / "run", "--max-steps", "1") == 0
    told = capsys.readouterr().err
    assert "1 recording to train on: 2 channels averaged to mono" in told
    assert "1 recording to train on: resampled from 48000 to 22050 Hz" in told
    assert "1 recording to train on: digital silence" in told


@pytest.mark.slow
def test_non_finite_step_is_skipped_and_names_its_files(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = override(preset("lapglow-tiny"), ["batch=2", "segment=4096", "steps=3", "validate_every=3"])
    trainer = Trainer(experiment, [corpus], tmp_path / "run")
    original = trainer.sampler.cut

    def poisoned(step: int, size: int, part: slice):  # type: ignore[no-untyped-def]
        cuts = original(step, size, part)
        if step == 1:
            cuts.padded[0, 1000] = float("nan")
        return cuts

    trainer.sampler.cut = poisoned  # type: ignore[method-assign]
    trainer.run()
    err = capsys.readouterr().err
    poisoned_id, other = original(1, 2).ids
    assert "step 2 skipped" in err and poisoned_id in err and other not in err
    assert [e["step"] for e in log(tmp_path / "run") if "nats" in e] == [1, 3]
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())


@pytest.mark.thorough
@pytest.mark.slow
def test_state_of_a_killed_run_is_whole(corpus: Path, tmp_path: Path) -> None:
    """kill -9 while it saves at every step: what is on the disk loads and goes on."""
    settings = [*TINY, "--set", "steps=40", "--set", "save_every=1", "--set", "validate_every=40"]
    command = ["train", "--corpus", str(corpus), "--out", str(tmp_path / "run"), *settings]
    process = Fork(*command)
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and not (tmp_path / "run/state").exists():
        time.sleep(0.02)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert main([*command, "--resume"]) == 0
    assert json.loads((tmp_path / "run/state/state.json").read_text())["step"] == 40


@pytest.mark.slow
def test_run_killed_between_the_renames_of_its_state_goes_on(corpus: Path, tmp_path: Path) -> None:
    settings = ["--set", "validate_every=100"]
    assert train(corpus, tmp_path / "run", *settings, "--set", "steps=3") == 0
    (tmp_path / "run/state").rename(tmp_path / "run/.state.old")
    assert train(corpus, tmp_path / "run", *settings, "--set", "steps=5", "--resume") == 0
    assert [e["step"] for e in log(tmp_path / "run") if "nats" in e] == [1, 2, 3, 4, 5]
    assert {p.name for p in (tmp_path / "run").iterdir() if p.name.startswith(".")} == set()


@pytest.mark.slow
def test_resume_with_another_model_or_mel_is_refused(
    run: Path, corpus: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(run, tmp_path / "run")
    for setting, message in (
        ("model.channels=16", "another model than the run has: channels 16, was 32"),
        ("mel=hifigan", "another mel than the run has: padding same, was center"),
    ):
        assert train(corpus, tmp_path / "run", "--resume", "--set", setting) == 2
        assert message in capsys.readouterr().err
    assert train(corpus, tmp_path / "run", "--resume", "--set", "steps=13", "--set", "lr=1e-4") == 0
    assert "continues with other settings" in capsys.readouterr().err


def test_a_resumed_run_remembers_its_last_validation(run: Path, corpus: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(run, tmp_path / "run")
    experiment = override(preset("lapglow-tiny"), ["batch=2", "segment=4096", "steps=20", "validate_every=100"])
    trainer = Trainer(experiment, [corpus], tmp_path / "run", resume=True)
    stop_at(trainer, 13)
    trainer.run()
    about = json.loads((tmp_path / "run/checkpoint/config.json").read_text())["card"]
    assert about["step"] == 13
    assert about["metrics"] == [e["validation"] for e in log(run) if "validation" in e][-1]


@pytest.mark.slow
def test_training_after_inference_in_the_same_process(checkpoint: Path, corpus: Path, tmp_path: Path) -> None:
    from flowvocoder.flows import lapped
    from flowvocoder.vocoder import Vocoder

    lapped.rotation_tables.cache_clear()
    Vocoder.from_pretrained(checkpoint).synthesize(torch.full((80, 8), -5.0), trust_mel=True)
    assert train(corpus, tmp_path / "run", "--set", "steps=1") == 0


def test_two_corpora_of_one_name_are_refused(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(corpus, tmp_path / "run", "--corpus", str(corpus)) == 2
    assert "two corpora are named 'toy'" in capsys.readouterr().err


def test_run_folder_is_not_overwritten(run: Path, corpus: Path) -> None:
    with pytest.raises(ConfigError, match="--resume"):
        Trainer(preset("lapglow-tiny"), [corpus], run)


def test_resume_of_a_damaged_state_is_refused(run: Path, corpus: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(run, tmp_path / "run")
    file = tmp_path / "run/state/state.safetensors"
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="truncated"):
        Trainer(override(preset("lapglow-tiny"), ["segment=4096"]), [corpus], tmp_path / "run", resume=True)


@pytest.mark.slow
def test_init_from_takes_the_weights(checkpoint: Path, corpus: Path, tmp_path: Path) -> None:
    experiment = override(preset("lapglow-tiny"), ["batch=2", "segment=4096"])
    trainer = Trainer(experiment, [corpus], tmp_path / "run", init_from=checkpoint)
    expected = load_file(checkpoint / "model.safetensors")
    assert all(torch.equal(value, expected[name]) for name, value in trainer.voice.state_dict().items())
    other = override(experiment, ["model.channels=16"])
    with pytest.raises(CheckpointError, match="other sizes"):
        Trainer(other, [corpus], tmp_path / "other", init_from=checkpoint)


@pytest.mark.slow
def test_the_second_stage_takes_its_sizes_from_the_checkpoint(
    checkpoint: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "--corpus", str(corpus), "--init-from", str(checkpoint), "--out", str(tmp_path / "run")]
    settings = ["--set", "batch=2", "--set", "segment=8192", "--set", "block_tones=3", "--max-steps", "2"]
    assert main([*command, "--preset", "lapglow-stage2", *settings]) == 0
    start, end = load_checkpoint(checkpoint), load_checkpoint(tmp_path / "run" / "checkpoint")
    refined = end.experiment
    assert refined.model == start.experiment.model and refined.train.losses.pulse > 0
    changed = [
        name for name, value in end.model.state_dict().items() if not value.equal(start.model.state_dict()[name])
    ]
    assert changed and all(".sample_" in name for name in changed), "the likelihood is another"
    last = [line for line in map(json.loads, (tmp_path / "run" / "log.jsonl").open()) if "spectral" in line][-1]
    assert 0 < last["pulse"] < 1 and 0 < last["period"] < 1 and 0 < last["block_tones"] < 1
    losses = refined.train.losses
    assert losses.likelihood == losses.lag == losses.gain == losses.spectral == 1
    total = -last["nats"] + last["lag"] + last["gain"] + last["spectral"]
    total += 16 * last["pulse"] + 16 * last["period"] + 3 * last["block_tones"]
    assert last["loss"] == pytest.approx(total, abs=1e-3)
    assert main([*command[:-1], str(tmp_path / "other"), "--preset", "waveflow-64"]) == 2
    assert "is a lapglow, this run trains a waveflow" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", CONVENTIONS)
def test_a_segments_mel_is_the_recordings_mel(name: str, corpus: Path) -> None:
    """That of the recording from where the segment begins, which is at any sample, with what is before and after it."""
    spec = CONVENTIONS[name]
    sampler = SegmentSampler(find_utterances(corpus)[:3], spec, 4096)
    batch, offsets = sampler.batch(step=5, size=4), set()
    for audio, mel, utterance in zip(batch.audio, batch.mel, batch.ids, strict=True):
        (clip,) = [c for c in sampler.clips if c.id == utterance]
        whole = torch.from_numpy(clip.audio[sampler.cutter.left : len(clip.audio) - sampler.cutter.right])
        (start,) = (whole.unfold(0, 4096, 1) == audio).all(1).nonzero()[:, 0].tolist()
        first, offset = divmod(start, spec.hop_length)
        offsets.add(offset)
        expected = MelFrontEnd(spec)(whole[offset:])[:, first : first + mel.shape[1]]
        before = max(0, 2 - first)  # frames that reach over the start, which is at another place here
        assert torch.allclose(mel[:, before:-2], expected[:, before:-2], atol=1e-4)
    assert len(offsets) > 1


def test_batches_depend_on_seed_and_step_only(corpus: Path) -> None:
    utterances, spec = find_utterances(corpus)[:5], CONVENTIONS["tacotron2"]
    a, b, c = (SegmentSampler(utterances, spec, 4096, seed) for seed in (1, 1, 2))
    a.batch(0, 2)
    assert torch.equal(a.batch(7, 3).audio, b.batch(7, 3).audio)
    assert not torch.equal(a.batch(7, 3).audio, c.batch(7, 3).audio)
    assert not torch.equal(a.batch(7, 3).audio, a.batch(8, 3).audio)


def test_split_is_by_id_and_holds_out_a_fortieth(tmp_path: Path) -> None:
    ids = [f"corpus/utt{i}" for i in range(20_000)]
    share = sum(map(is_held_out, ids)) / len(ids)
    assert abs(share - 1 / 40) < 0.005
    corpus = find_utterances(make_corpus(tmp_path / "c", 12, 0.1))
    training, held_out, _ = split(corpus)
    assert sorted(u.id for u in training + held_out) == sorted(u.id for u in corpus)
    assert [u.id for u in split(corpus[::-1])[1]] == [u.id for u in held_out][::-1]


def test_a_small_corpus_has_a_held_out_utterance_too(tmp_path: Path) -> None:
    corpus = find_utterances(make_corpus(tmp_path / "c", 2, 0.1))
    training, held_out, _ = split(corpus)
    assert len(training) == len(held_out) == 1
    assert split(corpus[:1]) == (corpus[:1], [], [])


def test_folder_of_audio_without_metadata_works(corpus: Path) -> None:
    assert {u.path for u in find_utterances(corpus / "wavs")} == {u.path for u in find_utterances(corpus)}


def test_missing_recording_is_named_with_its_line(tmp_path: Path) -> None:
    root = make_corpus(tmp_path / "c", 3, 0.1)
    with (root / "metadata.csv").open("a") as file:
        file.write("ghost|text|text\n")
    with pytest.raises(AudioError, match=r"metadata\.csv: line 4: no recording wavs/ghost"):
        find_utterances(root)


def test_all_bad_recordings_are_named_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_corpus(tmp_path / "c", 5, 0.1)
    for number in (0, 1, 3, 4):
        (root / f"wavs/utt00{number}.flac").write_text("rubbish")
    manifest = make_manifest(make_corpus(tmp_path / "m", 3, 0.1))
    (tmp_path / "m/wavs/utt000.flac").unlink()
    (tmp_path / "m/wavs/utt002.flac").unlink()
    with (make_corpus(tmp_path / "l", 1, 0.1) / "metadata.csv").open("a") as file:
        file.write("ghost|text|text\nspirit|text|text\n")
    for data, names, last in (
        (root, ["utt000", "utt001", "utt004"], "cannot be read as audio (Format not recognised)"),
        (manifest, ["utt000", "utt002"], f"2 files of {manifest} are missing"),
        (tmp_path / "l", ["ghost", "spirit"], f"2 recordings of {tmp_path / 'l/metadata.csv'} are missing"),
    ):
        assert train(data, tmp_path / "run") == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == len(names) + 1 and lines[-1].endswith(last)
        assert all(name in line for name, line in zip(names, lines, strict=False))
        assert not (tmp_path / "run").exists()
        if data == root:  # the one that is held out, too
            assert "3 of 4 recordings to train on cannot be used; " in lines[-1] and "utt003" in lines[-1]


@pytest.mark.slow
def test_the_end_of_a_run_says_how_to_hear_it(
    corpus: Path, wav: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(corpus, tmp_path / "run", "--set", "steps=2", "--set", "validate_every=1") == 0
    said = capsys.readouterr().err
    assert f"fitted the held-out recordings best: {tmp_path / 'run/best'}" in said
    command = next(line for line in said.splitlines() if line.startswith("to hear it: flowvocoder "))
    words = command.removeprefix("to hear it: flowvocoder ").split()
    assert main([{"RECORDING": str(wav), "OUT.wav": str(tmp_path / "o.wav")}.get(word, word) for word in words]) == 0


def test_learning_rate_warms_up_and_decays() -> None:
    config = OptimSettings(steps=1000, warmup=100, lr=1.0, final_lr=0.1)
    rates = [learning_rate(s, config) for s in range(1000)]
    assert rates[0] == pytest.approx(0.01) and max(rates) == pytest.approx(1.0, abs=1e-3)
    assert rates[99] == pytest.approx(1.0) and rates[-1] == pytest.approx(0.1, abs=1e-3)


def test_spectral_distance_orders_what_the_ear_orders() -> None:

    distance = SpectralDistance(CONVENTIONS["tacotron2"])
    audio = torch.from_numpy(speech_like(1.0, 22050))[None]
    noise = torch.randn(audio.shape, generator=torch.Generator().manual_seed(0))
    near, far = (distance(audio + level * noise, audio, audio) for level in (1e-4, 1e-2))
    assert distance(audio, audio, audio) == 0 and 0 < near < far
    silent = torch.zeros(1, 22050, requires_grad=True)
    distance(silent, audio, audio).backward()
    assert silent.grad is not None and torch.isfinite(silent.grad).all()


@pytest.mark.slow
def test_repulsion_rewards_samples_as_varied_as_recordings() -> None:
    """Of noise the best sample without repulsion is a fixed one; with it, noise of the right level."""
    generator = torch.Generator().manual_seed(0)

    def noise(level: float) -> torch.Tensor:
        return level * torch.randn(8, 8192, generator=generator)

    def score(level: float, repulsion: float) -> float:
        """Of samples that are fixed noise and fresh noise, equally loud together."""
        loss = SpectralLoss(CONVENTIONS["tacotron2"], repulsion, before=False)
        fixed = noise((1.0 - level**2) ** 0.5)
        samples = torch.stack([fixed + noise(level), fixed + noise(level)], 1)
        return float(loss.against(0.1 * samples, 0.1 * noise(1.0)))

    assert score(1.0, 1.0) < score(0.3, 1.0) - 0.02
    assert abs(score(1.0, 0.0) - score(0.3, 0.0)) < 0.05


def test_init_from_another_architecture_is_refused(checkpoint: Path, corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is a lapglow, this run trains a waveglow"):
        Trainer(
            override(preset("waveglow-256"), ["model.channels=8"]), [corpus], tmp_path / "run", init_from=checkpoint
        )


@pytest.mark.slow
def test_settings_that_do_nothing_in_a_stage_are_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="stage samples trains by losses of samples: set one"):
        override(preset("lapglow-tiny"), ["stage=samples"])
    for setting, default in (("patience=3", "0, not 3"), ("recompute=true", "False, not True")):
        with pytest.raises(ConfigError, match=f"does nothing in stage samples: must be {default}"):
            override(preset("lapglow-stage2"), [setting])
    with pytest.raises(ConfigError, match=r"repulsion is part of the spectral distance"):
        override(preset("lapglow-tiny"), ["repulsion=1"])
    with pytest.raises(ConfigError, match=r"train.stage must be one of flow, samples, guide, refiner, not all"):
        override(preset("lapglow-tiny"), ["stage=all"])
    other = override(preset("squeezewave-128-128"), ["stage=samples", "losses.spectral=1", "segment=4096"])
    with pytest.raises(ConfigError, match="a squeezewave has no parameters that it could train"):
        Trainer(other, [corpus], tmp_path / "run")
