"""How a flow is fitted."""

import pytest
import torch

from flowvocoder.density.builders import build
from flowvocoder.density.families import settings_of
from flowvocoder.density.training import EVERY, Rows, train
from flowvocoder.errors import TrainingError


def test_a_fit_that_diverges_says_so() -> None:
    settings = settings_of({"family": "realnvp", "layers": 1, "hidden": 4, "steps": 2 * EVERY})
    model = build(settings, 2, 0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(float("inf"))
    rows = Rows(torch.randn(20, 2, 1), torch.zeros(20, 0, 1), torch.ones(20))
    with pytest.raises(TrainingError, match=f"diverged before step {EVERY}: try a lower lr than 0.003"):
        list(train(model, rows, rows, torch.zeros(2, 1), settings))
