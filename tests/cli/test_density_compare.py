"""`density compare`: what it writes, and what it refuses before any work."""

import json
from pathlib import Path
from typing import Any

import pytest

from flowvocoder.cli.main import main
from flowvocoder.density.base import DensityEstimator


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


QUICK = ["--families", "realnvp,gan", "--steps", "1", "--parameters", "300", "--rows", "40", "--samples", "20"]


@pytest.mark.slow
def test_a_comparison_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ended in its third fit of four; what is there is kept as it is, and the command does the rest."""
    command = ["density", "compare", "wine", "--seeds", "2", "--out", str(tmp_path), *QUICK]
    fit, fits = DensityEstimator.fit, []

    def ends_in_the_third(model: DensityEstimator, rows: object) -> DensityEstimator:
        fits.append((model.family, model.seed))
        if len(fits) == 3:
            raise KeyboardInterrupt
        return fit(model, rows)

    monkeypatch.setattr(DensityEstimator, "fit", ends_in_the_third)
    assert main(command) != 0
    before = _rows(tmp_path)
    assert [(row["model"], row["seed"]) for row in before] == [("realnvp", 0), ("gan", 0)]
    assert "| gan |" in (tmp_path / "report.md").read_text()
    assert main(command) == 0
    assert fits[3:] == [("realnvp", 1), ("gan", 1)]
    assert _rows(tmp_path)[:2] == before and len(_rows(tmp_path)) == 4


@pytest.mark.slow
def test_an_earlier_comparison_of_other_conditions_is_refused_and_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["density", "compare", "wine", "--seeds", "1", "--out", str(tmp_path), *QUICK]
    assert main(command) == 0
    results = tmp_path / "results.json"
    known = results.read_bytes()
    for more, message in (
        (["--steps", "2"], "was made with steps 1, not 2: name another folder"),
        (["--rows", "30"], "has a comparison on other rows of wine: name another folder"),
    ):
        assert main([*command, *more]) == 2
        assert message in capsys.readouterr().err and results.read_bytes() == known
    no_rows = b'{"budget": {}, "versions": {}, "sets": [{"name": "wine"}]}'
    edited = [known.replace(b'"%s"' % key, b'"other"') for key in (b"model", b"fit_seconds", b"budget")]
    for damaged in (b"{", b"[]", no_rows, known[:-40], known.replace(b'"nats": -', b'"nats": "x", "y": -'), *edited):
        results.write_bytes(damaged)
        assert main(command) == 2
        assert "not the results of a comparison: name another folder" in capsys.readouterr().err
        assert results.read_bytes() == damaged


def _rows(report: Path) -> list[dict[str, Any]]:
    (one,) = json.loads((report / "results.json").read_text())["sets"]
    rows: list[dict[str, Any]] = one["rows"]
    return rows


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


def test_what_is_wrong_with_a_table_is_said_of_its_own_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not of those that are drawn to be fitted."""
    lines = ["a,b", *(f"{n},{n * n % 7}" for n in range(40))]
    for place, line, message in (
        (30, "29,", "1 of 40 rows have values that are missing, NaN, infinite or beyond 1e+150, the first in row 30 w"),
        (7, "6,-1e200", "the first in row 7 without the header, column 'b'"),
        (slice(1, 41), [f"{n},5" for n in range(40)], "column 1 of X is constant (5)"),
    ):
        changed = list(lines)
        changed[place] = line  # type: ignore[call-overload]
        table = tmp_path / "rows.csv"
        table.write_text("\n".join(changed))
        assert main(["density", "compare", str(table), "--out", str(tmp_path / "report"), *QUICK]) == 2
        told = capsys.readouterr().err.splitlines()[-1]
        assert f"{table}: " in told and message in told
