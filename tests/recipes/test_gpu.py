"""A session on a lent GPU, tried out on the CPU: what comes back is whole, within its limits, and can be continued."""

import json
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest
import torch
from helpers import make_corpus
from safetensors.torch import load_file

from flowvocoder.checkpoint import load_checkpoint
from flowvocoder.cli.main import main as flowvocoder
from flowvocoder.files import sha256_of
from recipes.gpu import Session, main
from recipes.pieces import cut, join

TINY = [
    "--preset",
    "lapglow-tiny",
    "--set",
    "batch=2",
    "--set",
    "segment=4096",
    "--set",
    "steps=40",
    "--set",
    "warmup=20",
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("gpu") / "toy", 4, 0.5)


@pytest.fixture(scope="module")
def run(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps."""
    out = tmp_path_factory.mktemp("gpu") / "run"
    assert flowvocoder(["train", "--corpus", str(corpus), "--out", str(out), *TINY, "--max-steps", "2"]) == 0
    shutil.copytree(out / "checkpoint", out / "best", dirs_exist_ok=True)
    return out


def contents(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): sha256_of(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def resume(run: Path, corpus: Path, *more: str) -> None:
    arguments = ["train", "--corpus", str(corpus), "--out", str(run), "--resume", *more, "--max-steps", "4"]
    assert flowvocoder(arguments) == 0


@pytest.mark.slow
def test_pieces_that_hold_everything_continue_as_if_nothing_had_been(run: Path, corpus: Path, tmp_path: Path) -> None:
    limit = 1_000_003
    brought = cut(run, tmp_path / "out", limit, 10**9)
    pieces = sorted((tmp_path / "out").glob("run.*"))
    assert len(pieces) > 3 and all(p.stat().st_size == limit for p in pieces[:-1])
    assert set(brought.sizes) == {"checkpoint", "best", "state"} and brought.step == 2
    assert join(tmp_path / "out", tmp_path / "there") == 2
    there = contents(tmp_path / "there")
    assert there.items() <= contents(run).items() and "state/state.safetensors" in there
    shutil.copytree(run, tmp_path / "here")
    for place in ("here", "there"):
        resume(tmp_path / place, corpus)
    assert sha256_of(tmp_path / "here/state/state.safetensors") == sha256_of(tmp_path / "there/state/state.safetensors")


@pytest.mark.slow
def test_pieces_that_hold_weights_alone_continue_with_a_new_warm_up(
    run: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = (run / "checkpoint/model.safetensors").stat().st_size
    brought = cut(run, tmp_path / "out", 1_000_000, weights * 3 // 2 + 100_000)  # one whole, and one half
    said = " ".join(brought.said)
    assert set(brought.sizes) == {"checkpoint", "best"} and "as saved" in said and "float16" in said
    assert "optimiser's" in said
    there = tmp_path / "there"
    join(tmp_path / "out", there)
    assert not (there / "state/state.safetensors").exists()
    before = load_file(there / "checkpoint/model.safetensors")
    for name, tensor in load_file(there / "best/model.safetensors").items():
        assert tensor.dtype in (torch.float16, torch.int64)
        assert torch.allclose(tensor.float(), before[name].float(), atol=2e-3, rtol=2e-3)
    capsys.readouterr()
    resume(there, corpus)
    assert "what its optimiser remembered is not there" in capsys.readouterr().err
    state = load_file(there / "state/state.safetensors")
    largest = max(float((state[f"ema.{n}"] - v).abs().max()) for n, v in before.items() if f"ema.{n}" in state)
    assert 0 < largest < 2 * 2 * 1.5e-3 * 2 / 20  # two steps of Adam at the rates of a warm-up of 20
    assert json.loads((there / "state/state.json").read_text())["step"] == 4


def test_damaged_pieces_and_older_ones_are_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    cut(run, out, 400_000, 10**9)
    listed = out / "pieces.json"
    values = json.loads(listed.read_text())

    def renamed(name: str) -> None:
        files = [{**values["files"][0], "name": name}, *values["files"][1:]]
        listed.write_text(json.dumps({**values, "files": files}))

    def flipped() -> None:
        piece = bytearray((out / "run.01").read_bytes())
        piece[7] ^= 1
        (out / "run.01").write_bytes(piece)

    for damage, message in (
        (lambda: renamed("../../evil"), "names '../../evil'"),
        (lambda: listed.write_text("{}"), "is damaged"),
        (lambda: listed.write_text(json.dumps(values)) and flipped(), "run.01: is not the piece that was written"),
        ((out / "run.02").unlink, "run.0"),
        (listed.unlink, "no such file"),
    ):
        damage()
        assert main(["join", str(out), str(tmp_path / "there")]) == 2
        err = capsys.readouterr().err
        assert message in err and len(err.splitlines()) == 1 and not (tmp_path / "there").exists()
    shutil.rmtree(out)
    cut(run, out, 400_000, 10**9)
    before = contents(run)
    assert main(["join", str(out), str(run)]) == 2
    assert "is at step 2 already" in capsys.readouterr().err and contents(run) == before


def test_a_run_travels_at_half_precision(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, half = tmp_path / "out", (run / "checkpoint/model.safetensors").stat().st_size * 6 // 10
    assert main(["cut", str(run), str(out), "--total", str(half + 150_000)]) == 0
    assert sum(p.stat().st_size for p in out.iterdir()) <= half + 150_000
    assert "checkpoint: " in capsys.readouterr().out and join(out, tmp_path / "there") == 2
    assert main(["cut", str(run), str(out)]) == 2
    assert main(["cut", str(run), str(tmp_path / "none"), "--total", "150kB"]) == 2
    assert "do not fit" in capsys.readouterr().err and not list((tmp_path / "none").iterdir())


@pytest.mark.thorough
@pytest.mark.slow
def test_a_session_trains_and_brings_back(corpus: Path, tmp_path: Path) -> None:
    packed, out, run = tmp_path / "packed", tmp_path / "out", tmp_path / "run"
    assert flowvocoder(["pack", str(corpus), "--out", str(packed), "--size", "1MB", "--jobs", "1",
                        "--shortest", "0.1"]) == 0  # fmt: skip
    arguments = ["--data", str(packed), "--run", str(run), "--out", str(out), "--device", "cpu", "--threads", "1"]
    skipped = [word for name in ("tests", "infer", "infer-short", "bench") for word in ("--skip", name)]
    arguments += ["--minutes", "5", "--limit", "300kB", *skipped]
    assert main(["run", *arguments, *TINY, "--set", "steps=2"]) == 0
    files = list(out.iterdir())
    assert len(files) <= 8 and all(p.stat().st_size <= 300_000 for p in files)
    report = (out / "report.md").read_text()
    assert "| train |" in report and "flowvocoder train" in report and "step 2 of the run" in report
    assert main(["join", str(out), str(tmp_path / "back")]) == 0
    load_checkpoint(tmp_path / "back/checkpoint")


@pytest.mark.slow
def test_a_step_ends_in_time_and_a_signal_ends_the_session(tmp_path: Path) -> None:
    session = Session(tmp_path, 1.0, "a test")
    begun = tmp_path / "begun"
    slow = ["sh", "-c", 'echo here; touch "$0"; exec sleep 600', str(begun)]

    def signal_when_begun() -> None:
        while not begun.exists():
            time.sleep(0.01)
        session.on_signal(signal.SIGTERM, None)

    started = time.monotonic()
    code, text = session.step("slow", slow, 2.0)
    assert code == -signal.SIGTERM and "here" in text
    begun.unlink()
    threading.Thread(target=signal_when_begun, daemon=True).start()
    session.step("stopped", slow, 500.0)
    assert session.step("late", slow, 500.0) == (-1, "")
    assert time.monotonic() - started < 40.0
    report = (tmp_path / "report.md").read_text()
    assert "stopped after its 2 s" in report and "stopped by a signal" in report and "not begun: stopped" in report


def test_what_cannot_be_is_refused(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").write_text("mine")
    for data, out, message in (
        (tmp_path / "no", tmp_path / "out", "no: no such corpus"),
        (corpus, tmp_path / "full", "holds thesis.txt already"),
        (corpus, tmp_path / "full/thesis.txt", "cannot be made a folder"),
    ):
        arguments = ["--data", str(data), "--run", str(tmp_path / "run"), "--out", str(out), "--minutes", "1"]
        assert main(["run", *arguments]) == 2
        err = capsys.readouterr().err
        assert message in err and len(err.splitlines()) == 1
