"""Fits for the demo's page, without the page: their limits, what they end with, and their plots."""

import functools
from typing import Any

import numpy as np
import pytest

from flowvocoder.demo import fitting, panels
from flowvocoder.demo.canvas import Look
from flowvocoder.demo.fitting import Fitted, fit
from flowvocoder.density import FlowDensity
from flowvocoder.errors import ConfigError


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    density = functools.partial(FlowDensity, layers=1, hidden=8, batch=64)
    monkeypatch.setattr(fitting, "FlowDensity", density)
    monkeypatch.setattr(fitting, "QUICK", {"layers": 1, "hidden": 8})


@pytest.fixture(params=["ring-of-eight", "swiss-roll"])
def fitted(request: pytest.FixtureRequest) -> Fitted:
    return next(fit("nsf-c", request.param, 200, 50, 0))


@pytest.mark.slow
def test_each_state_is_its_own() -> None:
    first, second = fit("realnvp", "rings", 200, 100, 3)
    assert (first.last.step, second.last.step) == (50, 100)
    assert not first.ending and second.ending == "All 100 steps are done."
    assert first.data.truth is None and first.rows.shape == (200, 2) and first.seconds < second.seconds
    whole = FlowDensity("realnvp", layers=1, hidden=8, batch=64, steps=100, seed=3, progress=False).fit(first.rows)
    assert np.array_equal(second.density.score_samples(first.rows), whole.score_samples(first.rows))
    assert len(first.density.history_) == 1 and second.best == max(state.held_out for state in whole.history_)
    assert first.density.score(first.rows) < second.density.score(first.rows), "the first has not moved on"


def test_a_fit_ends_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "MOST_SECONDS", 0.0)
    (only,) = fit("realnvp", "spiral", 200, fitting.MOST_STEPS, 0)
    assert only.last.step == 50 and only.ending == "0 seconds are over."


@pytest.mark.slow
def test_a_fit_ends_where_nothing_is_gained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        fitting, "FlowDensity", functools.partial(FlowDensity, layers=1, hidden=64, lr=0.05, patience=1)
    )
    *_, last = fit("nsf-c", "two-moons", 200, fitting.MOST_STEPS, 0)
    assert last.last.step < fitting.MOST_STEPS and last.ending == "No gain on the held-out rows for 50 steps."


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"family": "gan"}, "family must be one of"),
        ({"name": "/etc/passwd.csv"}, "there is no set"),
        ({"name": "mel:/"}, "there is no set"),
        ({"rows": 1e9}, "from 200 to 5000"),
        ({"rows": 200.5}, "whole number"),
        ({"steps": 2001}, "from 50 to 2000"),
        ({"steps": float("nan")}, "whole number"),
        ({"seed": -1}, "the seed"),
    ],
)
def test_what_is_out_of_limits_is_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        next(fit(**{"family": "nsf-c", "name": "rings", "rows": 200, "steps": 50, "seed": 0, **given}))


@pytest.mark.slow
def test_digits_are_images_for_those_that_see_some() -> None:
    glow, maf = (next(fit(family, "digits", 200, 50, 0)) for family in ("glow", "maf"))
    assert glow.density.shape == (1, 8, 8) and maf.density.shape is None
    ways = panels.between(glow.density, glow.rows[:8], glow.rows[8:16])
    assert np.abs(ways[::8] - glow.rows[:8]).max() < 0.01 and np.abs(ways[7::8] - glow.rows[8:16]).max() < 0.01
    for fitted in (glow, maf):
        samples, look = fitted.density.sample(64, random_state=0), Look(narrow=True, dark=True)
        fitting_plot, plot = panels.fit_plot(fitted, look), panels.sample_plot(fitted, samples, look)
        assert fitting_plot.shape[1] == 774 and plot.shape[0] > plot.shape[1], "two rows of two"
        assert plot[0, 0].max() < 64 and np.ptp(plot[60:360, 40:360]) > 150, "light digits on a dark ground"


@pytest.mark.slow
def test_plots_follow_the_page(fitted: Fitted) -> None:
    samples = fitted.density.sample(50, random_state=0)
    desk, phone = panels.fit_plot(fitted, Look()), panels.fit_plot(fitted, Look(narrow=True, dark=True))
    assert desk.shape[1] == 1248 and phone.shape[1] == 774
    assert desk[0, 0].tolist() == [255] * 3 and phone[0, 0].max() < 64
    assert phone.shape[0] > phone.shape[1], "the nats have a row of their own"
    rows = 2 if fitted.rows.shape[1] == 2 else 1  # no grid in space
    assert panels.sample_plot(fitted, samples, Look()).shape[0] == pytest.approx(420 * rows, rel=0.1)
