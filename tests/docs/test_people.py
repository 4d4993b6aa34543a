"""The files for people who come to help agree with each other and can be read by the programs they are for."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import flowvocoder

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).parents[2]
FILES = [*(ROOT / ".github").rglob("*.yml"), ROOT / "CITATION.cff", ROOT / ".pre-commit-config.yaml"]


def read(path: Path) -> dict[str, Any]:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_is_yaml(path: Path) -> None:
    assert read(path)


def test_the_version_is_the_same_everywhere() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", changelog, re.M)
    assert released[0] == flowvocoder.__version__ == read(ROOT / "CITATION.cff")["version"]


def test_workflows_run_targets_and_extras_that_are_there() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    people = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    for path in [*people, *(ROOT / ".github").rglob("*.yml")]:
        text = path.read_text(encoding="utf-8")
        for target in re.findall(r"(?:^|run: |`)make ([a-z]+)", text, re.M):
            assert target in targets, f"{path.name}: make {target}"
        for extra in re.findall(r"\.\[([a-z,]+)\]'", text):
            assert set(extra.split(",")) <= set(extras), f"{path.name}: {extra}"


def test_files_that_the_workflows_name_are_there() -> None:
    text = (ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
    for name in re.findall(r"\b(?:tests|flowvocoder)/[\w/.]+", text):
        assert (ROOT / name).exists(), name
