"""`density compare`: what it writes, and what it refuses before any work."""

import json
from pathlib import Path

import pytest

from flowvocoder.cli.main import main


@pytest.mark.slow
def test_a_report_of_two_sets_beside_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "report"
    out.mkdir()
    (out / "mine.txt").write_text("kept")
    budget = ["--steps", "2", "--parameters", "300", "--seeds", "1", "--rows", "40"]
    table = tmp_path / "rows.csv"
    table.write_text("\n".join(f"{n},{n * n % 7}" for n in range(40)))
    command = ["density", "compare", "wine", str(table), "--families", "realnvp,vae", "--out", str(out), *budget]
    assert main(command) == 0
    assert capsys.readouterr().out.strip() == str(out / "report.md")
    assert {path.name for path in out.iterdir()} == {"mine.txt", "plot.png", "report.md", "results.json"}
    sets = json.loads((out / "results.json").read_text())["sets"]
    assert [(s["name"], [row["model"] for row in s["rows"]]) for s in sets] == [
        (name, ["realnvp", "vae"]) for name in ("wine", str(table))
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["moon"], "no data set 'moon': one of two-moons"),
        (["wine", "--families", "nsf"], "family must be one of all, planar"),
        (["wine", "--peers", "pyro"], "peers must be of zuko, normflows, not 'pyro'"),
        (["nowhere.csv"], "nowhere.csv: no such file"),
        (["mel:nowhere"], "nowhere: no recordings"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["density", "compare", *arguments, "--out", str(tmp_path / "report")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "report").exists()
