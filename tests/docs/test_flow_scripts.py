"""The scripts behind the pictures and the costs of flows of vectors."""

import sys
from pathlib import Path

import pytest
from helpers import docs_script
from PIL import Image

pytestmark = pytest.mark.slow


def test_every_kind_of_set_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = docs_script("flows_gallery")
    monkeypatch.setattr(gallery, "OUT", tmp_path)
    monkeypatch.setattr(gallery, "ROWS", 60)
    monkeypatch.setattr(gallery, "FAMILIES", ["nsf-c", "planar", "nice", "maf"])
    monkeypatch.setattr(
        sys, "argv", ["flows_gallery.py", "--steps", "1", "two-moons", "swiss-roll", "digits", "families"]
    )
    gallery.main()
    made = {path.stem: Image.open(path).size for path in tmp_path.iterdir()}
    rows = {"two-moons": 2, "swiss-roll": 1, "digits": 1, "families": 2}
    assert set(made) == set(rows)
    for name, number in rows.items():
        width, height = made[name]
        assert width == 1248 and round(4 * height / width) == number, "square panels, four in a row"


def test_costs_are_of_determinants_and_sampling(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    costs = docs_script("density_costs")
    for name, value in (("PARAMETERS", 500), ("ROWS", 5), ("FEATURES", (2,)), ("SQUARES", (8,)),
                        ("MODELS", ("realnvp", "gan"))):  # fmt: skip
        monkeypatch.setattr(costs, name, value)
    costs.sampling()
    costs.determinants()
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("| realnvp | ") and lines[2].startswith("| gan | - | ")
    assert float(lines[-1].split("difference ")[1].split()[0]) < 1e-8
