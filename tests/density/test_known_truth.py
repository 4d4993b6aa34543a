"""Default settings find a density that is known."""

import numpy as np
import pytest

from flowvocoder.density import FlowDensity
from flowvocoder.density.sets import Mixture


@pytest.mark.thorough
@pytest.mark.slow
def test_a_mixture_of_gaussians_is_found() -> None:
    truth, generator = Mixture.of(2), np.random.default_rng(0)
    rows, new = truth.draw(8000, generator), truth.draw(20_000, generator)
    missing = truth.log_prob(new).mean() - FlowDensity("nsf-ar").fit(rows).score(new)
    assert -0.01 < missing < 0.02
