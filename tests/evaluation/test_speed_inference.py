"""The benchmark measures what it says."""

import json
from pathlib import Path

import pytest
import torch

from flowvocoder.cli.main import main
from flowvocoder.evaluation.speed.inference import measure
from flowvocoder.evaluation.vocoders import System


def test_speed_and_operations_are_those_of_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.randn(80, 1000)
    clock = iter(range(1000))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(clock)))  # every run takes one second
    system = System("product", "eager", 80_000, lambda mel, seed: mel.transpose(1, 2) @ weight)
    (one, two) = measure([system], [2.0], [1, 4], rounds=3, device=torch.device("cpu"))
    assert one.speed == pytest.approx(2.0, rel=0.01) and two.speed == pytest.approx(8.0, rel=0.01)
    expected = 80 * 1000 * 22050 / 256 / 1e9
    assert one.gmacs == pytest.approx(expected, rel=1e-3) and two.gmacs == pytest.approx(expected, rel=1e-3)


@pytest.mark.slow
def test_bench_infer_writes_its_report(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bench"
    command = ["bench", "infer", "--checkpoint", str(checkpoint), "--preset", "lapglow-tiny",
               "--set", "model.block=256",
               "--engines", "reference,eager", "--seconds", "0.5,1", "--rounds", "1", "--out", str(out)]  # fmt: skip
    assert main(command) == 0
    report = json.loads((out / "results.json").read_text())
    assert len(report["results"]) == 2 * 2 * 2 and len(report["streaming"]) == 2
    assert all(r["speed"] > 0 and r["gmacs"] > 0 for r in report["results"])
    small, large = (report["results"][i]["gmacs"] for i in (2, 0))
    assert small < large, "blocks twice as long cost less"
    stream = report["streaming"][0]
    assert 0 < stream["p50"] <= stream["p99"] and stream["look_ahead"] > 0 and stream["first_audio"] > 0
    assert (out / "table.md").read_text() in capsys.readouterr().out.replace("\r", "")
    assert (out / "chart.png").stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--peers", "wavenet"], "unknown peer"),
        (["--engines", "steam"], "unknown engine"),
        (["--precision", "int4"], "unknown precision"),
        (["--seconds", "ten"], "expected numbers"),
        (["--batch", "0"], "must be from 1"),
        (["--rounds", "0"], "--rounds"),
        (["--latency", "93", "--engines", "eager,onnx"], "--latency: not with the engine onnx"),
        (["--latency", "93", "--gl-iters", "1"], "--latency chooses the iterations"),
    ],
)
def test_bench_refuses(
    arguments: list[str], message: str, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "infer", "--checkpoint", str(checkpoint), *arguments]) == 2
    assert message in capsys.readouterr().err
