"""Names of version 0.1: old settings and presets are understood, and what they became is said."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from command import refused, run

from flowvocoder import legacy
from flowvocoder.checkpoint import read_config
from flowvocoder.config import AS_IT_IS, TrainConfig, override
from flowvocoder.errors import ConfigError
from flowvocoder.presets import PRESETS, preset
from flowvocoder.renamed import RenamedWarning
from flowvocoder.settings import leaves, typed
from flowvocoder.voice_card import BUNDLED_VOICE

TODAY = {f"train.{leaf.path}": leaf.value for leaf in leaves(TrainConfig())}

OLD = {
    "steps": 12, "batch": 4, "accumulate": 2, "segment": 8192, "lr": 0.002, "warmup": 7, "final_lr": 0.1,
    "weight_decay": 0.0, "clip": 2.0, "ema": 0.5, "likelihood_weight": 2.0, "pitch_weight": 3.0, "gain_weight": 4.0,
    "spectral_weight": 5.0, "repulsion": 0.5, "pulse_weight": 6.0, "period_weight": 7.0, "hum_weight": 8.0,
    "fine_weight": 0.0, "samples_only": False, "adversarial_weight": 9.0, "feature_weight": 10.0,
    "discriminator_channels": 8, "discriminator_lr": 0.0002, "sample_from": 0, "sample_temperature": 0.7, "match": 3,
    "low_match": 20, "precision": "float32", "recompute": True, "compile": True, "patience": 2, "seed": 5,
    "validate_every": 50, "save_every": 25,
}  # fmt: skip
"""Every setting of 0.1, none at today's default."""


def test_every_old_setting_has_a_place_today() -> None:
    train = typed(TrainConfig, legacy.todays_train(OLD))
    old = {f"train.{name}": value for name, value in OLD.items()}
    moved = {new: old[name] for name, new in legacy.SETTINGS.items() if name in old}
    assert len(moved) == len(OLD) - len({*legacy.GONE, "samples_only", "fine_weight"})
    assert train.data == AS_IT_IS  # which is younger
    found = {f"train.{leaf.path}": leaf.value for leaf in leaves(train) if not leaf.path.startswith("data.")}
    assert found == {"train.stage": "flow"} | moved
    assert not [path for path, value in found.items() if TODAY[path] == value and path != "train.stage"]
    assert not legacy.lost_settings(OLD)


def test_two_old_settings_are_one_stage() -> None:
    stages = {(False, 0.0): "flow", (True, 0.0): "samples", (True, 1.0): "guide", (False, 2.0): "guide"}
    for (samples_only, fine_weight), stage in stages.items():
        old = {**OLD, "samples_only": samples_only, "fine_weight": fine_weight}
        assert legacy.todays_train(old)["stage"] == stage


def test_what_is_not_done_any_more_is_said() -> None:
    lost = legacy.lost_settings({**OLD, "weight_decay": 0.1, "sample_from": 9, "fine_weight": 2.0})
    assert lost == ["no weight_decay, was 0.1", "no sample_from, was 9", "a weight of the guide of 1, was 2.0"]


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("train.lr=0.25", "optim.lr=0.25", "train.optim.lr"),
        ("pitch_weight=2.5", "losses.lag=2.5", "train.losses.lag"),
        ("train.match=7", "sampling.gl_iters=7", "train.sampling.gl_iters"),
        ("low_match=8", "low_band_iters=8", "train.sampling.low_band_iters"),
        ("sample_temperature=0.5", "temperature=0.5", "train.sampling.temperature"),
        ("time_slots=4", "model.subband_merging=4", "model.subband_merging"),
        ("model.level_sets=2", "model.band_groups=2", "model.band_groups"),
    ],
)
def test_an_old_setting_works_and_names_the_new_one(old: str, new: str, path: str) -> None:
    tiny = preset("lapglow-tiny")
    with pytest.warns(RenamedWarning, match=path.removeprefix("train.").replace(".", r"\.")):
        assert override(tiny, [old]) == override(tiny, [new]) != tiny


@pytest.mark.parametrize(("old", "stage"), [("samples_only=true", "samples"), ("samples_only=false", "flow")])
def test_an_old_switch_is_a_stage(old: str, stage: str) -> None:
    with pytest.warns(RenamedWarning, match=f"stage={stage}"):
        assert override(preset("lapglow-tiny"), [old, "losses.spectral=1"]).train.stage == stage


@pytest.mark.parametrize("setting", ["weight_decay=0.1", "train.sample_from=3", "fine_weight=0.5"])
def test_a_setting_that_is_gone_is_refused(setting: str) -> None:
    with pytest.raises(ConfigError, match="no such setting any more"):
        override(preset("lapglow-tiny"), [setting])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("setting", ["lr=0.25", "seed=3", "repulsion=0", "optim.steps=3", "train.optim.steps=3"])
def test_a_name_that_stayed_says_nothing(setting: str) -> None:
    override(preset("lapglow-tiny"), [setting])


@pytest.mark.parametrize("name", legacy.PRESETS)
def test_an_old_preset_works_and_names_the_new_one(name: str) -> None:
    with pytest.warns(RenamedWarning, match=legacy.PRESETS[name]):
        assert preset(name) == PRESETS[legacy.PRESETS[name]]


def test_the_bundled_voice_was_trained_by_a_preset() -> None:
    """The last stage, on samples at the temperature at which the voice speaks."""
    values = read_config(BUNDLED_VOICE)
    train, last = typed(TrainConfig, values["train"]), preset("universal-22k-stage5").train
    # Iterations were more, and alike, when it was trained.
    spoken = dataclasses.replace(last.sampling, temperature=values["card"]["temperature"], low_band_iters=64)
    assert dataclasses.replace(train, run=last.run) == dataclasses.replace(last, sampling=spoken)


OLD_RUN = Path(__file__).parent / "data" / "format1" / "run"


def old_run(out: Path, **train: object) -> Path:
    """A run of version 0.1 with other training settings than it had."""
    shutil.copytree(OLD_RUN, out)
    state = json.loads((out / "state/state.json").read_text())
    state["experiment"]["train"] |= train
    (out / "state/state.json").write_text(json.dumps(state))
    return out


def test_a_run_that_trained_flow_and_guide_at_once_is_refused_with_a_way_out(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = old_run(tmp_path / "run", samples_only=False)
    line = refused(capsys, "train", "--corpus", corpus, "--out", out, "--resume")
    assert "two stages" in line and "--init-from" in line


@pytest.mark.slow
def test_a_run_says_which_of_its_settings_are_gone(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = old_run(tmp_path / "run", weight_decay=0.1)
    assert run("train", "--corpus", corpus, "--out", out, "--resume", "--threads", "1") == 0
    assert "no weight_decay, was 0.1" in capsys.readouterr().err
