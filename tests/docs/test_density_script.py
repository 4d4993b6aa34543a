"""The script behind docs/results/density.md."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

SCRIPT = Path(__file__).parents[2] / "docs" / "scripts" / "density.py"


@pytest.fixture(scope="module")
def script() -> object:
    spec = importlib.util.spec_from_file_location("density_script", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(SCRIPT.parent))  # it imports its neighbour
    spec.loader.exec_module(module)
    sys.path.remove(str(SCRIPT.parent))
    return module


def test_the_truth_is_the_density_of_the_mixture(script: object) -> None:
    truth = script.mixture(3, seed=0)  # type: ignore[attr-defined]
    x = truth.sample(50)[0]
    parts = [
        multivariate_normal(mean, covariance).logpdf(x)
        for mean, covariance in zip(truth.means_, truth.covariances_, strict=True)
    ]
    assert np.allclose(truth.score_samples(x), logsumexp(np.array(parts).T + np.log(truth.weights_), axis=1))


@pytest.mark.slow
def test_the_table_has_a_row_for_each_family(script: object, tmp_path: Path) -> None:
    sizes = ["--dims", "1", "2", "--rows", "200", "--test-rows", "100"]
    script.main(["--families", "realnvp", *sizes, "--out", str(tmp_path / "t.md")])  # type: ignore[attr-defined]
    head, _, row = (tmp_path / "t.md").read_text().splitlines()
    assert head.startswith("| family | 1-D: nats below the truth | s | 2-D") and row.startswith("| `realnvp` |")
