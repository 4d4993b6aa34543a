"""Default settings find a density that is known."""

import numpy as np
import pytest

from flowvocoder.density import FlowDensity
from flowvocoder.density.sets import Mixture


@pytest.mark.slow
@pytest.mark.parametrize(("family", "dims", "nats"), [("nsf-ar", 2, 0.02), ("nsf-c", 8, 0.1)])
def test_a_mixture_of_gaussians_is_found(family: str, dims: int, nats: float) -> None:
    truth, generator = Mixture.of(dims), np.random.default_rng(0)
    rows, new = truth.draw(8000, generator), truth.draw(20_000, generator)
    missing = truth.log_prob(new).mean() - FlowDensity(family).fit(rows).score(new)
    print(f"{family} in {dims} dimensions is {missing:.4f} nats below the truth")
    assert -0.01 < missing < nats
