"""Importance sampling with Pareto-smoothed weights, which also say how far an approximation can be trusted.

Vehtari, Simpson, Gelman, Yao and Gabry 2024, Pareto smoothed importance sampling, arXiv:1507.02646. The generalised
Pareto distribution is fitted as in Zhang and Stephens 2009, doi:10.1198/tech.2009.08017.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

TRUSTED = 0.7
"""Above this k-hat, estimates are not to be relied on, however many draws there are."""

FEWEST_IN_TAIL = 5
"""Weights that a Pareto distribution is fitted to at least; below this nothing is smoothed and k-hat is infinite."""


@dataclasses.dataclass(frozen=True)
class Importance:
    """Draws from an approximation q of a density p, weighted so that they stand for p.

    Attributes:
        draws: (N, D), of q.
        log_ratios: (N,), log p - log q in nats as they are, p without its constant.
        weights: (N,), smoothed; their sum is 1.
        k_hat: shape of the Pareto tail of the ratios. Below .7 estimates can be trusted, above they cannot.
        log_evidence: log of the constant that p lacks, in nats.
    """

    draws: np.ndarray
    log_ratios: np.ndarray
    weights: np.ndarray
    k_hat: float
    log_evidence: float

    @classmethod
    def of(cls, draws: np.ndarray, log_ratios: np.ndarray) -> "Importance":
        """Smooths the ratios, which are not NaN, and not all -inf."""
        smoothed, k_hat = smooth(log_ratios)
        total = _log_sum(smoothed)
        return cls(draws, log_ratios, np.exp(smoothed - total), k_hat, total - math.log(len(draws)))

    @property
    def effective_sample_size(self) -> float:
        """How many draws from p itself would be worth as much: 1 to N."""
        return float(1.0 / np.square(self.weights).sum())

    def expectation(self, function: Callable[[np.ndarray], np.ndarray] = lambda draws: draws) -> np.ndarray:
        """Self-normalised estimate of the mean of `function` under p, by default of the parameters.

        Args:
            function: of draws (N, D) to (N,) or (N, M).
        """
        return np.asarray(self.weights @ np.asarray(function(self.draws)))


def smooth(log_ratios: np.ndarray) -> tuple[np.ndarray, float]:
    """Log-ratios (N,) with the largest replaced by quantiles of the fitted Pareto distribution, and its k-hat.

    >>> ratios = np.random.default_rng(0).standard_normal(1000)  # log-normal: all moments are finite
    >>> smooth(ratios)[1] < 0.5
    True
    """
    count = len(log_ratios)
    tail = int(min(0.2 * count, 3.0 * math.sqrt(count)))
    if tail < FEWEST_IN_TAIL:
        return log_ratios, math.inf
    order, top = np.argsort(log_ratios), log_ratios.max()
    largest = order[count - tail :]
    ratios = np.exp(log_ratios - top)
    threshold = ratios[order[count - tail - 1]]
    beyond = ratios[largest] - threshold
    if beyond[-1] <= 0 or not beyond[round(tail / 4)]:  # equal ratios have no tail
        return log_ratios, -math.inf
    k, scale = fit_pareto(beyond)
    quantiles = pareto_quantiles((np.arange(tail) + 0.5) / tail, k, scale)
    smoothed = log_ratios.copy()
    smoothed[largest] = np.minimum(np.log(threshold + quantiles), 0.0) + top
    return smoothed, k


def fit_pareto(beyond: np.ndarray) -> tuple[float, float]:
    """Shape k and scale of the generalised Pareto distribution of values (N,) above 0, in rising order.

    k is drawn to 0.5 as by ten observations, which steadies it where there are few.
    """
    count = len(beyond)
    points = 30 + int(math.sqrt(count))
    quartile = beyond[int(count / 4 + 0.5) - 1]
    # -k / scale, on a grid that follows the prior of Zhang and Stephens.
    ratio = 1.0 / beyond[-1] + (1.0 - np.sqrt(points / (np.arange(points) + 0.5))) / (3.0 * quartile)
    shape = np.log1p(-ratio[:, None] * beyond).mean(1)
    likelihood = count * (np.log(-ratio / shape) - shape - 1.0)
    posterior = np.exp(likelihood - _log_sum(likelihood))
    mean = float(posterior @ ratio)
    k = float(np.log1p(-mean * beyond).mean())
    return (count * k + 5.0) / (count + 10.0), -k / mean


def pareto_quantiles(probability: np.ndarray, k: float, scale: float) -> np.ndarray:
    """Where the distribution function of a generalised Pareto distribution has these values."""
    logs = -np.log1p(-probability)
    return scale * (logs if abs(k) < 1e-12 else np.expm1(k * logs) / k)


def _log_sum(logs: np.ndarray) -> float:
    top = logs.max()
    return float(top + np.log(np.exp(logs - top).sum()))
