"""The script behind docs/results/family.md: trains for a time, measures, makes one table."""

import json
from pathlib import Path

import pytest
from command import refused
from helpers import docs_script

family = docs_script("family")

LAPGLOW = "lapglow-tiny"
WAVEFLOW = "waveflow-64:model.channels=4:model.layers=2:model.flows=2"


def run_script(*arguments: object) -> int:
    return family.main([str(argument) for argument in arguments])


@pytest.mark.slow
@pytest.mark.thorough
def test_two_presets_in_one_table(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    command = ("--corpus", corpus, "--out", out, "--presets", LAPGLOW, WAVEFLOW, "--minutes", 0.005,
               "--limit", 1, "--untrained", "lapglow-small", "--set", "batch=1", "--set", "segment=4096")  # fmt: skip
    assert run_script(*command) == 0
    table = capsys.readouterr().out
    rows = json.loads((out / "results.json").read_text())
    assert list(rows) == [LAPGLOW, WAVEFLOW, "lapglow-small"]
    assert (out / "table.md").read_text() == table == family.markdown(rows)
    assert all(len(line.split("|")) == 11 for line in table.splitlines() if line.startswith("|"))
    assert "nats" not in rows.pop("lapglow-small")
    for row in rows.values():
        assert row["steps"] >= 1 and row["times_real_time"] > 0 and row["utterances"] == 1
        assert 1.0 <= row["pesq"] <= 4.7 and -20.0 < row["nats"] < 11.0
    # 2 flows x 2 layers of convolutions with every weight used once a sample, and the mel's upsampling.
    assert 0.8 < rows[WAVEFLOW]["macs_per_second"] / (22050 * rows[WAVEFLOW]["parameters"]) < 1.2
    weights = (out / WAVEFLOW / "checkpoint" / "model.safetensors").stat().st_mtime_ns
    assert run_script(*command) == 0
    assert (out / WAVEFLOW / "checkpoint" / "model.safetensors").stat().st_mtime_ns == weights, "trained again"
    assert run_script(*command, "--minutes", 0.5) == 2
    assert "was trained for 0.005 minutes, not 0.5" in capsys.readouterr().err


def test_rate_rises_and_falls_within_the_budget() -> None:
    rates = [family.Budget(1.0, ()).rate(share / 100) for share in range(101)]
    assert rates[0] < 0.1 and max(rates) > 0.98 and rates[100] < 1e-9
    assert rates[4:] == sorted(rates[4:], reverse=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--presets", "waveglow"), "unknown preset 'waveglow'"),
        (("--presets", "waveglow-256:model.chanels=3"), "did you mean model.channels"),
        (("--minutes", 0), "must be above 0"),
        (("--limit", 0), "must be 1 or above"),
        (("--temperature", "nan"), "temperature must be"),
    ],
)
def test_refusals(
    options: tuple[object, ...], message: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = run_script("--corpus", corpus, "--out", tmp_path / "out", *options)
    except SystemExit as end:
        code = end.code
    assert code == 2 and message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_the_command_that_made_the_table_says_where_it_went(capsys: pytest.CaptureFixture[str]) -> None:
    assert "docs/scripts/family.py" in refused(capsys, "bench", "family", "--corpus", "x", "--out", "y")
