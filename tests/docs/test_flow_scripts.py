"""The scripts behind the pictures and the costs of flows of vectors."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

SCRIPTS = Path(__file__).parents[2] / "docs" / "scripts"
pytestmark = pytest.mark.slow


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_kind_of_set_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = script("flows_gallery")
    monkeypatch.setattr(gallery, "OUT", tmp_path)
    monkeypatch.setattr(gallery, "ROWS", 60)
    monkeypatch.setattr(sys, "argv", ["flows_gallery.py", "--steps", "1", "two-moons", "swiss-roll", "digits"])
    gallery.main()
    made = {path.stem: Image.open(path).size for path in tmp_path.iterdir()}
    assert made == {"flow-two-moons": (900, 460), "flow-swiss-roll": (900, 300), "flow-digits": (900, 320)}


def test_costs_are_of_determinants_and_sampling(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    costs = script("density_costs")
    for name, value in (("PARAMETERS", 500), ("ROWS", 5), ("FEATURES", (2,)), ("MODELS", ("realnvp", "gan"))):
        monkeypatch.setattr(costs, name, value)
    costs.sampling()
    costs.determinants()
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("| realnvp | ") and lines[2].startswith("| gan | - | ")
    assert float(lines[-1].split("difference ")[1].split()[0]) < 1e-8
