"""Settings: every one has limits or choices, is read somewhere, and is found by the words that tell it from others."""

import ast
import dataclasses
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st

import flowvocoder
from flowvocoder.config import TrainConfig, check, override
from flowvocoder.errors import ConfigError
from flowvocoder.models.registry import ARCHITECTURES
from flowvocoder.presets import PRESETS, experiment_from_dict, preset
from flowvocoder.settings import Leaf, find, leaves, replaced, typed

EXPERIMENT = preset("lapglow-tiny")
CONFIGS = [TrainConfig(), *(kind() for kind in ARCHITECTURES.values())]
PATHS = [leaf.path for leaf in leaves(EXPERIMENT)]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_every_setting_has_limits_or_choices(config: object) -> None:
    for path, field, value in leaves(config):
        if isinstance(value, int | float) and not isinstance(value, bool):
            lowest, highest = field.metadata["limits"]
            assert lowest <= value <= highest, path
        else:
            assert isinstance(value, bool) or value in get_args(field.type), path


@pytest.mark.slow
def test_every_setting_is_read_somewhere() -> None:
    files = Path(flowvocoder.__file__).parent.rglob("*.py")
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))]
    read = {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)}
    unread = [leaf.path for config in CONFIGS for leaf in leaves(config) if leaf.field.name not in read]
    assert not unread


@pytest.mark.parametrize(
    "leaf", [leaf for config in CONFIGS[:1] for leaf in leaves(config)], ids=lambda leaf: leaf.path
)
def test_a_value_outside_its_limits_is_refused_by_name(leaf: Leaf) -> None:
    if get_origin(leaf.field.type) is Literal:
        wrong = ["nonsense"]
    elif "limits" in leaf.field.metadata:
        lowest, highest = leaf.field.metadata["limits"]
        wrong = [lowest - 1, highest + 1, float("nan")]
    else:
        return
    for value in wrong:
        experiment = dataclasses.replace(EXPERIMENT, train=replaced(EXPERIMENT.train, {leaf.path: value}))
        with pytest.raises(ConfigError, match=rf"^train\.{leaf.path} must be"):
            check(experiment)


@given(st.data())
def test_a_key_may_be_as_short_as_it_is_unique(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(PATHS))
    words = path.split(".")
    key = ".".join(words[data.draw(st.integers(0, len(words) - 1)) :])
    same = [other for other in PATHS if f".{other}".endswith(f".{key}")]
    if len(same) == 1:
        assert find(key, PATHS) == path
    else:
        with pytest.raises(ConfigError, match="name one of"):
            find(key, PATHS)


def test_settings_that_are_right_only_together_are_set_together() -> None:
    both = override(EXPERIMENT, ["mel.sample_rate=16000", "mel.fmax=7000", "optim.lr=1e-4"])
    assert both.mel.sample_rate == 16000 and both.mel.fmax == 7000.0 and both.train.optim.lr == 1e-4
    with pytest.raises(ConfigError, match="fmax"):
        override(EXPERIMENT, ["mel.sample_rate=12000"])


@pytest.mark.parametrize("name", PRESETS)
def test_experiments_survive_json(name: str) -> None:
    experiment = PRESETS[name]
    check(experiment)
    assert experiment_from_dict(experiment.to_dict()) == experiment


@pytest.mark.parametrize(
    "train", [{"optim": {"lr": "fast"}}, {"optim": {"steps": 1.5}}, {"optim": {"rate": 1}}, {"run": {"compile": 1}}]
)
def test_json_of_another_type_is_refused(train: dict) -> None:
    with pytest.raises(TypeError):
        typed(TrainConfig, train)
