"""Boosted trees kept as arrays are those of scikit-learn, and refuse what they do not fit."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from flowvocoder.anomaly import AnomalyDetector, trees
from flowvocoder.anomaly.trees import Trees, grow
from flowvocoder.errors import CheckpointError


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 4)).astype(np.float32)
    return x, x[:, 0] * x[:, 1] + 0.3 * rng.standard_normal(300) > 0.2


@pytest.fixture(scope="module")
def grown(rows: tuple[np.ndarray, np.ndarray]) -> Trees:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trees, "BLOCKS", 2)
        patch.setattr(trees, "BLOCK", 20)
        return grow("rows", *rows, seed=3)


def test_log_odds_are_those_of_scikit_learn(rows: tuple[np.ndarray, np.ndarray], grown: Trees) -> None:
    from sklearn.ensemble import GradientBoostingClassifier

    model = GradientBoostingClassifier(
        max_depth=trees.DEPTH, learning_rate=trees.RATE, subsample=trees.ROWS, max_features=4, warm_start=True,
        random_state=np.random.RandomState(3),
    )  # fmt: skip
    for count in (20, 40):
        model.set_params(n_estimators=count).fit(*rows)
    others = np.random.default_rng(1).standard_normal((200, 4)).astype(np.float32)
    assert any(t.tree_.node_count < 2 ** (trees.DEPTH + 1) - 1 for t in model.estimators_[:, 0]), "no tree ends early"
    assert np.abs(grown(others.astype(np.float64)) - model.decision_function(others)).max() < 1e-9


def test_they_tell_apart_what_no_single_limit_does(rows: tuple[np.ndarray, np.ndarray], grown: Trees) -> None:
    x = np.random.default_rng(2).standard_normal((400, 4))
    sure = np.abs(x[:, 0] * x[:, 1] - 0.2) > 0.5
    right = (grown(x) > 0.0) == (x[:, 0] * x[:, 1] > 0.2)
    assert right[sure].mean() > 0.85


def test_they_say_what_they_fit(grown: Trees) -> None:
    assert grown.fits(4) and not grown.fits(3)
    assert {name: array.shape for name, array in vars(grown).items()} == grown.shapes()
    for columns in (grown.columns + 0.5, grown.columns - 4.0):
        assert not dataclasses.replace(grown, columns=columns).fits(4)
    ragged = dataclasses.replace(grown, columns=grown.columns[:, :-1], leaves=grown.leaves[:, :-1])
    assert not ragged.fits(4)


@pytest.mark.slow
def test_a_detector_whose_trees_look_elsewhere_is_refused(tmp_path: Path) -> None:
    detector = AnomalyDetector.load()
    own = detector.evidence.edges
    for number, (changed, said) in enumerate((
        ({"columns": own.columns + 50.0}, "columns that there are not"),
        ({"limits": own.limits[:, :-1]}, "other shapes"),
    )):  # fmt: skip
        edges = dataclasses.replace(own, **changed)
        detector.evidence = dataclasses.replace(detector.evidence, edges=edges)
        detector.save(tmp_path / str(number))
        with pytest.raises(CheckpointError, match=said):
            AnomalyDetector.load(tmp_path / str(number))
