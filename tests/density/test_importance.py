"""Pareto-smoothed importance sampling where the tail and the answer are known."""

import math

import numpy as np
import pytest
from scipy import stats

from flowvocoder.density.importance import TRUSTED, Importance, fit_pareto, pareto_quantiles, smooth


def ratios_of(width: float, n: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Draws (n, 1) of a Gaussian of some width, and their log-ratios to the standard one."""
    x = width * np.random.default_rng(0).standard_normal(n)
    return x[:, None], stats.norm.logpdf(x) - stats.norm.logpdf(x, scale=width)


@pytest.mark.parametrize("k", [-0.3, 0.0, 0.2, 0.5, 0.9])
def test_the_fit_finds_the_shape_and_scale_of_scipys_distribution(k: float) -> None:
    values = np.sort(stats.genpareto.rvs(k, scale=2.0, size=20_000, random_state=0))
    found, scale = fit_pareto(values)
    assert abs(found - k) < 0.03 and abs(scale - 2.0) < 0.1


@pytest.mark.parametrize("k", [-0.3, 0.0, 0.5])
def test_quantiles_are_scipys(k: float) -> None:
    p = np.array([0.01, 0.5, 0.999])
    assert np.allclose(pareto_quantiles(p, k, 2.0), stats.genpareto.ppf(p, k, scale=2.0), rtol=1e-12)


@pytest.mark.parametrize("width", [0.3, 0.5, 0.7])
def test_k_hat_of_a_narrow_gaussian(width: float) -> None:
    """The ratio's tail index is 1 - width^2."""
    k_hat = Importance.of(*ratios_of(width)).k_hat
    assert abs(k_hat - (1.0 - width**2)) < 0.15


def test_a_good_proposal_gives_moments_and_evidence() -> None:
    draws, log_ratios = ratios_of(1.3)
    found = Importance.of(draws, log_ratios + 5.0)
    assert found.k_hat < 0.5 and 0.8 * len(draws) < found.effective_sample_size < len(draws)
    assert abs(found.log_evidence - 5.0) < 0.02
    assert abs(found.expectation()[0]) < 0.02
    assert abs(found.expectation(lambda x: np.square(x[:, 0])) - 1.0) < 0.04


def test_a_proposal_that_misses_the_tails_is_not_to_be_trusted() -> None:
    found = Importance.of(*ratios_of(0.3))
    assert found.k_hat > TRUSTED and found.effective_sample_size < 500


def test_smoothing_changes_only_the_tail_keeps_its_order_and_adds_no_larger_ratio() -> None:
    _, log_ratios = ratios_of(0.5, 1000)
    smoothed, _ = smooth(log_ratios)
    tail = int(3 * math.sqrt(1000))
    order = np.argsort(log_ratios)
    assert np.array_equal(smoothed[order[:-tail]], log_ratios[order[:-tail]])
    assert (np.diff(smoothed[order]) >= 0).all() and smoothed.max() <= log_ratios.max()
    assert not np.array_equal(smoothed, log_ratios)


def test_equal_ratios_weigh_the_same_and_have_no_tail() -> None:
    found = Importance.of(np.zeros((100, 1)), np.full(100, 7.0))
    assert found.k_hat == -math.inf and math.isclose(found.effective_sample_size, 100.0)
    assert math.isclose(found.log_evidence, 7.0)


def test_too_few_draws_have_no_tail_to_judge() -> None:
    assert Importance.of(*ratios_of(1.0, 20)).k_hat == math.inf


def test_draws_that_cannot_be_weigh_nothing() -> None:
    draws, log_ratios = ratios_of(1.3, 1000)
    log_ratios[:500] = -math.inf
    found = Importance.of(draws, log_ratios)
    assert (found.weights[:500] == 0).all() and math.isclose(found.weights.sum(), 1.0)
