"""The benchmark measures what it says."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from flowvocoder.cli.main import main
from flowvocoder.evaluation.speed.inference import measure
from flowvocoder.evaluation.vocoders import System, vocos_parts
from flowvocoder.evaluation.vocos_onnx import write_vocos


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
               "--engines", "reference,eager", "--seconds", "0.2", "--rounds", "1", "--threads", "1,2",
               "--chunk", "40", "--gl-iters", "0", "--low-band-iters", "0", "--out", str(out)]  # fmt: skip
    assert main(command) == 0
    report = json.loads((out / "results.json").read_text())
    assert len(report["results"]) == 2 * 2 * 2 and len(report["streaming"]) == 2
    one, two = ([r for r in report["results"] if r["threads"] == number] for number in (1, 2))
    assert [r["engine"] for r in one] == [r["engine"] for r in two] == ["reference", "eager"] * 2
    assert [r["gmacs"] for r in one] == [r["gmacs"] for r in two]
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
        (["--threads", "0"], "must be from 1"),
        (["--latency", "93", "--engines", "eager,onnx"], "--latency: not with the engine onnx"),
        (["--latency", "93", "--gl-iters", "1"], "--latency chooses the iterations"),
    ],
)
def test_bench_refuses(
    arguments: list[str], message: str, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "infer", "--checkpoint", str(checkpoint), *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_vocos_in_onnx_runtime_gives_what_its_own_code_gives(tmp_path: Path, thorough: bool) -> None:
    pytest.importorskip("vocos")
    runtime = pytest.importorskip("onnxruntime")
    if not thorough:
        pytest.skip("tracing takes 10 s: with --thorough")
    backbone, head = vocos_parts(torch.device("cpu"))
    write_vocos(tmp_path / "v.onnx", backbone, head, 80, 256)
    mel = torch.randn(1, 80, 40)
    session = runtime.InferenceSession(str(tmp_path / "v.onnx"), providers=["CPUExecutionProvider"])
    (audio,) = session.run(None, {"mel": mel.numpy()})
    with torch.no_grad():
        expected = head(backbone(mel)).numpy()
    assert audio.shape == expected.shape
    inner = slice(1024, -1024)  # at the ends fewer windows overlap, which the file does not divide by
    assert np.abs(audio[:, inner] - expected[:, inner]).max() < 1e-5
