"""The script behind docs/results/density.md."""

from pathlib import Path

import pytest
from helpers import docs_script


@pytest.mark.thorough
@pytest.mark.slow
def test_the_table_has_a_row_for_each_family(tmp_path: Path) -> None:
    sizes = ["--dims", "1", "2", "--rows", "200", "--test-rows", "100"]
    docs_script("density").main(["--families", "realnvp", *sizes, "--out", str(tmp_path / "t.md")])
    head, _, row = (tmp_path / "t.md").read_text().splitlines()
    assert head.startswith("| family | 1-D: nats below the truth | s | 2-D") and row.startswith("| `realnvp` |")
