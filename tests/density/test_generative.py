"""The generative models beside the flows: what they give, and what they refuse."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.utils.estimator_checks import check_estimator

from flowvocoder.density import MODELS, GenerativeModel
from flowvocoder.density.distances import mmd, modes_found, sliced_wasserstein
from flowvocoder.errors import ConfigError, DensityError

EXACT = ["autoregressive", "invertible-ae"]


def rows(n: int = 60, features: int = 3, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((n, features))
    x[:, 1:] += x[:, :-1]
    return 3.0 + x * np.arange(1.0, features + 1.0)


def quick(family: str, **options: Any) -> GenerativeModel:
    return GenerativeModel(family, **{"layers": 2, "hidden": 8, "steps": 10, **options})


@pytest.fixture(scope="module")
def fitted() -> dict[str, GenerativeModel]:
    return {family: quick(family, dtype="float64").fit(rows()) for family in MODELS}


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize("features", [1, 3])
def test_every_model_samples_given_a_context_and_without(family: str, features: int) -> None:
    x = rows(features=features)
    for context in (None, rows(features=2)):
        model = quick(family, steps=2).fit(x, context=context)
        given = None if context is None else context[:1]
        one, two, other = (model.sample(9, context=given, random_state=seed) for seed in (1, 1, 2))
        assert one.shape == (9, features) and np.array_equal(one, two) and not np.array_equal(one, other)


@pytest.mark.parametrize("family", MODELS)
def test_saved_and_loaded_it_is_the_same(family: str, fitted: dict[str, GenerativeModel], tmp_path: Path) -> None:
    model = fitted[family]
    model.save(tmp_path / "model")
    loaded = GenerativeModel.load(tmp_path / "model")
    assert np.array_equal(loaded.sample(4, random_state=0), model.sample(4, random_state=0))
    assert clone(loaded).get_params()["family"] == family


@pytest.mark.parametrize("family", EXACT)
def test_an_exact_density_integrates_to_one(family: str) -> None:
    model = quick(family, dtype="float64", lr=3e-2).fit(rows(features=1))
    grid = np.linspace(-30, 40, 4001)
    assert abs(np.trapezoid(np.exp(model.score_samples(grid[:, None])), grid) - 1.0) < 1e-3
    assert model.score_is == "exact"


@pytest.mark.parametrize("family", EXACT)
def test_samples_are_of_the_density(family: str, fitted: dict[str, GenerativeModel]) -> None:
    """Monte Carlo: under p, the mean of q / p is one for any normal q that p covers."""
    x = fitted[family].sample(4000, random_state=0)
    q = np.exp(-0.5 * (((x - 3.0) / 0.7) ** 2).sum(1)) / (0.7 * np.sqrt(2 * np.pi)) ** 3
    assert abs(np.mean(q / np.exp(fitted[family].score_samples(x))) - 1.0) < 0.25


def test_a_vae_gives_bounds_that_tighten(fitted: dict[str, GenerativeModel]) -> None:
    vae = fitted["vae"]
    elbo, tighter = vae.score(rows()), vae.bound(rows(), draws=32).mean()
    assert vae.score_is == "a lower bound" and elbo == pytest.approx(vae.bound(rows(), draws=1).mean())
    assert elbo < tighter


@pytest.mark.slow
def test_the_bound_reaches_a_density_that_is_known() -> None:
    """A VAE whose decoder ignores its latent has the decoder's normal as its density."""
    vae = quick("vae", dtype="float64").fit(rows())
    with torch.no_grad():
        for parameter in (*vae.model_.decoder.parameters(), *vae.model_.encoder.parameters()):
            parameter.zero_()
    scale = np.log(2) + 1e-3
    z = (rows() - rows().mean(0)) / rows().std(0)
    truth = (-0.5 * (z / scale) ** 2 - np.log(scale * rows().std(0) * np.sqrt(2 * np.pi))).sum(1)
    assert np.abs(vae.bound(rows(), draws=1000) - truth).max() < 0.4
    assert vae.kl(rows()).shape == (60, 2)
    assert np.allclose(vae.kl(rows()), 0.5 * (scale**2 - 1) - np.log(scale))


@pytest.mark.slow
def test_autoencoders_reconstruct_better_than_the_mean() -> None:
    x = np.random.default_rng(0).standard_normal((300, 1)) * [[1.0, 2.0]] + 0.01 * rows(300, 2)
    for family in ("vae", "invertible-ae"):
        model = quick(family, latent=1, steps=150, lr=1e-2, hidden=16).fit(x)
        assert model.transform(x).shape == (300, 1)
        error = model.inverse_transform(model.transform(x)) - x
        assert np.square(error).mean() < 0.2 * x.var(0).mean(), family


REFUSED: dict[str, tuple[str, Callable[[GenerativeModel], Any], str]] = {
    "a GAN's likelihood": ("gan", lambda m: m.score(rows()), "a GAN has no likelihood"),
    "a GAN's encoder": ("gan", lambda m: m.transform(rows()), "a GAN has no encoder"),
    "autoregressive latent": ("autoregressive", lambda m: m.transform(rows()), "autoregressive model has no latent"),
    "a bound of what is exact": (
        "autoregressive",
        lambda m: m.bound(rows()),
        "has no bound: only a vae",
    ),
    "a GAN's posterior": ("gan", lambda m: m.kl(rows()), "gan has no posterior: only a vae has"),
    "a wide latent": ("invertible-ae", lambda m: m.set_params(latent=4).fit(rows()), "latent of 4 is wider than the 3"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_model_has_not_is_refused_in_one_sentence(name: str, fitted: dict[str, GenerativeModel]) -> None:
    family, call, message = REFUSED[name]
    model = fitted[family] if name != "a wide latent" else quick(family)
    with pytest.raises(DensityError, match=message) as error:
        call(model)
    assert "\n" not in str(error.value)


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"family must be one of vae, gan, .*, not 'realnvp'"):
        quick("realnvp").fit(rows())


@pytest.mark.slow
def test_distances_know_shifts() -> None:
    """The sliced distance of a shift by v in D dimensions is |v| / sqrt(D)."""
    x = torch.randn(500, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.randn(500, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert float(sliced_wasserstein(x, x + torch.tensor([3.0, 4.0]), 4000)) == pytest.approx(5 / np.sqrt(2), rel=0.03)
    assert float(sliced_wasserstein(x, y)) < 0.15
    assert abs(mmd(x, y)) < 0.01 < 0.1 < mmd(x, y + 1.0)


def test_modes_are_counted() -> None:
    centres = np.array([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]])
    assert modes_found(np.repeat(centres[:2], 50, 0), centres, 0.5) == 2
    assert modes_found(np.repeat(centres, [50, 50, 1], 0), centres, 0.5) == 2


@pytest.mark.slow
@pytest.mark.thorough
def test_scikit_learns_own_checks() -> None:
    reason = "batches and the held-out part are drawn: a row twice is not a row of weight two"
    failing = {"check_sample_weight_equivalence_on_dense_data": reason}
    check_estimator(quick("invertible-ae", dtype="float64", steps=2), expected_failed_checks=failing)
