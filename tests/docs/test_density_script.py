"""The script behind docs/results/density.md."""

import importlib.util
import sys
from pathlib import Path

import pytest

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


@pytest.mark.thorough
@pytest.mark.slow
def test_the_table_has_a_row_for_each_family(script: object, tmp_path: Path) -> None:
    sizes = ["--dims", "1", "2", "--rows", "200", "--test-rows", "100"]
    script.main(["--families", "realnvp", *sizes, "--out", str(tmp_path / "t.md")])  # type: ignore[attr-defined]
    head, _, row = (tmp_path / "t.md").read_text().splitlines()
    assert head.startswith("| family | 1-D: nats below the truth | s | 2-D") and row.startswith("| `realnvp` |")
