"""The command that compares presets: trains for a time, measures, makes one table."""

import json
from pathlib import Path

import pytest
import torch
from command import refused, run

from flowvocoder.evaluation.speed.family import Budget, markdown
from flowvocoder.flows.rows import RowAutoregression, RowWaveNet

LAPGLOW = "lapglow-tiny"
WAVEFLOW = "waveflow-64:model.channels=4:model.layers=2:model.flows=2"


def test_two_presets_in_one_table(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    command = ("bench", "family", "--corpus", corpus, "--out", out, "--presets", LAPGLOW, WAVEFLOW, "--minutes", 0.02,
               "--limit", 1, "--untrained", "lapglow-small", "--set", "batch=1", "--set", "segment=4096")  # fmt: skip
    assert run(*command) == 0
    table = capsys.readouterr().out
    rows = json.loads((out / "results.json").read_text())
    assert list(rows) == [LAPGLOW, WAVEFLOW, "lapglow-small"]
    assert (out / "table.md").read_text() == table == markdown(rows)
    assert all(len(line.split("|")) == 11 for line in table.splitlines() if line.startswith("|"))
    assert "nats" not in rows.pop("lapglow-small")
    for row in rows.values():
        assert row["steps"] >= 1 and row["times_real_time"] > 0 and row["utterances"] == 1
        assert 1.0 <= row["pesq"] <= 4.7 and -20.0 < row["nats"] < 11.0
    # 2 flows x 2 layers of convolutions with every weight used once a sample, and the mel's upsampling.
    assert 0.8 < rows[WAVEFLOW]["macs_per_second"] / (22050 * rows[WAVEFLOW]["parameters"]) < 1.2
    assert rows[WAVEFLOW]["row_speedup"] > 1.0 and "faster with its state" in table
    weights = (out / WAVEFLOW / "checkpoint" / "model.safetensors").stat().st_mtime_ns
    assert run(*command) == 0
    assert (out / WAVEFLOW / "checkpoint" / "model.safetensors").stat().st_mtime_ns == weights, "trained again"
    assert "was trained for 0.02 minutes, not 0.5" in refused(capsys, *command, "--minutes", 0.5)


def test_rate_rises_and_falls_within_the_budget() -> None:
    rates = [Budget(1.0, ()).rate(share / 100) for share in range(101)]
    assert rates[0] < 0.1 and max(rates) > 0.98 and rates[100] < 1e-9
    assert rates[4:] == sorted(rates[4:], reverse=True)


def test_inverse_without_state_costs_more_rows() -> None:
    """The ratio of the work, which no other program on the machine can change: 8 for 16 rows."""
    from torch.utils.flop_counter import FlopCounterMode

    layer = RowAutoregression(range(16), RowWaveNet(4, 8, 8))
    work = []
    for inverse in (layer.inverse, layer.inverse_without_state):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            inverse(torch.randn(1, 16, 300), torch.randn(1, 64, 300))
        work.append(counter.get_total_flops())
    assert work[1] / work[0] > 5.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--presets", "waveglow"), "unknown preset 'waveglow'"),
        (("--presets", "waveglow-256:model.chanels=3"), "did you mean channels"),
        (("--minutes", 0), "must be above 0"),
        (("--limit", 0), "must be 1 or above"),
        (("--temperature", "nan"), "temperature must be"),
    ],
)
def test_refusals(
    options: tuple[object, ...], message: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, "bench", "family", "--corpus", corpus, "--out", tmp_path / "out", *options)
    assert message in line and not (tmp_path / "out").exists()
