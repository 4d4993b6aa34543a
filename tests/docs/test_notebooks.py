"""Notebooks run from their first cell to their last, and hold what they plotted."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from flowvocoder.adapt.plan import STAGES

matplotlib = pytest.importorskip("matplotlib")
pytest.importorskip("IPython")
pytestmark = pytest.mark.slow

NOTEBOOKS = Path(__file__).parents[2] / "docs" / "notebooks"
CHEAP: dict[str, dict[str, Any]] = {
    "first-ten-minutes": {"seconds": 1.0},
    "train-your-voice": {"minutes": 0.001, "sentences": 4},
    "likelihood-and-latents": {"seconds": 1.0},
    "flow-family": {"families": ["realnvp", "nsf-c"], "steps": 20, "pixels": 10},
}


def test_every_notebook_is_tried() -> None:
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == set(CHEAP)


def with_little_work(patch: pytest.MonkeyPatch) -> None:
    """Batches of one short segment, and two validations."""
    patch.setattr("flowvocoder.adapt.plan.BATCH", 1)
    patch.setattr("flowvocoder.adapt.plan.VALIDATIONS", 2)
    patch.setitem(STAGES, "flow", dataclasses.replace(STAGES["flow"], preset="lapglow-tiny"))


@pytest.mark.parametrize("name", CHEAP)
def test_a_notebook_runs(
    name: str, tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, thorough: bool
) -> None:
    """With small numbers after the cell of its parameters; with all of them in `make thorough`."""
    path = NOTEBOOKS / f"{name}.ipynb"
    assert path.stat().st_size < 500_000, "docs/scripts/notebooks.py keeps plots small"
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert sum("image/jpeg" in o.get("data", {}) for cell in cells for o in cell["outputs"]) >= 2
    if name == "train-your-voice":
        pytest.importorskip("hibari")
        if not thorough:
            with_little_work(monkeypatch)
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for number, cell in enumerate(cells):
        exec(compile("".join(cell["source"]), f"{path.name}, cell {number}", "exec"), names)
        if "parameters" in cell["metadata"].get("tags", []) and not thorough:
            names.update(CHEAP[name], **({"start": str(checkpoint)} if "start" in names else {}))
    figures = len(matplotlib.pyplot.get_fignums())
    matplotlib.pyplot.close("all")
    assert figures >= 2
