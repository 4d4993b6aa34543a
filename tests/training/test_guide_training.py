"""Training the guide network: beside a flow that stays as it is, and left alone by every other stage."""

import json
from pathlib import Path

import pytest
import torch
from command import refused, run
from mel_pairs import pair
from safetensors.torch import load_file

from flowvocoder.checkpoint import load_checkpoint
from flowvocoder.config import override
from flowvocoder.errors import ConfigError
from flowvocoder.mel.spec import convention
from flowvocoder.postfilter.guide import UNGUIDED_FIRST
from flowvocoder.presets import preset
from flowvocoder.training.trainer import Trainer
from flowvocoder.vocoder import Vocoder

pytestmark = pytest.mark.slow  # its fixture trains

SIZES = ["--set", "postfilter.guide_channels=16", "--set", "postfilter.guide_layers=1"]
SMALL = [*SIZES, "--set", "batch=2", "--threads", "1"]


@pytest.fixture(scope="module")
def trained(checkpoint: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint with a guide network that was trained for four steps."""
    out = tmp_path_factory.mktemp("guide") / "run"
    command = ["train", "--corpus", corpus, "--out", out, "--preset", "lapglow-stage3",
               "--init-from", checkpoint, *SMALL,
               "--set", "segment=8192", "--set", "steps=4", "--set", "warmup=0", "--set", "lr=1e-2",
               "--set", "low_band_iters=40"]  # fmt: skip
    assert run(*command) == 0
    return out


def test_every_other_weight_stays_as_it_is(trained: Path, checkpoint: Path) -> None:
    before, after = (load_file(folder / "model.safetensors") for folder in (checkpoint, trained / "checkpoint"))
    assert all(torch.equal(before[name], after[name]) for name in before)
    own = {name: value for name, value in after.items() if name not in before}
    assert own and all(name.startswith("postfilter.guide.") for name in own)
    assert own["postfilter.guide.last.weight"].any()
    rows = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert all(-5 < row["guide"] < 5 and "nats" not in row for row in rows if "seconds" in row)
    assert all("nats" in row["validation"] for row in rows if "seconds" not in row)
    # No likelihood tells which is best, and the first is not trained.
    best = load_file(trained / "best" / "model.safetensors")
    assert all(torch.equal(best[name], after[name]) for name in after)
    vocoder = Vocoder.from_pretrained(trained / "checkpoint")
    assert vocoder.low_band_iters == 40 and vocoder.temperature == 0.9  # as trained
    mel = pair(convention("tacotron2"))[0].float()
    guided, plain = (vocoder.synthesize(mel, seed=0, low_band_iters=count) for count in (None, UNGUIDED_FIRST))
    assert (guided - plain).abs().max() > 1e-4


def test_its_training_resumes_exactly(trained: Path, checkpoint: Path, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = ["train", "--corpus", corpus, "--out", out, "--preset", "lapglow-stage3",
               "--init-from", checkpoint, *SMALL,
               "--set", "segment=8192", "--set", "steps=4", "--set", "warmup=0", "--set", "lr=1e-2",
               "--set", "low_band_iters=40"]  # fmt: skip
    assert run(*command, "--max-steps", "2") == 0
    assert run("train", "--corpus", corpus, "--out", out, "--resume", "--threads", "1") == 0
    whole, parts = (load_file(folder / "state/state.safetensors") for folder in (trained, out))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_other_stages_leave_it_alone(trained: Path, corpus: Path, tmp_path: Path) -> None:
    before = load_file(trained / "checkpoint" / "model.safetensors")
    for name in ("lapglow-tiny", "lapglow-stage2"):
        out = tmp_path / name
        assert run("train", "--corpus", corpus, "--out", out, "--preset", name, "--init-from", trained / "checkpoint",
                   "--set", "segment=4096", "--set", "batch=2", "--set", "steps=2", "--threads", "1") == 0  # fmt: skip
        after = load_file(out / "checkpoint" / "model.safetensors")
        assert all(torch.equal(before[k], after[k]) for k in before if k.startswith("postfilter.guide."))
        assert not all(torch.equal(before[k], after[k]) for k in before)
        assert load_checkpoint(out / "checkpoint").card.postfilter.low_band_iters == 40


def test_a_run_goes_on_with_what_it_trains(trained: Path, corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, "train", "--corpus", corpus, "--out", trained, "--resume", "--preset", "lapglow-stage2",
                   "--set", "steps=6", "--set", "segment=8192", "--set", "batch=2", "--threads", "1")  # fmt: skip
    assert "train.stage samples, was guide" in line


def test_refusals(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"set postfilter\.guide_channels"):
        override(preset("lapglow-streaming"), ["stage=guide"])
    with pytest.raises(ConfigError, match=r"train\.losses\.pulse does nothing in stage guide: must be 0"):
        override(preset("lapglow-stage3"), ["losses.pulse=2"])
    with pytest.raises(ConfigError, match=r"3 or more times mel\.hop_length 300, not 1024"):
        override(preset("lapglow-stage3"), ["mel.hop_length=300", "model.block=300", "model.subband_merging=1",
                                          "model.band_groups=1"])  # fmt: skip
    short = override(preset("lapglow-stage3"), ["segment=6144"])
    with pytest.raises(ConfigError, match=r"train\.optim\.segment 6144 must be more than 24 x mel\.hop_length 256"):
        Trainer(short, [corpus], tmp_path / "run")
    with pytest.raises(ConfigError, match=r"the guide is trained after the flow"):
        Trainer(override(preset("lapglow-tiny"), ["postfilter.guide_channels=8"]), [corpus], tmp_path / "run")
    line = refused(capsys, "train", "--corpus", corpus, "--out", tmp_path / "run", "--preset", "lapglow-stage3")
    assert "--init-from" in line and not (tmp_path / "run").exists()
