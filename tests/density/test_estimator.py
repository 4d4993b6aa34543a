"""`FlowDensity` as a scikit-learn estimator: what it promises, what it refuses, and scikit-learn's own checks."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse, stats
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from flowvocoder.density import FAMILIES, FlowDensity
from flowvocoder.errors import CheckpointError, ConfigError, DensityError


def rows(n: int = 300, features: int = 3, seed: int = 0) -> np.ndarray:
    """Correlated and skewed, off centre and of different widths."""
    x = np.random.default_rng(seed).standard_normal((n, features))
    x[:, 1:] += 0.5 * np.square(x[:, :-1])
    return 3.0 + x * np.arange(1.0, features + 1.0)


def quick(family: str = "realnvp", **options: Any) -> FlowDensity:
    return FlowDensity(family, **{"layers": 2, "hidden": 8, "steps": 20, **options})


@pytest.fixture(scope="module")
def fitted() -> FlowDensity:
    return quick(dtype="float64").fit(rows())


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("features", [1, 3])
def test_every_family_scores_samples_and_inverts(family: str, features: int) -> None:
    x, context = rows(60, features), np.random.default_rng(1).standard_normal((60, 2))
    for given in (None, context):
        density = quick(family, steps=5, dtype="float64").fit(x, context=given)
        assert density.score_samples(x, context=given).shape == (60,)
        back = density.inverse_transform(density.transform(x, context=given), context=given)
        assert np.abs(back - x).max() < 1e-8
        assert density.sample(5, context=None if given is None else given[:1]).shape == (5, features)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_the_density_integrates_to_one(family: str) -> None:
    density = quick(family, steps=10, lr=3e-2).fit(rows(100, features=1))
    grid = np.linspace(-30, 40, 2001)
    assert abs(np.trapezoid(np.exp(density.score_samples(grid[:, None])), grid) - 1.0) < 1e-3


def test_views_in_any_order_of_memory_are_rows(fitted: FlowDensity) -> None:
    """PyTorch takes no negative strides, which a DataFrame's columns in the opposite order have, too."""
    x = rows()
    assert np.array_equal(fitted.score_samples(x[::-1]), fitted.score_samples(x)[::-1])
    backwards = pd.DataFrame(x[:, ::-1].copy(), columns=["c", "b", "a"])[["a", "b", "c"]]
    assert quick(steps=1).fit(backwards).n_features_in_ == 3


def test_nats_are_of_the_data_as_given() -> None:
    """Those of a Gaussian, however wide it is."""
    x = np.random.default_rng(0).standard_normal((1000, 2)) * [1e-3, 50.0] + [7.0, -400.0]
    truth = stats.norm.logpdf(x, x.mean(0), x.std(0)).sum(1).mean()
    assert abs(quick().fit(x).score(x) - truth) < 0.02


@pytest.mark.slow
def test_a_context_shifts_what_is_likely() -> None:
    generator = np.random.default_rng(0)
    context = generator.standard_normal((500, 1)) * 10
    x = np.hstack([context, -context]) + generator.standard_normal((500, 2))
    density = quick(steps=150, lr=3e-2).fit(x, context=context)
    assert np.abs(density.sample(500, context=[[10.0]], random_state=0).mean(0) - [10.0, -10.0]).max() < 2.0
    assert density.score([[10.0, -10.0]], context=[[10.0]]) > density.score([[10.0, -10.0]], context=[[-10.0]]) + 3


def test_weights_count_rows() -> None:
    x = np.vstack([rows(200, 2), 100 + rows(200, 2, seed=1)])
    first = np.repeat([1.0, 0.0], 200)
    weighted, alone = quick().fit(x, sample_weight=first), quick().fit(x[:200])
    assert np.array_equal(weighted.score_samples(x[:200]), alone.score_samples(x[:200]))
    assert weighted.score(x, sample_weight=first) == pytest.approx(alone.score(x[:200]))


@pytest.mark.slow
def test_the_loss_goes_by_weights() -> None:
    """A Gaussian fitted to two clusters has the weighted mean and deviation; rows alike would have others."""
    x = np.random.default_rng(0).standard_normal((400, 1)) + np.repeat([[0.0], [6.0]], 200, 0)
    weights = np.repeat([1.0, 0.05], 200)
    density = quick(layers=1, steps=150, lr=0.1).fit(x, sample_weight=weights)
    mean = np.average(x[:, 0], weights=weights)
    deviation = np.sqrt(np.average((x[:, 0] - mean) ** 2, weights=weights))
    sample = density.sample(4000, random_state=0)
    assert abs(sample.mean() - mean) < 0.3 and abs(sample.std() - deviation) < 0.3


@pytest.mark.slow
def test_arrays_tensors_and_frames_give_the_same() -> None:
    x = rows()
    frame = pd.DataFrame(x, columns=["a", "b", "c"])
    expected = quick().fit(x).score_samples(x)
    assert np.array_equal(quick().fit(torch.tensor(x)).score_samples(torch.tensor(x)), expected)
    density = quick().fit(frame)
    assert np.array_equal(density.score_samples(frame), expected)
    assert list(density.feature_names_in_) == ["a", "b", "c"]
    assert list(density.get_feature_names_out()) == ["flowdensity0", "flowdensity1", "flowdensity2"]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_and_leaves_torch_alone() -> None:
    state = torch.random.get_rng_state()
    one, two, other = (quick(seed=seed).fit(rows()) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert np.array_equal(one.score_samples(rows()), two.score_samples(rows()))
    assert not np.array_equal(one.score_samples(rows()), other.score_samples(rows()))
    assert np.array_equal(one.sample(4, random_state=3), two.sample(4, random_state=3))
    assert not np.array_equal(one.sample(4), one.sample(4))


@pytest.mark.slow
def test_fitting_stops_early_and_keeps_the_best() -> None:
    x, overfits = rows(20), quick(hidden=64, steps=2000, patience=2, lr=3e-2)
    density = clone(overfits).fit(x)
    held_out = [state.held_out for state in density.history_]
    assert len(held_out) < 10 and [state.best for state in density.history_[-2:]] == [False, False]
    for state in overfits.fit_steps(x):
        if state.held_out == max(held_out):
            break
    assert np.array_equal(overfits.score_samples(x), density.score_samples(x))


def test_float64_is_computed_in_float64(fitted: FlowDensity) -> None:
    assert {p.dtype for p in fitted.model_.flow.parameters()} == {torch.float64}
    x, shifted = rows(), rows() + 1e-10
    assert (
        0 < np.abs(fitted.score_samples(x) - fitted.score_samples(shifted)).max() < 1e-8
    )  # float32 sees no difference


@pytest.mark.slow
def test_quantised_values_are_fitted_with_noise() -> None:
    """Sixteen equally likely integers: with noise one wide they are uniform, a sixteenth at each."""
    x = np.random.default_rng(0).integers(0, 16, (500, 2)).astype(float)
    x[:, 1] = 5.0  # without the noise it would have no density
    density = quick(steps=60, dequantise=1.0).fit(x)
    assert np.log(1 / 16) - 0.4 < density.score(x) < np.log(1 / 16) + 0.3


ERRORS: dict[str, tuple[Callable[[FlowDensity], Any], type[Exception], str]] = {
    "nan": (lambda d: d.fit(np.where(rows() > 9, np.nan, rows())), DensityError, "NaN or inf, the first in row"),
    "inf in score": (lambda d: d.score([[np.inf, 0, 0]]), DensityError, "NaN or inf, the first in row 0, column 0"),
    "constant": (lambda d: d.fit(rows() * [1, 0, 1]), DensityError, "column 1 of X is constant"),
    "constant by name": (
        lambda d: d.fit(pd.DataFrame({"a": rows()[:, 0], "b": 0.1})), DensityError, "column 'b' of X is constant",
    ),
    "huge": (lambda d: d.fit(rows() * 1e200), DensityError, "900 values that are beyond 1e.150"),
    "sparse": (lambda d: d.fit(sparse.csr_array(rows())), DensityError, "[Ss]parse"),
    "columns of two types": (
        lambda d: d.fit(pd.DataFrame(rows(), columns=["a", 1, "c"])), DensityError, "names",
    ),
    "few": (lambda d: d.fit(rows(5)), DensityError, r"5 sample\(s\).* a minimum of 8 is required"),
    "one row": (lambda d: d.score(rows()[0]), DensityError, "2D array, got 1D array instead: Reshape"),
    "width": (lambda d: d.score(rows(features=4)), DensityError, "4 features, but FlowDensity is expecting 3"),
    "width of z": (lambda d: d.inverse_transform(np.zeros((2, 4))), DensityError, "Z has 4 features, but .* has 3"),
    "text": (lambda d: d.fit([["a", "b"]] * 20), DensityError, "could not convert string to float"),
    "context": (lambda d: d.score(rows(), context=rows()), DensityError, "context of 3 features for .* with none"),
    "context's length": (lambda d: d.fit(rows(), context=rows(7)), DensityError, "7 rows, expected 300 or one"),
    "weights' length": (lambda d: d.fit(rows(), sample_weight=[1, 2]), DensityError, r"shape \(2,\), not \(300,\)"),
    "negative weight": (lambda d: d.fit(rows(), sample_weight=-np.ones(300)), DensityError, "negative or not finite"),
    "no weight": (lambda d: d.fit(rows(), sample_weight=np.zeros(300)), DensityError, "0 rows have a sample_weight"),
    "no sample": (lambda d: d.sample(0), DensityError, "n_samples must be at least 1, not 0"),
    "family": (lambda d: quick("glow2").fit(rows()), ConfigError, "family must be one of .*, not 'glow2'"),
    "layers": (lambda d: quick(layers=0).fit(rows()), ConfigError, "layers must be from 1 to 1024, not 0"),
    "type": (lambda d: quick(hidden="64").fit(rows()), ConfigError, "hidden: '64'"),
    "dtype": (lambda d: quick(dtype="float16").fit(rows()), ConfigError, "dtype must be one of float32, float64"),
    "device": (lambda d: quick(device="tpu7").fit(rows()), ConfigError, "device tpu7: not usable here"),
    "shape": (lambda d: quick(shape=(1, 8)).fit(rows()), ConfigError, r"shape must be \(channels, height, width\)"),
    "shape of a vector's": (lambda d: quick("nice", shape=(1, 1, 3)).fit(rows()), ConfigError, "nice cannot fit"),
    "not fitted": (lambda d: quick().score(rows()), NotFittedError, "not fitted yet"),
    "saved unfitted": (lambda d: quick().save("nowhere"), NotFittedError, "not fitted yet"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_what_cannot_be_is_refused_in_one_sentence(name: str, fitted: FlowDensity) -> None:
    call, kind, message = ERRORS[name]
    with pytest.raises(kind, match=message) as error:
        call(copy.deepcopy(fitted))
    assert "\n" not in str(error.value)


def test_a_column_far_from_zero_is_not_constant() -> None:
    x = rows() + [1e9, 0, 0]
    assert quick(dtype="float64").fit(x).score(x) == pytest.approx(
        quick(dtype="float64").fit(rows()).score(rows()), abs=0.1
    )


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    frame = pd.DataFrame(rows(), columns=["a", "b", "c"])
    density = quick(hidden=np.int64(8)).fit(frame, context=rows(features=2))
    density.save(tmp_path / "density")
    assert {p.name for p in (tmp_path / "density").iterdir()} == {"model.safetensors", "config.json"}
    loaded = FlowDensity.load(tmp_path / "density")
    context = rows(features=2)
    assert np.array_equal(loaded.score_samples(frame, context=context), density.score_samples(frame, context=context))
    sample = density.sample(3, context=context[:3], random_state=0)
    assert np.array_equal(loaded.sample(3, context=context[:3], random_state=0), sample)
    assert clone(loaded).fit(frame, context=context).score(frame, context=context) == density.score(
        frame, context=context
    )
    with pytest.raises(DensityError, match="feature names"):
        loaded.score_samples(frame[["b", "a", "c"]], context=context)


def altered(**changes: Any) -> Callable[[Path], None]:
    def alter(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **changes}))

    return alter


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no configuration": (lambda f: (f / "config.json").unlink(), "not a density: expected a folder with"),
    "no JSON": (lambda f: (f / "config.json").write_text("{"), "not the configuration of a density"),
    "a list": (lambda f: (f / "config.json").write_text("[]"), "not the configuration of a density"),
    "newer": (altered(density_format=2), "format 2 is newer than this program's 1"),
    "type": (altered(features="3"), "not the configuration of a density"),
    "no features": (altered(features=0), "not the configuration of a density"),
    "other sizes": (altered(features=4), "do not go together"),
    "unknown parameter": (altered(parameters={"shape": [], "colour": 3}), "do not go together .*colour"),
    "unknown family": (altered(parameters={"shape": [], "family": "x"}), "do not go together .family must be one of"),
    "truncated": (lambda f: (f / "model.safetensors").write_bytes(b"12"), "truncated or altered"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_folder_is_refused_in_one_sentence(name: str, fitted: FlowDensity, tmp_path: Path) -> None:
    damage, message = DAMAGE[name]
    fitted.save(tmp_path / "density")
    damage(tmp_path / "density")
    with pytest.raises(CheckpointError, match=message) as error:
        FlowDensity.load(tmp_path / "density")
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_pipelines_searches_and_cross_validation() -> None:
    x = rows()
    pipeline = make_pipeline(StandardScaler(), quick()).fit(x)
    assert pipeline.score(x) == pytest.approx(pipeline[-1].score(pipeline[0].transform(x)))
    search = GridSearchCV(quick(), {"family": ["nice", "realnvp"], "layers": np.array([1, 2])}, cv=2).fit(x)
    assert search.best_score_ == max(search.cv_results_["mean_test_score"]) and search.best_estimator_.score(x) < 0
    assert len(cross_val_score(quick(), x, cv=3)) == 3


CANNOT_APPLY = {
    "check_sample_weight_equivalence_on_dense_data": "batches and the held-out part are drawn: a row twice is not a row"
    " of weight two",
}
"""scikit-learn's checks that this estimator cannot pass, and why."""


@pytest.mark.slow
def test_scikit_learns_own_checks() -> None:
    check_estimator(quick(dtype="float64", steps=2), expected_failed_checks=CANNOT_APPLY)


@pytest.mark.parametrize("family", [name for name, family in FAMILIES.items() if family.images])
def test_images_have_a_density(family: str) -> None:
    pixels = np.random.default_rng(0).standard_normal((40, 2 * 4 * 6))
    density = quick(family, shape=(2, 4, 6), layers=2, steps=3, dtype="float64").fit(pixels, context=pixels[:, :1])
    back = density.inverse_transform(density.transform(pixels, context=pixels[:, :1]), context=pixels[:, :1])
    assert np.abs(back - pixels).max() < 1e-8
    with pytest.raises(DensityError, match=r"X has 47 features, but shape \(2, 4, 6\) makes 48"):
        quick(family, shape=(2, 4, 6)).fit(pixels[:, 1:])
