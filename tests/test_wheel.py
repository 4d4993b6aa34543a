"""The wheel works alone, from an empty folder: package, recipes, voices, examples, demo."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import flowvocoder

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked wheel. It is built from a copy: a build leaves folders behind."""
    source = tmp_path_factory.mktemp("source")
    for name in ("flowvocoder", "recipes"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    # By what is installed here: a fresh environment for the build is fetched from the network.
    build = "from setuptools import build_meta; build_meta.build_wheel('dist')"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (wheel,) = (source / "dist").glob("*.whl")
    assert wheel.name.startswith(f"flowvocoder-{flowvocoder.__version__}-")
    folder = tmp_path_factory.mktemp("installed")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("flowvocoder --version", f"flowvocoder {flowvocoder.__version__}"),
        ("flowvocoder resynth {examples}/kathleen.flac out.wav --gl-iters 0", "out.wav: 4.00 s"),
        pytest.param("flowvocoder score {examples}/kerstin.flac", "nats/sample", marks=pytest.mark.thorough),
        ("flowvocoder corpus list", "ljspeech"),
        ("flowvocoder demo --help", "--share"),
        ("recipes --help", "prepare"),
    ],
)
def test_command_works_from_an_empty_folder(installed: Path, tmp_path: Path, command: str, said: str) -> None:
    words = command.format(examples=installed / "flowvocoder" / "examples").split()
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and said in done.stdout, done.stderr


def test_every_page_of_the_demo_is_in_it(installed: Path) -> None:
    for path in (ROOT / "flowvocoder").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert (installed / path.relative_to(ROOT)).is_file(), path
