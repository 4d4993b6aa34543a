"""Continuous flows by an estimate, and by matching: trained by less than the likelihood, scored by all of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flowvocoder.density import FlowDensity
from flowvocoder.errors import ConfigError

WAYS: dict[str, dict[str, Any]] = {
    "hutchinson": {"trace": "hutchinson", "steps": 100},
    "flow matching": {"objective": "flow-matching", "steps": 150},
}


def islands(n: int, seed: int = 0) -> np.ndarray:
    """Two, in one column."""
    generator = np.random.default_rng(seed)
    return 0.3 * generator.standard_normal((n, 1)) + np.sign(generator.standard_normal((n, 1)))


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_what_is_learned_is_a_density_and_better_than_a_gaussian(way: str, tmp_path: Path) -> None:
    rows, new = islands(1000), islands(500, seed=1)
    density = FlowDensity("cnf", hidden=32, batch=100, lr=1e-2, progress=False, **WAYS[way]).fit(rows)
    axis = np.linspace(-6, 6, 301)[:, None]
    assert abs(np.trapezoid(np.exp(density.score_samples(axis)), axis[:, 0]) - 1.0) < 1e-3
    gaussian = -0.5 * np.log(2 * np.pi * np.e * new.var())
    assert density.score(new) > gaussian + 0.15
    assert np.abs(density.inverse_transform(density.transform(new)) - new).max() < 1e-3
    assert max(state.held_out for state in density.history_) > gaussian + 0.15  # nats, whatever was trained by
    density.save(tmp_path / "density")
    assert np.array_equal(FlowDensity.load(tmp_path / "density").score_samples(new), density.score_samples(new))


@pytest.mark.parametrize("way", WAYS)
def test_they_are_a_function_of_the_seed(way: str) -> None:
    state = torch.random.get_rng_state()
    fits = [FlowDensity("cnf", hidden=8, seed=seed, **{**WAYS[way], "steps": 3}).fit(islands(50)) for seed in (0, 0, 1)]
    scores = [fit.score_samples(islands(50)) for fit in fits]
    assert np.array_equal(scores[0], scores[1]) and not np.array_equal(scores[0], scores[2])
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"family": "glow", "trace": "hutchinson"}, "settings of cnf: glow has its likelihood by a formula"),
        ({"family": "nice", "objective": "flow-matching"}, "settings of cnf: nice has"),
        ({"objective": "flow-matching", "layers": 2}, "trains one layer of cnf, not 2"),
        ({"objective": "flow-matching", "trace": "hutchinson"}, "needs no divergence"),
        ({"objective": "score"}, "objective must be one of likelihood, flow-matching"),
    ],
)
def test_what_does_not_go_together_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        FlowDensity(**{"family": "cnf", **options}).fit(islands(50))
    assert "\n" not in str(error.value)
