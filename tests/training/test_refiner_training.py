"""Training the refiner: beside a flow and a guide that stay as they are, and left alone by every other stage."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
import torch
from command import refused, run
from safetensors.torch import load_file
from torch import Tensor

import flowvocoder
from flowvocoder.checkpoint import load_checkpoint
from flowvocoder.config import PostfilterConfig, override, with_trained_network
from flowvocoder.errors import CheckpointError, ConfigError
from flowvocoder.mel.spec import convention
from flowvocoder.presets import PRESETS, preset
from flowvocoder.training.trainer import Trainer

pytestmark = pytest.mark.slow  # its fixture trains

ROOT = Path(__file__).parents[2]
EXAMPLES = Path(flowvocoder.__file__).parent / "examples"
SIZES = ["postfilter.refiner_channels=8", "postfilter.refiner_layers=1"]
SMALL = ["batch=2", "segment=6144", "warmup=0", "lr=1e-2", "low_band_iters=2", "gl_iters=3"]


def sets(*settings: str) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


def command(corpus: Path, out: Path, start: Path, *settings: str) -> list[object]:
    return ["train", "--corpus", corpus, "--out", out, "--preset", "universal-22k-stage4", "--init-from", start,
            "--threads", "1", *sets(*SMALL, *settings)]  # fmt: skip


@pytest.fixture(scope="module")
def trained(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint, which has no post-filter of its own, with a refiner that was trained for sixteen steps."""
    out = tmp_path_factory.mktemp("refiner") / "run"
    assert run(*command(EXAMPLES, out, checkpoint, *SIZES, "steps=16", "validate_every=8")) == 0
    return out


def weights(checkpoint: Path) -> dict[str, Tensor]:
    return load_file(checkpoint / "model.safetensors")


def logged(out: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [row for row in rows if "seconds" in row]


def test_every_other_weight_stays_as_it_is(trained: Path, checkpoint: Path) -> None:
    before, after = weights(checkpoint), weights(trained / "checkpoint")
    assert all(torch.equal(before[name], after[name]) for name in before)
    own = {name: value for name, value in after.items() if name not in before}
    assert own and all(name.startswith("postfilter.refiner.") for name in own)
    assert own["postfilter.refiner.last.weight"].any()
    made = load_checkpoint(trained / "checkpoint")
    assert made.experiment.postfilter == PostfilterConfig(0, refiner_channels=8, refiner_layers=1)
    assert made.card.postfilter.gl_iters == 3
    rows = logged(trained)
    assert all({"spectral", "pulse"} <= row.keys() and "nats" not in row for row in rows)
    best = weights(trained / "best")  # no likelihood tells which is best: the last
    assert all(torch.equal(best[name], after[name]) for name in after)


def test_the_loss_falls(trained: Path) -> None:
    losses = [row["loss"] for row in logged(trained)]
    assert len(losses) == 16 and sum(losses[-4:]) < sum(losses[:4]), losses


def test_its_training_resumes_exactly(trained: Path, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert run(*command(EXAMPLES, out, checkpoint, *SIZES, "steps=16", "validate_every=8"), "--max-steps", "5") == 0
    assert run("train", "--corpus", EXAMPLES, "--out", out, "--resume", "--threads", "1") == 0
    whole, parts = (load_file(folder / "state/state.safetensors") for folder in (trained, out))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_guide_stays_and_trains_beside_it(trained: Path, small_voice: Path, corpus: Path, tmp_path: Path) -> None:
    """A voice with both networks: either stage trains its own."""
    before = weights(small_voice)
    for stage, name, settings in (
        ("refiner", "universal-22k-stage4", ("segment=6144",)),
        ("guide", "lapglow-stage3", ("segment=8192",)),
    ):
        out = tmp_path / stage
        assert run("train", "--corpus", corpus, "--out", out, "--preset", name, "--init-from", small_voice,
                   "--threads", "1", *sets("batch=2", "steps=2", "warmup=0", *settings)) == 0  # fmt: skip
        after = weights(out / "checkpoint")
        moved = {key for key in before if not torch.equal(before[key], after[key])}
        assert moved and all(key.startswith(f"postfilter.{stage}.") for key in moved)
        assert load_checkpoint(out / "checkpoint").experiment.postfilter == PostfilterConfig(16, 1, 8, 1)


def test_other_stages_leave_it_alone(trained: Path, corpus: Path, tmp_path: Path) -> None:
    before = weights(trained / "checkpoint")
    for name in ("lapglow-tiny", "lapglow-stage2"):
        out = tmp_path / name
        assert run("train", "--corpus", corpus, "--out", out, "--preset", name, "--init-from", trained / "checkpoint",
                   "--threads", "1", *sets("segment=4096", "batch=2", "steps=2")) == 0  # fmt: skip
        after = weights(out / "checkpoint")
        assert all(torch.equal(before[k], after[k]) for k in before if k.startswith("postfilter."))
        assert not all(torch.equal(before[k], after[k]) for k in before)


def test_a_refiner_is_for_one_mel(small_voice: Path, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert run("train", "--corpus", corpus, "--out", out, "--preset", "lapglow-tiny", "--init-from", small_voice,
               "--threads", "1", *sets("mel=hifigan", "segment=4096", "batch=2", "steps=1")) == 0  # fmt: skip
    made = load_checkpoint(out / "checkpoint")
    assert made.experiment.mel == convention("hifigan")
    assert made.experiment.postfilter == PostfilterConfig(16, 1)
    assert made.postfilter is not None and made.postfilter.guide is not None and made.postfilter.refiner is None
    sizes = dataclasses.replace(load_checkpoint(small_voice).experiment, train=preset("lapglow-tiny").train)
    with pytest.raises(CheckpointError, match="has another mel than this run"):
        Trainer(dataclasses.replace(sizes, mel=convention("hifigan")), [corpus], tmp_path / "library",
                init_from=small_voice)  # fmt: skip


def test_without_a_guide_nothing_is_left_for_another_mel(trained: Path, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert run("train", "--corpus", corpus, "--out", out, "--preset", "lapglow-tiny", "--init-from",
               trained / "checkpoint", "--threads", "1",
               *sets("mel=hifigan", "segment=4096", "batch=2", "steps=1")) == 0  # fmt: skip
    assert load_checkpoint(out / "checkpoint").experiment.postfilter is None


def test_discriminators_can_take_part(trained: Path, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    settings = ("losses.adversarial=1", "losses.features=1", "losses.discriminator_channels=2", "repulsion=0.5")
    assert run(*command(corpus, out, trained / "checkpoint", *settings, "steps=2")) == 0
    last = logged(out)[-1]
    assert {"spectral", "pulse", "adversarial", "features", "discriminator"} <= last.keys()
    before, after = weights(trained / "checkpoint"), weights(out / "checkpoint")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and all(name.startswith("postfilter.refiner.") for name in moved)


def test_refusals(
    trained: Path, checkpoint: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    line = refused(capsys, *command(corpus, out, trained / "checkpoint", "postfilter.refiner_channels=4"))
    assert "has other sizes than this run: refiner_channels 4, was 8" in line and not out.exists()
    line = refused(capsys, *command(corpus, trained, checkpoint), "--resume", *sets("postfilter.refiner_channels=4"))
    assert "another post-filter than the run has" in line
    line = refused(capsys, "train", "--corpus", corpus, "--out", out, "--preset", "universal-22k-stage4")
    assert "stage refiner starts from a trained flow" in line and not out.exists()
    with pytest.raises(ConfigError, match=r"set postfilter\.refiner_channels"):
        override(preset("lapglow-stage2"), ["stage=refiner"])
    with pytest.raises(ConfigError, match=r"stage refiner trains by losses of samples: set one"):
        override(preset("universal-22k-stage4"), ["spectral=0", "pulse=0"])
    with pytest.raises(ConfigError, match=r"train\.run\.recompute does nothing in stage refiner"):
        override(preset("universal-22k-stage4"), ["recompute=true"])
    with pytest.raises(ConfigError, match="gl_iters must not be 0"):
        override(preset("universal-22k-stage4"), ["sampling.gl_iters=0"])
    for sizes, name in ((PostfilterConfig(0, refiner_channels=8), "refiner"), (PostfilterConfig(8), "guide")):
        untrained = dataclasses.replace(override(preset("lapglow-tiny"), []), postfilter=sizes)
        with pytest.raises(ConfigError, match=f"the {name} is trained after the flow"):
            Trainer(untrained, [corpus], tmp_path / name)


def test_make_trains_the_refiner_of_every_voice_that_has_a_preset_for_it() -> None:
    line = re.search(r"^REFINED = (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    for stage in ("-stage4", "-stage5"):
        assert line and set(line[1].split()) == {n.removesuffix(stage) for n in PRESETS if n.endswith(stage)}


def test_a_stage_brings_the_network_that_it_trains() -> None:
    guided, both = PostfilterConfig(96, 4), PostfilterConfig(refiner_channels=192)
    assert with_trained_network("refiner", guided, both) == PostfilterConfig(96, 4, 192, 4)
    assert with_trained_network("refiner", PostfilterConfig(96, 4, 8, 1), both) == PostfilterConfig(96, 4, 8, 1)
    assert with_trained_network("samples", None, both) is None and with_trained_network("flow", guided, None) == guided
    assert with_trained_network("guide", None, both) == PostfilterConfig()
