"""Densities beside each other: known sets, one budget, a table that says what was found."""

import dataclasses
import json
import time
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from flowvocoder.density import FlowDensity
from flowvocoder.density.comparison import Budget, compare, entrants, missing, steps_within, summary, width_for
from flowvocoder.density.comparison_report import Compared, table, write_plot, write_results
from flowvocoder.density.peers import PEERS, PeerDensity
from flowvocoder.density.sets import SETS, Mixture, data_set
from flowvocoder.errors import ConfigError, DensityError

QUICK = Budget(steps=3, parameters=500, seeds=(0, 1))


@pytest.mark.parametrize("name", [*SETS, "digits", "wine"])
def test_sets_are_drawn_by_their_seed_in_two_parts(name: str) -> None:
    one, two, other = (data_set(name, 50, seed) for seed in (0, 0, 1))
    assert np.array_equal(one.fit, two.fit) and not np.array_equal(one.fit, other.fit)
    assert one.fit.shape[1] == one.test.shape[1] and len(one.fit) == 50
    assert not (one.fit[:, None] == one.test[None]).all(2).any()


def test_a_column_that_is_constant_is_as_wide_as_its_noise() -> None:
    digits = data_set("digits", 200)
    assert (digits.fit.std(0) == 0).any() and digits.scale.min() == pytest.approx(1 / np.sqrt(12))
    assert np.allclose(data_set("wine", 100).scale, data_set("wine", 100).fit.std(0))


def test_a_mixture_knows_its_density() -> None:
    mixture = Mixture.of(2)
    x = mixture.draw(20, np.random.default_rng(0))
    each = [stats.multivariate_normal(m, f @ f.T).pdf(x) for m, f in zip(*mixture, strict=True)]
    assert np.allclose(mixture.log_prob(x), np.log(np.mean(each, 0)))


def test_the_checkerboard_lies_on_its_squares_and_the_ring_on_its_modes() -> None:
    x = data_set("checkerboard", 500).fit
    assert (np.floor(x).sum(1) % 2 == 0).all() and np.abs(x).max() <= 2
    ring = data_set("ring-of-eight", 500)
    assert ring.centres is not None
    nearest = np.linalg.norm(ring.fit[:, None] - ring.centres, axis=2).min(1)
    assert nearest.max() < ring.radius


def test_mel_frames_of_a_folder(tmp_path: Path) -> None:
    examples = Path(__file__).parents[2] / "flowvocoder" / "examples"
    data = data_set(f"mel:{examples}", 100)
    assert data.fit.shape == (100, 80) and np.isfinite(data.fit).all()
    with pytest.raises(DensityError, match="no recordings"):
        data_set(f"mel:{tmp_path}")
    with pytest.raises(DensityError, match="no data set 'moon': one of two-moons"):
        data_set("moon")


@pytest.mark.parametrize("family", PEERS)
def test_peers_score_invert_and_integrate(family: str) -> None:
    pytest.importorskip(family.partition("-")[0])
    x = data_set("two-moons", 60).fit
    peer = PeerDensity(family, layers=2, hidden=8, steps=2, dtype="float64", progress=False).fit(x)
    assert np.abs(peer.inverse_transform(peer.transform(x)) - x).max() < 1e-6
    axis = np.linspace(-8, 8, 161)
    grid = np.stack(np.meshgrid(axis, axis), 2).reshape(-1, 2)
    assert abs(np.exp(peer.score_samples(grid)).sum() * 0.1**2 - 1) < 0.02
    if family.endswith("nice"):
        volume = peer.score_samples(x) + np.square(peer.transform(x)).sum(1) / 2
        assert np.ptp(volume) < 1e-9, "additive couplings keep volume"


@pytest.mark.slow
def test_widths_meet_the_number_of_parameters() -> None:
    budget = dataclasses.replace(QUICK, parameters=2000)
    for name in ("realnvp", "maf", "vae", "gan"):
        width = width_for(name, 4, 5000)
        row = next(compare(data_set("mixture-8", 20), [(name, 0)], budget))
        assert 4 < width < 200 and 0.8 < row["parameters"] / budget.parameters < 1.25, name


@pytest.mark.slow
def test_minutes_become_the_steps_that_a_model_does_in_them(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([1.0, 3.0])  # fifty steps in two seconds
    monkeypatch.setattr(time, "process_time", lambda: next(clock))
    model = FlowDensity("nice", layers=1, hidden=4, batch=16, steps=7, progress=False)
    assert steps_within(10.0, model, data_set("two-moons", 40).fit) == 250 and model.steps == 7


@pytest.mark.thorough
@pytest.mark.slow
def test_a_comparison_becomes_a_report(tmp_path: Path) -> None:
    data = data_set("ring-of-eight", 100)
    names = ["realnvp", "vae", "gan", "autoregressive"]
    rows = list(compare(data, missing(names, QUICK), QUICK))
    assert [(row["model"], row["seed"]) for row in rows] == [(name, seed) for seed in (0, 1) for name in names]
    rows.append({"model": "realnvp", "seed": 2, "parameters": 500, "error": "diverged"})
    compared = [Compared.of("ring-of-eight", data)._replace(rows=rows), Compared.of("not begun", data)]
    write_results(tmp_path / "report", compared, QUICK)
    write_plot(tmp_path / "report", compared)
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"report.md", "results.json", "plot.png"}
    text = (tmp_path / "report" / "report.md").read_text()
    gan = next(line for line in text.splitlines() if line.startswith("| gan"))
    assert "3 seeds" in text and "not begun" not in text
    assert "realnvp (1 diverged)" in text and "truth -0.3" in text and "| - |" in gan and "| ≥ " in text
    assert json.loads((tmp_path / "report" / "results.json").read_text())["budget"]["steps"] == 3


def test_the_table_has_mean_and_spread_and_the_best_first() -> None:
    rows = [
        {"model": name, "seed": seed, "nats": nats + seed} for name, nats in (("a", 0.0), ("b", 5.0)) for seed in (0, 1)
    ]
    assert summary(rows)["b"]["nats"] == (5.5, 0.5)
    lines = table(Compared("x", "", None, rows)).splitlines()
    assert lines[4] == "| b | 5.500 ± 0.500 |" and lines[5].startswith("| a ")


@pytest.mark.slow
def test_only_numbers_that_a_convolution_reads_are_parameters() -> None:
    """W of a layer has C^2 numbers in all factors, though two C x C matrices hold them."""
    data, budget = data_set("mixture-8", 20), dataclasses.replace(QUICK, steps=1)
    row = next(compare(data, [("glow", 0)], budget))
    (glow,) = [FlowDensity("glow", hidden=width_for("glow", 8, budget.parameters)).built(8)]
    assert sum(p.numel() for p in glow.parameters()) - row["parameters"] == 8 * (8 * 8 + 8)


def test_names_are_checked_before_the_work() -> None:
    assert entrants(["nice"], ["zuko"])[:2] == ["nice", "zuko-nice"] and "vae" in entrants(["all"])
    with pytest.raises(ConfigError, match="peers must be of zuko, normflows, not 'pyro'"):
        entrants(["nice"], ["pyro"])
    with pytest.raises(ConfigError, match=r"family must be one of all, .*, not 'moon'"):
        entrants(["moon"])
