"""`fit_posterior` on posteriors whose moments and evidence are known: exactly, and by quadrature."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.distributions import HalfCauchy, Normal

from flowvocoder.density import FAMILIES, fit_posterior
from flowvocoder.density.posterior import SLOW, Posterior
from flowvocoder.errors import ConfigError, DensityError, TrainingError

DRAWN = [name for name in FAMILIES if name not in SLOW]


def quick(log_density: Callable[[Tensor], Any], family: str = "realnvp", **options: Any) -> Posterior:
    small = {"dims": 2, "layers": 2, "hidden": 8, "steps": 60, "batch": 64, "lr": 3e-2}
    return fit_posterior(log_density, family=family, **{**small, **options})


def standard(x: Tensor) -> Tensor:
    return -0.5 * x.square().sum(1)


class Known(NamedTuple):
    log_density: Callable[[Tensor], Tensor]
    mean: np.ndarray
    covariance: np.ndarray
    evidence: float


def regression() -> Known:
    """Bayesian linear regression with correlated inputs: noise of deviation 0.5, weights of deviation 2."""
    rng = np.random.default_rng(0)
    inputs = np.column_stack([np.ones(40), rng.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], 40)])
    y = inputs @ [1.0, 2.0, -1.0] + 0.5 * rng.standard_normal(40)
    covariance = np.linalg.inv(inputs.T @ inputs / 0.25 + np.eye(3) / 4.0)
    evidence = stats.multivariate_normal.logpdf(y, np.zeros(40), 0.25 * np.eye(40) + 4.0 * inputs @ inputs.T)
    a, b = torch.tensor(inputs), torch.tensor(y)

    def log_density(w: Tensor) -> Tensor:
        return Normal(w @ a.T, 0.5).log_prob(b).sum(1) + Normal(0.0, 2.0).log_prob(w).sum(1)

    return Known(log_density, covariance @ inputs.T @ y / 0.25, covariance, float(evidence))


MORE = ["sylvester", "planar", "radial", "nsf-c"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "family", ["iaf", "realnvp", *(pytest.param(name, marks=pytest.mark.thorough) for name in MORE)]
)
def test_linear_regression_is_found_with_its_evidence(family: str) -> None:
    known = regression()
    posterior = quick(known.log_density, family, dims=3, steps=200, location=[1.0, 2.0, -1.0], scale=0.2)
    importance = posterior.importance(random_state=1)
    deviations = np.sqrt(np.diag(known.covariance))
    draws = posterior.sample(4000, random_state=0)
    assert known.evidence - 0.1 < posterior.elbo < known.evidence + 0.01
    assert (np.abs(draws.mean(0) - known.mean) < 0.2 * deviations).all()
    assert (np.abs(importance.expectation() - known.mean) < 0.1 * deviations).all()
    assert np.abs(np.corrcoef(draws.T)[1, 2] - known.covariance[1, 2] / math.prod(deviations[1:])) < 0.05
    assert abs(importance.log_evidence - known.evidence) < 0.02
    assert importance.effective_sample_size > 2000


EFFECTS, ERRORS = [28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0], [15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0]
"""Of coaching in eight schools, in points (Rubin 1981, doi:10.3102/10769986006004377)."""


def eight_schools(x: Tensor) -> Tensor:
    """Non-centred: mean, log of the deviation between schools, and eight standardised effects."""
    mean, log_tau, own = x[:, 0], x[:, 1], x[:, 2:]
    effects = mean[:, None] + log_tau.exp()[:, None] * own
    prior = Normal(0.0, 5.0).log_prob(mean) + HalfCauchy(5.0).log_prob(log_tau.exp()) + log_tau
    likelihood = Normal(effects, torch.tensor(ERRORS)).log_prob(torch.tensor(EFFECTS)).sum(1)
    return prior + Normal(0.0, 1.0).log_prob(own).sum(1) + likelihood


def eight_schools_by_quadrature() -> tuple[float, float, float]:
    """Means of the mean and of the deviation between schools, and the log-evidence."""
    mean, log_tau = np.meshgrid(np.linspace(-25, 35, 301), np.linspace(-12, 5, 681), indexing="ij")
    tau = np.exp(log_tau)
    logs = stats.norm.logpdf(mean, 0, 5) + stats.halfcauchy.logpdf(tau, 0, 5) + log_tau
    for effect, error in zip(EFFECTS, ERRORS, strict=True):
        logs += stats.norm.logpdf(effect, mean, np.hypot(tau, error))
    weights = np.exp(logs - logs.max())
    cell = 60 / 300 * 17 / 680
    total = weights.sum()
    return (weights * mean).sum() / total, (weights * tau).sum() / total, float(np.log(total * cell) + logs.max())


@pytest.mark.slow
@pytest.mark.thorough
def test_eight_schools_are_found_with_their_evidence() -> None:
    mean, tau, evidence = eight_schools_by_quadrature()
    posterior = quick(eight_schools, dims=10, layers=4, steps=200, lr=1e-2)
    importance = posterior.importance()
    assert evidence - 0.3 < posterior.elbo < evidence + 0.02
    assert abs(importance.log_evidence - evidence) < 0.05
    assert importance.k_hat < 0.7 and importance.effective_sample_size > 2000
    assert abs(importance.expectation()[0] - mean) < 0.3
    assert abs(importance.expectation(lambda x: np.exp(x[:, 1])) - tau) < 0.4


@pytest.mark.slow
@pytest.mark.parametrize("family", DRAWN)
def test_the_density_is_that_of_the_draws_and_integrates_to_one(family: str) -> None:
    posterior = quick(lambda x: -(x - 5.0).square().square().sum(1), family, dims=1, location=5.0)
    grid = np.linspace(0.0, 10.0, 2001)
    density = np.exp(posterior.log_prob(grid[:, None]))
    assert abs(np.trapezoid(density, grid) - 1.0) < 1e-3
    below = np.trapezoid(density[:1001], grid[:1001])
    assert abs((posterior.sample(4000, random_state=0) < 5.0).mean() - below) < 0.03


@pytest.mark.slow
def test_a_fit_is_a_function_of_its_seed_and_draws_of_theirs() -> None:
    one, again, other = (quick(standard, seed=seed, steps=51) for seed in (0, 0, 1))
    assert np.array_equal(one.sample(5, random_state=0), again.sample(5, random_state=0))
    assert one.elbo == again.elbo != other.elbo and len(one.history) == 2
    assert not np.array_equal(one.sample(5, random_state=0), one.sample(5, random_state=1))
    assert np.array_equal(one.importance().log_ratios, one.importance().log_ratios)


@pytest.mark.slow
def test_location_and_scale_are_where_it_starts() -> None:
    far = quick(lambda x: standard((x - torch.tensor([1e4, -3.0])) / 100), location=[1e4, 0.0], scale=100.0)
    assert abs(far.sample(2000, random_state=0).mean(0) - [1e4, -3.0]).max() < 30.0
    assert abs(far.elbo - math.log(2 * math.pi * 1e4)) < 0.3


def test_float32_is_what_log_density_is_given_if_asked_for() -> None:
    seen = set()

    def log_density(x: Tensor) -> Tensor:
        seen.add(x.dtype)
        return standard(x)

    quick(log_density, dtype="float32", steps=1)
    assert seen == {torch.float32}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"family": "maf"}, "family maf is slow to draw from: use one of .*realnvp"),
        ({"family": "none"}, "family must be one of"),
        ({"dims": 0}, "dims must be a whole number of at least 1, not 0"),
        ({"scale": -1.0}, "scale must be above 0, not -1"),
        ({"location": [0.0, 1.0, 2.0]}, "location must be a finite number, or 2 of them"),
        ({"steps": 0}, "steps must be from 1"),
    ],
)
def test_impossible_arguments_are_one_sentence(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        quick(standard, **wrong)


@pytest.mark.parametrize(
    ("log_density", "said"),
    [
        (lambda x: x, r"must give a tensor of shape \(64,\), not \(64, 2\)"),
        (lambda x: 0.0, r"must give a tensor of shape \(64,\), not float"),
        (lambda x: standard(x).detach(), "log_density has no gradient"),
        (lambda x: standard(x) / 0.0, "log_density is not finite at draws around the given location"),
    ],
)
def test_a_log_density_that_is_none_is_refused(log_density: Callable[[Tensor], Any], said: str) -> None:
    with pytest.raises(DensityError, match=said):
        quick(log_density)


@pytest.mark.slow
def test_a_bound_that_becomes_nan_stops_the_fit() -> None:
    calls = iter(range(1000))
    with pytest.raises(TrainingError, match=r"diverged before step 50: try a lower lr than 0\.03"):
        quick(lambda x: standard(x) * (math.nan if next(calls) > 3 else 1.0))


def test_draws_need_a_number() -> None:
    with pytest.raises(DensityError, match="n_samples must be at least 1, not 0"):
        quick(standard, steps=1).sample(0)
