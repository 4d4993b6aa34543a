"""The files for containers agree with each other, with pyproject.toml and with the command line."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from flowvocoder.cli.main import parser

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).parents[2]
CONTAINERS = ROOT / "docs" / "containers"
DOCKERFILE = (CONTAINERS / "Dockerfile").read_text(encoding="utf-8")


def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return found


def test_stages_extras_and_commands_of_the_images_are_there() -> None:
    stages = re.findall(r"^FROM \S+ AS (\w+)$", DOCKERFILE, re.M)
    assert {"slim", "cpu", "cuda"} <= set(stages)
    assert set(re.findall(r"--from=(\w+)", DOCKERFILE)) <= set(stages)
    for extras in re.findall(r"\[([a-z,]+)\]\"", DOCKERFILE):
        assert set(extras.split(",")) <= set(project()["optional-dependencies"])
    for command in re.findall(r"^CMD (.*)$", DOCKERFILE, re.M):
        if json.loads(command) != ["--help"]:
            parser().parse_args(json.loads(command))


def test_compose_and_kubernetes_start_what_there_is_where_it_listens() -> None:
    services = yaml.safe_load((CONTAINERS / "compose.yaml").read_text(encoding="utf-8"))["services"]
    for service in services.values():
        assert (CONTAINERS / service["build"]["context"]).resolve() == ROOT
        assert f" AS {service['build']['target']}\n" in DOCKERFILE
        arguments = parser().parse_args(service["command"])
        assert service["ports"] == [f"127.0.0.1:{arguments.port}:{arguments.port}"] and arguments.host == "0.0.0.0"
    deployment, service = yaml.safe_load_all((CONTAINERS / "kubernetes.yaml").read_text(encoding="utf-8"))
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    port = parser().parse_args(container["args"]).port
    assert (
        {p["containerPort"] for p in container["ports"]}
        == {p["targetPort"] for p in service["spec"]["ports"]}
        == {port}
    )
    assert service["spec"]["selector"] == pod["metadata"]["labels"]


def test_the_support_page_says_what_pyproject_and_the_workflow_say() -> None:
    page, about = (ROOT / "docs" / "reference" / "support.md").read_text(encoding="utf-8"), project()
    pythons = sorted(re.findall(r":: 3\.(\d+)", " ".join(about["classifiers"])), key=int)
    assert about["requires-python"] == f">=3.{pythons[0]}" and f"| Python | 3.{pythons[0]} to 3.{pythons[-1]}," in page
    (torch,) = [needed for needed in about["dependencies"] if needed.startswith("torch>")]
    oldest, below = re.findall(r"[\d.]+", torch)
    assert f"| PyTorch | {oldest} and newer, below {below};" in page
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8"))
    tried = {row["name"]: row for row in workflow["jobs"]["linux"]["strategy"]["matrix"]["include"]}
    assert tried["oldest"]["python"] == f"3.{pythons[0]}" and f"torch=={oldest}.0" in tried["oldest"]["torch"]
    assert f'PYTHON=python3.{pythons[0]} TORCH="{tried["oldest"]["torch"]}"' in page
    systems = workflow["jobs"]["smoke"]["strategy"]["matrix"]["os"]
    assert systems == ["macos-latest", "windows-latest"] and "macOS and Windows: the public workflow" in page
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.M)) == set(about["optional-dependencies"])


@pytest.mark.slow
def test_the_slim_image_s_steps_run(request: pytest.FixtureRequest, tmp_path: Path, thorough: bool) -> None:
    if not thorough:
        pytest.skip("downloads packages: `make thorough`")
    voice = tmp_path / "export"
    voice.mkdir()
    (voice / "voice").symlink_to(request.getfixturevalue("exported_voice")[1])
    script = ROOT / "docs" / "scripts" / "container.py"
    done = subprocess.run(
        [sys.executable, str(script), "slim", str(tmp_path / "images"), f"export={voice}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(re.findall(r"(\d+) MB", done.stdout)[-1]) < 370, done.stdout
    command = [
        tmp_path / "images" / "slim" / "venv" / "bin" / "flowvocoder",
        "resynth",
        "--checkpoint",
        voice / "voice",
    ]
    sound = ROOT / "flowvocoder" / "examples" / "kathleen.flac"
    subprocess.run([*command, sound, tmp_path / "out.wav"], check=True, cwd=tmp_path)
    assert (tmp_path / "out.wav").stat().st_size > 100_000
