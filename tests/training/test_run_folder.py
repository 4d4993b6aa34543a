"""The folder of a run: nobody else's, taken up as it was left, and never filled with what is not finite."""

import dataclasses
import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from conftest import train
from safetensors.torch import load_file, save_file

from flowvocoder.checkpoint import load_checkpoint, read_config, save_checkpoint
from flowvocoder.cli.main import main
from flowvocoder.config import override
from flowvocoder.errors import CheckpointError, TrainingError
from flowvocoder.files import _aside
from flowvocoder.postfilter.settings import PostfilterSettings
from flowvocoder.presets import preset
from flowvocoder.training.logs import RunLog
from flowvocoder.training.trainer import Trainer

SMALL = ["--set", "batch=2", "--set", "segment=4096", "--threads", "1"]


@pytest.mark.slow
def test_a_run_goes_on_as_it_was_set(
    checkpoint: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    command = ["train", "--corpus", str(corpus), "--out", str(out)]
    first = tmp_path / "first"
    shutil.copytree(checkpoint, first)
    start = ["--preset", "lapglow-stage2", "--init-from", str(first), *SMALL, "--set", "steps=4"]
    assert main([*command, *start, "--max-steps", "2", "--licence", "CC BY 4.0"]) == 0
    shutil.rmtree(first)  # what it started from is no longer needed
    capsys.readouterr()
    assert main([*command, "--resume", "--threads", "1"]) == 0
    assert "continues with other settings" not in capsys.readouterr().err
    after = read_config(out / "checkpoint")
    assert after["card"]["licence"] == "CC BY 4.0", "of the data, which are the same"
    assert after["card"]["step"] == 4
    assert after["train"]["stage"] == "samples" and after["train"]["optim"]["batch"] == 2
    assert main([*command, "--resume", "--set", "stage=flow", "--set", "steps=5"]) == 2
    assert "train.stage flow, was samples" in capsys.readouterr().err
    assert main([*command, "--resume", "--set", "losses.features=1", "--set", "steps=5"]) == 2
    assert "train.losses.features 1.0, was 0.0" in capsys.readouterr().err
    assert main([*command, "--resume", "--preset", "lapglow-streaming", "--set", "steps=5"]) == 2
    assert read_config(out / "checkpoint") == after


@pytest.mark.slow
def test_a_voice_speaks_on_as_it_did(checkpoint: Path, corpus: Path, tmp_path: Path) -> None:
    tuned = load_checkpoint(checkpoint)
    card = dataclasses.replace(tuned.card, temperature=0.6, postfilter=PostfilterSettings(2, 9))
    save_checkpoint(tmp_path / "tuned", dataclasses.replace(tuned, card=card))
    for name, temperature in (("lapglow-tiny", 0.6), ("lapglow-stage2", 0.9)):  # the second is taught by samples
        assert main(["train", "--corpus", str(corpus), "--init-from", str(tmp_path / "tuned"), "--preset", name,
                     "--out", str(tmp_path / name), *SMALL, "--set", "steps=1"]) == 0  # fmt: skip
        card = load_checkpoint(tmp_path / name / "checkpoint").card
        assert (card.temperature, card.postfilter) == (temperature, PostfilterSettings(2, 9))


@pytest.mark.slow
def test_other_data_is_reported(run: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(run, tmp_path / "run")
    shutil.copytree(corpus, tmp_path / "renamed")
    assert train(tmp_path / "renamed", tmp_path / "run", "--resume", "--set", "steps=13") == 0
    assert "training_data ['renamed'], was ['toy']" in capsys.readouterr().err


def test_the_second_stage_alone_is_refused(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "--corpus", str(corpus), "--preset", "lapglow-stage2", "--out", str(tmp_path / "run")]
    assert main(command) == 2
    assert "--init-from" in capsys.readouterr().err and not (tmp_path / "run").exists()


@pytest.mark.parametrize("left", ["checkpoint/config.json", "best/config.json", "log.jsonl", "config.json"])
def test_whatever_is_left_of_a_run_is_not_overwritten(
    left: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run" / left
    file.parent.mkdir(parents=True)
    file.write_text("{}\n")
    for more in ([], ["--find-lr"]):
        assert train(corpus, tmp_path / "run", *more) == 2
        assert "holds a run already" in capsys.readouterr().err
    assert file.read_text() == "{}\n"


@pytest.mark.slow
def test_a_folder_is_trained_into_by_one_process_only(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = override(preset("lapglow-tiny"), ["batch=2", "segment=4096", "steps=1"])
    first = Trainer(experiment, [corpus], tmp_path / "run")
    assert train(corpus, tmp_path / "run", "--resume") == 2
    assert "another process is training" in capsys.readouterr().err
    first.run()
    assert train(corpus, tmp_path / "run", "--resume", "--set", "steps=2") == 0


@pytest.mark.slow
def test_only_its_own_torchrun_goes_on_with_a_run(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ("--set", "steps=2", "--set", "save_every=1")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "mine")
    assert train(corpus, tmp_path / "run", *settings, "--max-steps", "1") == 0
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "yours")
    assert train(corpus, tmp_path / "run", *settings) == 2
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "mine")
    assert train(corpus, tmp_path / "run", *settings) == 0
    assert read_config(tmp_path / "run" / "checkpoint")["card"]["step"] == 2


@pytest.mark.slow
def test_a_run_that_diverged_ends_and_keeps_what_it_had(
    run: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run, tmp_path / "run")
    before = read_config(tmp_path / "run" / "checkpoint")
    wild = ("--set", "lr=10", "--set", "clip=1e9", "--set", "warmup=0", "--set", "steps=200")
    assert train(corpus, tmp_path / "run", "--resume", *wild, "--set", "validate_every=1000") == 2
    assert "lower learning rate" in capsys.readouterr().err.splitlines()[-1]
    assert read_config(tmp_path / "run" / "checkpoint") == before


def test_weights_that_are_not_finite_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    stored = load_checkpoint(checkpoint)
    weight = next(stored.model.parameters()).view(-1)
    with torch.no_grad():
        weight[:2] = 3e38  # whose sum is not finite
    save_checkpoint(tmp_path / "large", stored)
    assert load_checkpoint(tmp_path / "large")
    for value in (math.nan, math.inf):
        with torch.no_grad():
            weight[3] = value
        save_checkpoint(tmp_path / "bad", stored)
        with pytest.raises(CheckpointError, match="not finite"):
            load_checkpoint(tmp_path / "bad")


@pytest.mark.parametrize("damage", ["no stale", "step is a word", "moments of another shape"])
def test_an_altered_state_is_refused(damage: str, run: Path, corpus: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    file = tmp_path / "run/state/state.json"
    about = json.loads(file.read_text())
    if damage == "no stale":
        del about["stale"]
    elif damage == "step is a word":
        about["step"] = "x"
    else:
        tensors = load_file(file.with_name("state.safetensors"))
        tensors["voice-optimizer.0.exp_avg"] = torch.zeros(3)
        save_file(tensors, file.with_name("state.safetensors"))
    file.write_text(json.dumps(about))
    experiment = override(preset("lapglow-tiny"), ["batch=2", "segment=4096"])
    with pytest.raises(CheckpointError, match="truncated"):
        Trainer(experiment, [corpus], tmp_path / "run", resume=True)


@pytest.mark.slow
def test_a_state_that_was_being_replaced_is_gone_on_with(run: Path, corpus: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "state").replace(_aside(tmp_path / "run" / "state"))  # killed between the two renames
    command = ["train", "--corpus", str(corpus), "--out", str(tmp_path / "run"), "--resume", "--threads", "1"]
    assert main([*command, "--set", "steps=13"]) == 0, "with the run's own sizes, not those of the default preset"
    assert read_config(tmp_path / "run" / "checkpoint")["card"]["step"] == 13


@pytest.mark.slow
def test_a_range_test_leaves_room_for_the_run(corpus: Path, tmp_path: Path) -> None:
    wild = ("--set", "clip=1e9")
    assert train(corpus, tmp_path / "run", "--find-lr", "--max-steps", "20", *wild) == 0
    assert train(corpus, tmp_path / "run", "--set", "steps=1") == 0


@pytest.mark.thorough
@pytest.mark.slow
def test_a_run_in_float16_that_diverged_ends(corpus: Path, tmp_path: Path) -> None:
    """A loss scale looks for gradients that are finite; it must not look for ever."""
    small = ["batch=2", "segment=4096", "steps=200", "save_every=300", "validate_every=300", "precision=float16"]
    trainer = Trainer(override(preset("lapglow-tiny"), small), [corpus], tmp_path / "run")
    trainer.updates.scaler._init_scale = 4.0
    for parameter in trainer.model.parameters():
        parameter.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(TrainingError, match="no finite loss or gradient in 20 steps"):
        trainer.run()
    assert trainer.step == 22, "at scales of 4, 2 and 1, then nineteen, and the last of twenty"
    assert not (tmp_path / "run" / "checkpoint").exists()


def test_a_log_that_is_deleted_meanwhile_begins_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = RunLog(tmp_path / "run", 0)
    log.step(1, 1.0, {"nats": 1.0})
    (tmp_path / "run").rename(tmp_path / "gone")  # to delete it would race with the thread that writes for TensorBoard
    log.step(2, 2.0, {"nats": 2.0})
    log.step(3, 3.0, {"nats": 3.0})
    log.close()
    entries = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries] == [2, 2, 3] and "was deleted" in entries[0]["message"]
    assert capsys.readouterr().err.count("log.jsonl: was deleted or moved meanwhile") == 1
    assert list((tmp_path / "run/tensorboard").iterdir())


def test_a_log_needs_no_standard_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in a windowed program; nothing goes to standard output instead."""
    log = RunLog(tmp_path / "run", 0)
    monkeypatch.setattr("sys.stderr", None)
    monkeypatch.setattr("flowvocoder.training.logs.EVERY", -1.0)
    log.message(1, "step 1 skipped")
    log.step(2, 2.0, {"nats": 2.0})
    log.close()
    assert len((tmp_path / "run/log.jsonl").read_text().splitlines()) == 2 and capsys.readouterr().out == ""
