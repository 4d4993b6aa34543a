"""Autocorrelation against its definition, and the pitch period of known signals."""

import math

import numpy as np
import pytest
import torch

from flowvocoder.audio.periodicity import autocorrelation, correlation_near, lag_range, pitch_periods
from flowvocoder.flows.pitch import fractional_lag


def test_autocorrelation_is_that_of_the_definition() -> None:
    frames = np.random.default_rng(0).standard_normal((2, 3, 90))
    window, lags = 50, 41
    first = frames[..., :window]
    got = autocorrelation(torch.from_numpy(frames), window).numpy()
    assert got.shape == (2, 3, lags)
    for lag in range(lags):
        later = frames[..., lag : lag + window]
        norms = np.linalg.norm(first, axis=-1) * np.linalg.norm(later, axis=-1)
        assert np.abs(got[..., lag] - (first * later).sum(-1) / norms).max() < 1e-11


@pytest.mark.parametrize("axis", [1, 2])
def test_a_fractional_lag_is_the_centre_of_mass_around_the_peak(axis: int) -> None:
    """At both ends of the range, lags beyond it count as the last one."""
    logits = 4 * torch.randn(2, 30, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logits[0, 0], logits[1, 29] = 20.0, 20.0
    p, expected = torch.softmax(logits, 1), torch.zeros(2, 7, dtype=torch.float64)
    for item, column in np.ndindex(2, 7):
        near = (int(p[item, :, column].argmax()) + np.arange(-4, 5)).clip(0, 29)
        mass = p[item, near, column]
        expected[item, column] = (mass * torch.from_numpy(near)).sum() / mass.sum() + 60
    given = logits if axis == 1 else logits.mT
    assert (fractional_lag(given, 60, axis=axis) - expected).abs().max() < 1e-12


def test_silence_correlates_with_nothing() -> None:
    sine = torch.sin(2 * torch.pi * torch.arange(400) / 20)
    assert autocorrelation(1e-6 * sine, 200).abs().max() < 1e-3 < 0.99 < autocorrelation(1e-2 * sine, 200)[20]


def test_correlation_near_a_lag_is_the_best_one_within_reach() -> None:
    x = np.random.default_rng(1).standard_normal(300)
    x[130:155] = 3.0 * x[100:125] + 5.0  # 30 samples later the same, louder and shifted
    frames = torch.from_numpy(x[100:])[None, None, None]
    for lag, reach, found in ((30, 0, True), (31, 1, True), (32, 1, False), (28, 2, True)):
        value = float(correlation_near(frames, torch.tensor([[lag]]), 25, reach))
        assert (value > 1 - 1e-9) == found, (lag, reach)
    straight = np.corrcoef(x[100:125], x[110:135])[0, 1]
    assert float(correlation_near(frames, torch.tensor([[10]]), 25, 0)) == pytest.approx(straight)


@pytest.mark.parametrize("period", [80.0, 100.4, 220.0])
def test_the_pitch_period_is_found(period: float) -> None:
    low, high = lag_range(22050)
    time = torch.arange(22016) / period
    audio = sum(torch.cos(2 * math.pi * h * time + h) / h for h in range(1, 8))[None]
    target, weight = pitch_periods(audio, low, high, blocks=172)
    inner = slice(10, 160)
    lag = fractional_lag(target.clamp_min(1e-30).log(), low)[0, inner]
    assert torch.allclose(target.sum(1), torch.ones(1, 172), atol=1e-4)
    assert (lag - period).abs().max() < 0.3
    assert weight[0, inner].min() > 0.9


def test_noise_has_little_weight() -> None:
    noise = torch.randn(1, 22016, generator=torch.Generator().manual_seed(0))
    assert pitch_periods(noise, *lag_range(22050), blocks=172)[1].mean() < 0.05
