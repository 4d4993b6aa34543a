"""Training on several processes, in pieces, and through every kind of interruption: always the same weights."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from bijection import perturb
from command import Fork
from safetensors.torch import load_file
from torch.distributed import TCPStore

import flowvocoder
from flowvocoder.cli.main import main
from flowvocoder.config import override
from flowvocoder.presets import preset
from flowvocoder.training.trainer import Trainer

pytestmark = pytest.mark.slow

SETTINGS = [
    "batch=4", "segment=4096", "warmup=2", "lr=2e-4", "precision=float32", "losses.spectral=0.5",
    "losses.adversarial=0.1", "losses.features=0.2", "discriminator_channels=2", "validate_every=1000",
]  # fmt: skip


LIKELIHOOD = ["losses.spectral=0", "losses.adversarial=0", "losses.features=0"]
"""No samples."""


def command(corpus: Path, out: Path, *settings: str) -> list[str]:
    flags = [f for s in [*SETTINGS, *settings] for f in ("--set", s)]
    return ["train", "--corpus", str(corpus), "--preset", "lapglow-tiny", "--out", str(out), *flags]


def torchrun(*options: str) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *options, "-m",
            "flowvocoder"]  # fmt: skip


def temporary(run: Path) -> dict[str, str]:
    """The environment of a torchrun, which leaves a folder for logs among the temporary files."""
    return {**os.environ, "TMPDIR": str(run.parent)}


def losses(run: Path) -> list[float]:
    entries = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [e["loss"] for e in entries if "loss" in e]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "state/state.safetensors")


def assert_same_weights(a: Path, b: Path) -> None:
    ours, theirs = weights(a), weights(b)
    assert ours.keys() == theirs.keys()
    assert any(k.startswith("discriminators.") for k in ours)
    different = [k for k in ours if not torch.equal(ours[k], theirs[k])]
    assert not different, different


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of real speech whose losses are of an ordinary size from the first step on: 1e-5 is within float32.

    Not the other example, which is nearly silent above 5 kHz: there the edges of a segment cost an untrained model
    hundreds of nats.
    """
    folder = tmp_path_factory.mktemp("speech")
    shutil.copy(Path(flowvocoder.__file__).parent / "examples" / "kathleen.flac", folder)
    return folder


@pytest.fixture(scope="module")
def steps(thorough: bool) -> str:
    """How long the runs are that are compared: beyond the warm-up."""
    return "steps=20" if thorough else "steps=4"


@pytest.fixture(scope="module")
def alone(speech: Path, steps: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on one process."""
    out = tmp_path_factory.mktemp("alone") / "run"
    assert main(command(speech, out, steps, "save_every=4")) == 0
    return out


@pytest.fixture(scope="module")
def pair(speech: Path, steps: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run on two processes: forks, in the environment of workers whose torchrun holds the store."""
    out = tmp_path_factory.mktemp("pair") / "run"
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port),
              "TORCHELASTIC_USE_AGENT_STORE": "True"}  # fmt: skip
    given = command(speech, out, steps, "save_every=4")
    workers = [Fork(*given, environment={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(2)]
    for ended in [worker.wait() for worker in workers]:
        assert ended.returncode == 0, ended.stderr[-5000:]
    return out


def assert_same_losses(a: Path, b: Path, steps: str) -> None:
    ours, theirs = losses(a), losses(b)
    assert steps == f"steps={len(ours)}" == f"steps={len(theirs)}"
    assert ours == pytest.approx(theirs, abs=1e-5, rel=0.0)


@pytest.mark.long
def test_two_processes_train_as_one_does(alone: Path, pair: Path, steps: str) -> None:
    assert_same_losses(alone, pair, steps)


WORKERS = """
import atexit, os, sys
from pathlib import Path

@atexit.register  # before any other, so it runs after them
def say_who_is_left():
    print(len(list(Path("/proc/self/task").iterdir())))

import torch
import torch._dynamo  # each would, for its model
from flowvocoder.training.distributed import DistributedContext

torch.set_num_threads(1)
workers = []
for rank in range(2):
    workers.append(os.fork())
    if not workers[-1]:
        os.environ["RANK"] = str(rank)
        world = DistributedContext.join("cpu")
        model = world.parallel(torch.nn.Linear(3, 3))
        model(torch.ones(2, 3)).sum().backward()
        world.gather(world.all_reduce_max([1.0]))
        if sys.argv[1] == "fails":
            raise SystemExit(2)
        world.leave()
        sys.exit()
codes = {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in workers}
os._exit(codes.pop() if len(codes) == 1 else 99)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted as Linux does it")
@pytest.mark.parametrize(("how", "code"), [("leaves", 0), pytest.param("fails", 2, marks=pytest.mark.thorough)])
def test_no_thread_of_the_group_is_left_when_python_exits(how: str, code: int) -> None:
    """One that waits for Python's lock then aborts the process ("terminate called without an active exception")."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    common = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", WORKERS, how]
    done = subprocess.run(command, env=common, capture_output=True, text=True, timeout=300, check=False)
    # Two processes write to one pipe, in any order.
    assert (done.returncode, sorted(done.stdout)) == (code, sorted("1\n1\n")), done.stderr[-3000:]


def test_pieces_of_a_batch_train_as_the_whole_does(alone: Path, speech: Path, steps: str, tmp_path: Path) -> None:
    assert main(command(speech, tmp_path / "run", steps, "accumulate=2")) == 0
    assert_same_losses(alone, tmp_path / "run", steps)


@pytest.mark.thorough
def test_a_killed_worker_is_restarted_and_nothing_is_lost(pair: Path, speech: Path, steps: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = subprocess.Popen(
        [*torchrun("--max-restarts=5"), *command(speech, out, steps, "save_every=4")],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=temporary(out),
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and not (out / "state").exists():
        time.sleep(0.02)
    workers = children(process.pid)
    assert len(workers) == 2, workers
    os.kill(workers[1], signal.SIGKILL)
    _, err = process.communicate(timeout=1500)
    assert process.returncode == 0, err
    assert f"(pid: {workers[1]})" in err or str(workers[1]) in err  # it was alive, and torchrun saw it die
    assert_same_weights(out, pair)


def children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        if int(after_name[1]) == pid:
            found.append(int(stat.parent.name))
    return sorted(found)


def in_a_fork(arguments: list[str], kill_after: float | None = None, file_limit: int | None = None) -> int:
    """The exit code of a command, negative for a signal."""
    process = Fork(*arguments, file_limit=file_limit)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(process.pid, signal.SIGKILL)
    return process.wait().returncode


def test_killed_at_random_moments(corpus: Path, tmp_path: Path, thorough: bool) -> None:
    """kill -9, resume, again and again: the same weights as the run that nobody disturbed, no state ever unreadable."""
    steps, kills = (160, 20) if thorough else (6, 2)
    settings = (f"steps={steps}", "save_every=1", "batch=1")
    started = time.monotonic()
    assert main(command(corpus, tmp_path / "whole", *settings)) == 0
    seconds = time.monotonic() - started
    arguments = [*command(corpus, tmp_path / "run", *settings), "--resume"]
    rng = random.Random(0)
    killed = 0
    while killed < kills:
        moment = rng.uniform(0.0, 0.5 if kills < 5 else 0.1) * seconds
        if (code := in_a_fork(arguments, kill_after=moment)) == -signal.SIGKILL:
            killed += 1
        else:  # the machine is less busy than it was while the whole one ran: once more, and sooner
            assert code == 0
            shutil.rmtree(tmp_path / "run")
            seconds /= 2
    assert in_a_fork(arguments) == 0
    assert_same_weights(tmp_path / "run", tmp_path / "whole")
    assert [p.name for p in (tmp_path / "run").iterdir() if p.name.startswith(".")] == []


def test_full_disk_stops_the_run_and_leaves_the_last_state(corpus: Path, tmp_path: Path) -> None:
    arguments = command(corpus, tmp_path / "run", "steps=3", "save_every=1", "batch=1", *LIKELIHOOD)
    assert main([*arguments, "--max-steps", "1"]) == 0
    before = weights(tmp_path / "run")
    assert in_a_fork([*arguments, "--resume"], file_limit=100_000) == 2
    after = weights(tmp_path / "run")
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert [p.name for p in (tmp_path / "run").iterdir() if p.name.startswith(".")] == []
    assert main([*arguments, "--resume"]) == 0
    assert len(losses(tmp_path / "run")) == 3


def test_batch_that_cannot_be_shared_is_refused(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(corpus, tmp_path / "run", "accumulate=3")) == 2
    assert "train.optim.batch 4 must be a multiple of 1 processes x train.run.accumulate 3" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_max_steps_and_max_minutes_stop_and_save(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = command(corpus, tmp_path / "run", "steps=2000", "batch=1", *LIKELIHOOD)
    assert main([*arguments, "--max-steps", "2"]) == 0
    assert json.loads((tmp_path / "run/state/state.json").read_text())["step"] == 2
    assert main([*arguments, "--resume", "--max-minutes", "0.005"]) == 0
    assert "its minutes are over at step" in capsys.readouterr().err
    assert 2 < json.loads((tmp_path / "run/state/state.json").read_text())["step"] < 1000


def test_early_stop(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ("steps=100", "validate_every=2", "patience=2", "lr=1e-12", "ema=0.0", *LIKELIHOOD)
    assert main(command(corpus, tmp_path / "run", *settings)) == 0
    step = json.loads((tmp_path / "run/state/state.json").read_text())["step"]
    assert step < 40
    assert f"stopped early: no better validation in the last 2 at step {step}" in capsys.readouterr().err


@pytest.mark.thorough
def test_float16_scale_resumes(corpus: Path, tmp_path: Path) -> None:
    settings = ("precision=float16", "steps=4", "save_every=2", "batch=1")
    assert main(command(corpus, tmp_path / "whole", *settings)) == 0
    parts = command(corpus, tmp_path / "parts", *settings)
    assert main([*parts, "--max-steps", "2"]) == 0
    assert json.loads((tmp_path / "parts/state/state.json").read_text())["scaler"]["scale"] > 0
    assert main([*parts, "--resume"]) == 0
    assert_same_weights(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.thorough
def test_learning_rate_range_test(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = command(corpus, tmp_path / "run", "batch=2", *LIKELIHOOD)
    assert main([*arguments, "--find-lr", "--max-steps", "60"]) == 0
    text = capsys.readouterr().out
    suggestion = float(text.split("lr=")[1].split(";")[0])
    assert 1e-5 < suggestion < 3e-2
    assert (tmp_path / "run/learning_rate.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "run/state").exists()


def test_adversarial_terms_teach_both_sides(corpus: Path, tmp_path: Path) -> None:
    """The discriminators learn from their own loss only, the flow from the others only."""
    experiment = override(preset("lapglow-tiny"), [*SETTINGS, "losses.likelihood=0", "losses.lag=0",
                          "losses.spectral=0"])  # fmt: skip
    trainer = Trainer(experiment, [corpus], tmp_path / "run")
    perturb(trainer.model, 0.01)  # a layer that starts at zero keeps gradients from those before it
    adversary = trainer.objective.adversary
    assert adversary is not None
    recorded = 0.1 * torch.randn(2, 4096)
    sample = (0.1 * torch.randn(2, 4096)).requires_grad_()
    losses = adversary.losses(recorded, sample)
    losses["discriminator"].backward(retain_graph=True)
    assert sample.grad is None
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in adversary.net.parameters())
    adversary.net.zero_grad()
    (losses["adversarial"] + losses["features"]).backward()
    assert sample.grad is not None and sample.grad.abs().sum() > 0
    assert all(p.grad is None or p.grad.abs().sum() == 0 for p in adversary.net.parameters())
    before = [p.clone() for p in trainer.model.parameters()]
    trainer.train_step(1e-3)
    moved = sum(not torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))
    assert moved > len(before) / 2
