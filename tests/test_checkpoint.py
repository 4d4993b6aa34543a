"""Checkpoint folders: what is refused, and that writing is all or nothing."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from flowvocoder.checkpoint import Checkpoint, _config_sha256, build_model, load_checkpoint, save_checkpoint
from flowvocoder.errors import CheckpointError, OutputError
from flowvocoder.files import recover_folder, writing_folder
from flowvocoder.presets import preset
from flowvocoder.voice_card import VoiceCard


def edit(path: Path, sign: bool = True, **changes: object) -> None:
    config = json.loads((path / "config.json").read_text())
    config.update(changes)
    if sign:
        config["config_sha256"] = _config_sha256(config)
    (path / "config.json").write_text(json.dumps(config))


def edit_model(path: Path, **sizes: object) -> None:
    edit(path, model={**json.loads((path / "config.json").read_text())["model"], **sizes})


def truncate(path: Path) -> None:
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def flip_a_bit(path: Path) -> None:
    file = path / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(bytes(data))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (truncate, r"model\.safetensors: truncated or altered"),
    "altered": (flip_a_bit, r"model\.safetensors: truncated or altered"),
    "no weights": (lambda p: (p / "model.safetensors").unlink(), r"no model\.safetensors"),
    "no config": (lambda p: (p / "config.json").unlink(), r"no config\.json"),
    "half a config": (lambda p: (p / "config.json").write_text('{"format_ver'), r"config\.json: truncated or altered"),
    "edited": (lambda p: edit(p, sign=False, licence="x"), r"config\.json: altered"),
    "version of another type": (lambda p: edit(p, sign=False, format_version=True), r"config\.json: altered"),
    "text for a number": (lambda p: edit_model(p, block="128"), "missing or unknown key .block: '128'"),
    "huge": (lambda p: edit_model(p, channels=10**7),
             "model.channels must be from 1 to 4096"),
    "newer": (lambda p: edit(p, format_version=99), "format version 99 is newer than this program's 2"),
    "unknown architecture": (lambda p: edit_model(p, architecture="diffglow"), "unknown architecture 'diffglow'"),
    "other sizes": (lambda p: edit_model(p, flows=1),
                    "does not fit the architecture"),
    "unknown size": (lambda p: edit_model(p, depth=3), "unknown key"),
    "bad mel": (lambda p: edit(p, mel={"sample_rate": 8000}), "mel spec"),
    "card is text": (lambda p: edit(p, card="x"), "missing or unknown key .'card'"),
    "card of other types": (lambda p: edit(p, card={"step": "x"}), "card.step has the wrong type: 'x'"),
    "unknown iterations": (lambda p: edit(p, card={"postfilter": {"passes": 1}}), "card.postfilter has an unknown key"),
    "no such guide": (lambda p: edit(p, postfilter={"guide_channels": 8, "guide_layers": 1}), "does not fit"),
    "sizes at their limits": (
        lambda p: edit_model(p, flows=4096, channels=4096, layers=16, kernel=63), "fewer numbers than the model"),
    "sections that are none": (lambda p: edit(p, train={"optim": 0.5, "run": [], "losses": None}), "0.5 in the place"),
    "a temperature of 400 digits": (lambda p: edit(p, card={"temperature": 10**400}), "temperature has the wrong type"),
    "nested deeper than anybody walks": (
        lambda p: (p / "config.json").write_text('{"a":' * 500 + "1" + "}" * 500), "truncated or altered.*nested too"),
    "nested deeper than Python goes": (
        lambda p: (p / "config.json").write_text("[" * 100_000), "truncated or altered"),
    "exported": (lambda p: (p / "config.json").rename(p / "step.onnx"), "--engine onnx"),
    "gone": (shutil.rmtree, "no such checkpoint"),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_checkpoint_is_refused_in_one_line(case: str, checkpoint: Path, tmp_path: Path) -> None:
    damage, message = DAMAGE[case]
    copy = tmp_path / "copy"
    shutil.copytree(checkpoint, copy)
    damage(copy)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(copy)
    assert "\n" not in str(caught.value)


def test_a_file_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(b"\x80\x02pickle")
    with pytest.raises(CheckpointError, match="expected a folder"):
        load_checkpoint(tmp_path / "x.pt")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_round_trip(dtype: torch.dtype, tmp_path: Path) -> None:
    experiment = preset("lapglow-tiny")
    model = build_model(experiment)
    save_checkpoint(tmp_path / "a", Checkpoint(model, experiment, VoiceCard(step=3, extra={"mine": [1]})), dtype)
    loaded = load_checkpoint(tmp_path / "a")
    assert loaded.experiment == experiment and loaded.card == VoiceCard(step=3, extra={"mine": [1]})
    for name, value in model.state_dict().items():
        other = loaded.model.state_dict()[name]
        assert other.dtype == value.dtype and torch.allclose(other.float(), value.float(), atol=1e-3)
        assert dtype == torch.float16 or torch.equal(other, value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a"]
    assert (tmp_path / "a/model.safetensors").stat().st_mode & 0o777 == (
        tmp_path / "a/config.json"
    ).stat().st_mode & 0o777


def test_failed_write_leaves_the_old_folder_alone(tmp_path: Path) -> None:
    target = tmp_path / "a"
    with writing_folder(target) as folder:
        (folder / "x").write_text("old")
    with pytest.raises(OutputError, match="No space left"), writing_folder(target) as folder:
        (folder / "x").write_text("new")
        raise OSError(28, "No space left on device")
    assert (target / "x").read_text() == "old" and sorted(p.name for p in tmp_path.iterdir()) == ["a"]


@pytest.mark.parametrize("name", [".", "inside/.."])
def test_folders_that_only_dots_name(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    target = tmp_path / "a"
    shutil.copytree(checkpoint, target)
    (target / "inside").mkdir()
    monkeypatch.chdir(target)
    loaded = load_checkpoint(Path(name))
    card = dataclasses.replace(loaded.card, licence="MIT")
    save_checkpoint(Path(name), dataclasses.replace(loaded, card=card))
    assert load_checkpoint(target).card.licence == "MIT"
    assert [p.name for p in tmp_path.iterdir()] == ["a"] and not (target / "inside").exists()


def test_checkpoint_survives_a_kill_between_the_two_renames(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / ".a.old")  # what such a kill leaves
    assert load_checkpoint(tmp_path / "a").card.licence == "CC0-1.0"
    assert not (tmp_path / "a").exists(), "a reader renamed what a trainer may be writing"
    (tmp_path / ".a.0.unfinished").mkdir()  # and a half-written one
    recover_folder(tmp_path / "a")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_parameters_of_the_base_preset_fit_the_package() -> None:
    parameters = sum(p.numel() for p in build_model(preset("lapglow-base")).parameters())
    assert 2 * parameters < 30e6  # bytes in float16
