"""How a flow is fitted."""

import pytest
import torch

from flowvocoder.density.builders import build
from flowvocoder.density.families import settings_of
from flowvocoder.density.training import EVERY, Rows, train
from flowvocoder.errors import TrainingError


def test_layers_that_normalise_start_by_weights() -> None:
    """Rows at -1 count a thousand times as much as those at 1, so the first shift is 1 and not 0."""
    settings = settings_of({"family": "realnvp", "layers": 1, "hidden": 4, "steps": 1, "lr": 1e-8})
    x = 0.01 * torch.randn(400, 2, 1) + torch.tensor([-1.0, 1.0]).repeat_interleave(200)[:, None, None]
    rows = Rows(x, torch.zeros(400, 0, 1), torch.tensor([1.0, 1e-3]).repeat_interleave(200))
    model = build(settings, 2, 0)
    list(train(model, rows, rows, torch.zeros(2, 1), settings))
    assert (model.flow.layers[0].shift - 1.0).abs().max() < 0.05


def test_more_rows_are_shown_for_longer() -> None:
    by_rows = settings_of({"family": "nice", "batch": 512})
    assert [by_rows.steps_for(rows) for rows in (100, 8000, 50_000, 10**7)] == [800, 800, 1757, 5000]
    assert settings_of({"family": "nice", "batch": 512, "steps": 7}).steps_for(10**7) == 7


def test_a_fit_that_diverges_says_so() -> None:
    settings = settings_of({"family": "realnvp", "layers": 1, "hidden": 4, "steps": 2 * EVERY})
    model = build(settings, 2, 0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(float("inf"))
    rows = Rows(torch.randn(20, 2, 1), torch.zeros(20, 0, 1), torch.ones(20))
    with pytest.raises(TrainingError, match=f"diverged before step {EVERY}: try a lower lr than 0.003"):
        list(train(model, rows, rows, torch.zeros(2, 1), settings))
