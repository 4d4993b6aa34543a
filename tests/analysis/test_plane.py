"""A density in the plane, as pictures show it."""

import numpy as np
import pytest

from flowvocoder.analysis.plane import LINES, POINTS, REACH, box_around, density_on_grid, grid_through_layers
from flowvocoder.density import FlowDensity


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal((300, 3))
    return noise @ np.array([[1.0, 0.5, 0.0], [0.0, 0.3, 0.0], [0.0, 0.0, 2.0]]) + [5.0, -1.0, 3.0]


def fitted(rows: np.ndarray, family: str = "realnvp") -> FlowDensity:
    return FlowDensity(family, layers=2, hidden=8, steps=20, lr=0.05, progress=False).fit(rows)


def test_densities_lie_where_they_belong_and_sum_to_one(rows: np.ndarray) -> None:
    density = fitted(rows[:, :2])
    box = box_around(rows[:, :2], 1.5)
    assert box[1] - box[0] == pytest.approx(box[3] - box[2])
    assert (np.abs(rows[:, :2] - rows[:, :2].mean(0)).max() < (box[1] - box[0]) / 2).all()
    values = density_on_grid(density, box, rows[:, :2].mean(0), 80)
    x, y = np.linspace(*box[:2], 80)[50], np.linspace(*box[2:], 80)[45]
    assert values[45, 50] == pytest.approx(np.exp(density.score_samples([[x, y]])[0]), rel=1e-5)
    assert values.sum() * ((box[1] - box[0]) / 79) ** 2 == pytest.approx(1.0, abs=0.03)


def test_of_three_columns_a_slice_is_shown(rows: np.ndarray) -> None:
    density, middle = fitted(rows), rows.mean(0)
    values = density_on_grid(density, (4.0, 6.0, 2.0, 4.0), middle, 3, (0, 2))
    assert values[2, 0] == pytest.approx(np.exp(density.score_samples([[4.0, middle[1], 4.0]])[0]), rel=1e-5)


@pytest.mark.parametrize(
    ("family", "stages"), [("realnvp", 4), pytest.param("cnf", 3, marks=pytest.mark.slow), ("maf", 4)]
)
def test_the_grid_ends_where_the_density_decodes_it(rows: np.ndarray, family: str, stages: int) -> None:
    density = fitted(rows[:, :2], family)
    found = grid_through_layers(density)
    assert [stage.done for stage in found] == sorted({stage.done for stage in found}) and len(found) <= stages
    first, last = found[0], found[-1]
    assert first.done == 0 and last.done == last.layers
    assert first.lines.shape == (2, POINTS, 2 * LINES) and np.abs(first.lines).max() == pytest.approx(REACH)
    still = first.lines[0, :, :LINES]
    assert (still == still[0]).all() and len(set(still[0])) == LINES, "half of the lines stand upright"
    decoded = density.inverse_transform(first.lines.reshape(2, -1).T)
    assert np.allclose(last.lines.reshape(2, -1).T, decoded, atol=1e-4)
