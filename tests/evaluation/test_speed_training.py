"""`bench train`: real steps in processes of their own, and what becomes of settings that cannot run."""

import json
import multiprocessing
import os
from pathlib import Path

import pytest
from command import refused, run

from flowvocoder.errors import FlowVocoderError
from flowvocoder.evaluation.speed import training
from flowvocoder.evaluation.speed.training import Effort, Setting, Speed, grid, measure, measure_all
from flowvocoder.presets import PRESETS

FORK = multiprocessing.get_context("fork")
EFFORT = Effort(warmup=1, steps=2, threads=1, settings=["segment=4096"])


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch, thorough: bool) -> None:
    """Processes that begin as forks of this one, which saves seconds of imports each."""
    if not thorough:
        monkeypatch.setattr(training.multiprocessing, "get_context", lambda _: FORK)
        monkeypatch.setattr(training, "PEAK_SECONDS", 0.1)


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.usefixtures("forked")
def test_one_process_and_two() -> None:
    alone, together = (measure(Setting("lapglow-tiny", 2 * n, "float32", n), EFFORT) for n in (1, 2))
    for speed in (alone, together):
        median, fastest, slowest = speed.seconds
        assert 0 < fastest <= median <= slowest
        audio = speed.setting.batch * 4096 / 22050
        assert speed.audio_rate == pytest.approx(audio / median)
        assert speed.dtype == "float32" and 1e8 < speed.memory < 1e11
        assert speed.share is not None and 0.0 < speed.share < 1.0
    assert alone.flops is not None and together.flops == 2 * alone.flops  # twice the batch, half of it each


def dies(*_: object) -> None:
    os._exit(9)


@pytest.mark.slow
@pytest.mark.usefixtures("forked")
def test_a_killed_process_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_worker", dies)
    with pytest.raises(FlowVocoderError, match="out of memory"):
        measure(Setting("lapglow-tiny", 2, "float32", 2), EFFORT)


@pytest.mark.slow
@pytest.mark.usefixtures("forked")
def test_what_cannot_run_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    works, fails = Setting("lapglow-tiny", 2, "float32"), Setting("lapglow-tiny", 3, "float32", 2)
    plain = training.measure
    monkeypatch.setattr(training, "measure", lambda s, e: plain(s, e) if s == fails else "measured")
    results = dict(measure_all([fails, works], EFFORT))
    assert "must be a multiple of 2 processes" in str(results[fails]) and results[works] == "measured"


def made_up(setting: Setting) -> Speed:
    rate = {1: 10.0, 2: 15.0}[setting.processes]
    return Speed(setting, "float32", (0.5, 0.4, 0.7), 0.25, rate, 10**9, 10**9, 2e10)


def test_the_table_and_the_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = grid(["lapglow-tiny"], [4], ["float32"], [1, 2])
    failed = Setting("lapglow-base", 4, "float16")
    results = [*((s, made_up(s)) for s in settings), (failed, "no float16 here")]
    monkeypatch.setattr(training, "measure_all", lambda *_: results)
    assert run("bench", "train", "--preset", "lapglow-tiny", "--out", tmp_path / "b") == 2
    table, told = capsys.readouterr()
    assert "flowvocoder: lapglow-base, batch 4, float16: no float16 here" in told
    row = (
        "| lapglow-tiny | 4 | float32 | 2 | 15.0 | 2.00 | 0.500 (0.400 to 0.700) | 0.250 | 1.00 | 1.0 | 20% of 20 | 75%"
    )
    assert row in table
    assert "| lapglow-base | 4 | float16 | 1 | no float16 here |" in table
    assert (tmp_path / "b" / "table.md").read_text() == table
    rows = json.loads((tmp_path / "b" / "results.json").read_text())["results"]
    assert rows[0]["steps_per_second"] == 2.0 and rows[0]["share_of_peak"] == pytest.approx(0.2)
    assert rows[2]["error"] == "no float16 here"
    assert {line.count("|") for line in table.splitlines()[2:]} == {13}


def test_all_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(training, "measure_all", lambda settings, _: asked.extend(s.preset for s in settings) or [])
    assert run("bench", "train", "--preset", "all") == 0
    assert asked == list(PRESETS)


def test_refusals(capsys: pytest.CaptureFixture[str]) -> None:
    assert "unknown preset 'none'" in refused(capsys, "bench", "train", "--preset", "none")
    assert "train.run.precision must be" in refused(capsys, "bench", "train", "--precision", "int8")
    assert "unknown key" in refused(capsys, "bench", "train", "--set", "bach=3")
    assert "must be 1 or above" in refused(capsys, "bench", "train", "--batch", 0)
    assert "unknown preset 'nope'" in refused(capsys, "bench", "train", "--preset", "all", "nope")
    for setting in ("batch=4", "train.precision=float32"):
        line = refused(capsys, "bench", "train", "--set", setting)
        assert f"--set {setting}" in line and "give --" in line
