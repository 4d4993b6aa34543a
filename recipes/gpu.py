"""A session on a lent GPU: says what it is, tests, measures, trains, and brings back the weights and a report.

    python -m recipes.gpu run --data data/packed --run runs/gpu --out OUT --minutes 9
    python -m recipes.gpu join OUT runs/gpu

Such a machine is bare, has no network, and is there for minutes. So every step has its share of the time, and what is
not ready then is ended and named in the report. Training has all that is left; it is stopped in time to bring back its
weights, also when SIGTERM comes.
"""

import argparse
import contextlib
import json
import math
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from flowvocoder.cli.command import Parser
from flowvocoder.cli.main import as_program, carry_out
from flowvocoder.cli.options import add_settings, folder, positive, positive_int, size
from flowvocoder.errors import CheckpointError, ConfigError, OutputError, TrainingError
from flowvocoder.files import check_folder, reason, writing
from flowvocoder.training.folder import CHECKPOINT, STATE

SETTINGS = "batch=512", "lr=2.5e-3", "save_every=100"
"""Of a run on a large card, where nothing else is asked for."""

SHARES = {"card": (0.1, 60.0), "tests": (0.1, 60.0), "infer": (0.06, 40.0), "infer-short": (0.05, 30.0),
          "bench": (0.12, 75.0)}  # fmt: skip
"""How much of the whole time a step may take, and at most how many seconds."""

RESERVE = 0.08, 40.0
"""The same for bringing back."""

START, GRACE = 15.0, 20.0
"""Seconds that a training takes to begin, and that a step has to end after SIGTERM."""

WINDOW = 0.85
"""Share of the steps that fit by the measured speed which a new run is planned for: validation takes time, too."""

REPORT = 100_000
"""Bytes kept for the report and the list of pieces."""

TAIL = 40
"""Lines of a step's output in the report."""

CARD = """
import torch, platform, flowvocoder
from flowvocoder.evaluation.report import machine, machine_line
print(machine_line(machine({device!r})), "Python", platform.python_version(), "flowvocoder", flowvocoder.__version__)
if {device!r}.startswith("cuda"):
    card = torch.cuda.get_device_properties({device!r})
    print(card.total_memory // 2**20, "MiB,", card.multi_processor_count, "multiprocessors, CUDA", torch.version.cuda)
"""


class Session:
    """Runs one command after the other, each with a time limit, and keeps the report up to date.

    Args:
        out: folder that is brought back.
        minutes: of the whole session.

    Attributes:
        stopping: SIGTERM or Ctrl-C came: what runs is ended, and nothing else begins but bringing back.
    """

    def __init__(self, out: Path, minutes: float, head: str):
        self.out, self.began, self.total, self.head = out, time.monotonic(), 60.0 * minutes, head
        self.rows: list[tuple[str, float, str]] = []  # step, seconds, how it ended
        self.details: list[str] = []
        self.brought: list[str] = []
        self.stopping = False

    @property
    def left(self) -> float:
        """Seconds until everything must be written."""
        return self.began + self.total - time.monotonic()

    def share(self, of: tuple[float, float]) -> float:
        """Seconds: a share of the whole, with a most."""
        return min(of[0] * self.total, of[1])

    def step(self, name: str, command: Sequence[str], limit: float) -> tuple[int, str]:
        """Run a command for at most `limit` seconds. Returns its exit code, -1 where it was not run, and its output."""
        if self.stopping or limit < 1.0:
            self.note(name, 0.0, "not begun: stopped" if self.stopping else "not begun: no time was left")
            return -1, ""
        started, ended = time.monotonic(), ""
        with tempfile.TemporaryFile() as output:
            # A group of its own, with what it starts: Ctrl-C and `timeout` reach it through us alone.
            child = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, process_group=0,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
            while child.poll() is None:
                if self.stopping or time.monotonic() - started > limit:
                    ended = "stopped by a signal" if self.stopping else f"stopped after its {limit:.0f} s"
                    self._end(child)
                time.sleep(0.05)
            code = child.returncode
            output.seek(0)
            text = output.read().decode("utf-8", "replace")
        shown = "\n".join(text.replace("\r", "\n").rstrip().splitlines()[-TAIL:])
        print(f"--- {name}\n{shown}", flush=True)
        self.details.append(f"## {name}\n\n```sh\n{shlex.join(command)}\n```\n\n```text\n{shown}\n```\n")
        self.note(name, time.monotonic() - started, ended or ("done" if code == 0 else f"exit code {code}"))
        return code, text

    def note(self, name: str, seconds: float, how: str) -> None:
        """A row of the report's table; what is written so far is whole."""
        self.rows.append((name, seconds, how))
        print(f"=== {name}: {how}, {seconds:.0f} s, {max(0.0, self.left):.0f} s left", flush=True)
        self.write()

    def write(self) -> None:
        """Write report.md. Raises OutputError."""
        lines = [f"# {self.head}", "", "| step | seconds | |", "|---|---|---|"]
        lines += [f"| {name} | {seconds:.1f} | {how} |" for name, seconds, how in self.rows]
        lines += ["", *(f"- {line}" for line in self.brought), "", *self.details]
        with writing(self.out / "report.md") as temporary:
            temporary.write_text("\n".join(lines), encoding="utf-8")

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """End what runs; the loop that waits for it sees to that."""
        self.stopping = True

    def _end(self, child: "subprocess.Popen[bytes]") -> None:
        """SIGTERM, at which training saves; SIGKILL where that does not help."""
        child.terminate()
        try:
            child.wait(min(GRACE, max(1.0, self.left / 2)))
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def session(arguments: argparse.Namespace) -> int:
    """The whole session. Raises FlowVocoderError: it cannot begin, or there are no weights to bring back."""
    run, out, device = arguments.run, arguments.out, arguments.device
    check_folder(run)
    _claim(out)
    for path in arguments.data:
        if not path.exists():
            raise ConfigError(f"{path}: no such corpus")
    doing = Session(out, arguments.minutes, f"{arguments.minutes:g} minutes on {device}: {run.name}")
    previous = {s: signal.signal(s, doing.on_signal) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        with tempfile.TemporaryDirectory() as bench:
            _measure_and_train(doing, arguments, Path(bench))
        return _bring_back(doing, arguments)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _measure_and_train(doing: Session, arguments: argparse.Namespace, bench: Path) -> None:
    program, device = [sys.executable, "-m", "flowvocoder"], arguments.device
    settings = [*(SETTINGS if device.startswith("cuda") else ()), *arguments.settings]
    code, said = doing.step("card", [sys.executable, "-c", CARD.format(device=device)], doing.share(SHARES["card"]))
    if code > 0:
        raise ConfigError(f"--device {device}: {(said.strip().splitlines() or ['no more is said'])[-1]}")
    steps: dict[str, Callable[[], list[str]]] = {
        "tests": _cuda_tests,
        "infer": lambda: _speed(arguments, "10", "1,8,64"),
        "infer-short": lambda: _speed(arguments, "1.2", "128,512"),
        "bench": lambda: [*program, "bench", "train", "--device", device, "--preset", arguments.preset, "--steps", "6",
                          "--batch", *_batches(settings), *_set(_without(settings, "batch", "precision")),
                          "--out", str(bench)],
    }  # fmt: skip
    rate = None
    for name, command in steps.items():
        if name in arguments.skip:
            continue
        doing.step(name, command(), min(doing.share(SHARES[name]), doing.left - doing.share(RESERVE)))
        if name == "bench":
            rate = _measured(bench, _batches(settings)[0])
    limit = doing.left - doing.share(RESERVE) - min(GRACE, 0.1 * doing.total)
    is_new = not (arguments.run / STATE).is_dir()
    if is_new and rate and not any(_key(s) == "steps" for s in settings):
        settings.append(f"steps={max(1, math.floor(WINDOW * rate * (limit - START)))}")
    start = ["--init-from", str(arguments.init_from)] if arguments.init_from and is_new else []
    licence = ["--licence", arguments.licence] if arguments.licence else []
    corpora = [word for path in arguments.data for word in ("--corpus", str(path))]
    train = [*program, "train", *corpora, "--preset", arguments.preset, "--out", str(arguments.run), "--resume", *start,
             "--device", device, "--threads", str(arguments.threads), *licence, *_set(settings),
             "--max-minutes", f"{max(1.0, limit - min(START, 0.1 * limit)) / 60.0:.3f}"]  # fmt: skip
    doing.step("train", train, limit)


def _bring_back(doing: Session, arguments: argparse.Namespace) -> int:
    from recipes.pieces import cut

    started = time.monotonic()
    try:
        brought = cut(arguments.run, doing.out, arguments.limit, _budget(arguments))
    except CheckpointError as error:
        doing.brought.append(f"nothing was brought back: {error}")
        doing.note("bring back", time.monotonic() - started, "failed")
        raise TrainingError(f"{error}; {doing.out / 'report.md'} says what happened") from error
    doing.brought += [f"step {brought.step} of the run", *brought.said]
    doing.brought.append(f"`python -m recipes.gpu join {doing.out.name} RUN` puts it together")
    doing.note("bring back", time.monotonic() - started, f"{sum(brought.sizes.values())} bytes")
    return 0


def _budget(arguments: argparse.Namespace) -> int:
    """Bytes of the run that may be brought along, beside the report and the list of pieces."""
    return min(arguments.total - REPORT, (arguments.pieces - 2) * arguments.limit)


def _claim(out: Path) -> None:
    """An empty folder, or none yet."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: cannot be made a folder ({reason(error)})") from error
    if others := sorted(path.name for path in out.iterdir()):
        raise ConfigError(f"{out}: holds {others[0]} already: name an empty folder")


def _cuda_tests() -> list[str]:
    """pytest on the files that have such tests: the others may need packages that are not there."""
    tests = Path(__file__).parents[1] / "tests"
    found = [p for p in tests.rglob("test_*.py") if "cuda" in p.read_text(encoding="utf-8")]
    # Last what a pretended GPU runs, too: kernels and graphs need the time.
    files = [str(p) for p in sorted(found, key=lambda p: (p.name == "test_cuda.py", p))]
    return [sys.executable, "-m", "pytest", "-q", "-k", "cuda", "-p", "no:cacheprovider", *files]


def _speed(arguments: argparse.Namespace, seconds: str, batch: str) -> list[str]:
    """`bench infer` of sizes that are recorded as one CUDA graph, and of the same without one.

    No streams: the steps that they repeat are compiled for a minute.
    """
    engines = "eager,compile" if arguments.device.startswith("cuda") else "eager,numba"
    return [sys.executable, "-m", "flowvocoder", "bench", "infer", "--device", arguments.device, "--engines", engines,
            "--seconds", seconds, "--batch", batch, "--rounds", "2", "--chunk", "0",
            "--checkpoint", str(_voice(arguments.run))]  # fmt: skip


def _voice(run: Path) -> Path | str:
    return run / CHECKPOINT if (run / CHECKPOINT).is_dir() else "bundled"


def _key(setting: str) -> str:
    return setting.partition("=")[0].rpartition(".")[2]


def _without(settings: Sequence[str], *keys: str) -> list[str]:
    return [s for s in settings if _key(s) not in keys]


def _set(settings: Sequence[str]) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


def _batches(settings: Sequence[str]) -> list[str]:
    """The batch that is trained with, and one of four times that."""
    batch = next((s.partition("=")[2] for s in reversed(settings) if _key(s) == "batch"), "8")
    return [batch, str(4 * int(batch))] if batch.isdigit() else [batch]


def _measured(bench: Path, batch: str) -> float | None:
    """Steps a second that `bench train` measured; None where it did not get so far."""
    try:
        rows = json.loads((bench / "results.json").read_text(encoding="utf-8"))["results"]
        return next(float(row["steps_per_second"]) for row in rows if str(row["setting"]["batch"]) == batch)
    except (OSError, ValueError, KeyError, StopIteration):
        return None


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = Parser(prog="recipes.gpu", description="A session of minutes on a lent GPU, and what comes back from it.")
    actions = top.add_subparsers(dest="action", required=True, metavar="ACTION", title="actions")
    run = actions.add_parser("run", help="test, measure, train and bring back, there")
    run.add_argument("--data", metavar="DATA", type=Path, action="append", required=True,
                     help="folder of shards of `flowvocoder pack`, or any other corpus; may be repeated")  # fmt: skip
    run.add_argument(
        "--run", metavar="RUN", type=folder, required=True, help="run folder: a new one, or one to continue"
    )
    run.add_argument("--out", metavar="OUT", type=folder, required=True, help="empty folder that is brought back")
    run.add_argument("--minutes", type=positive, required=True, help="of everything together")
    run.add_argument("--preset", default="universal-22k-stage1", help="to train (default universal-22k-stage1)")
    run.add_argument("--init-from", metavar="CHECKPOINT", help="initial weights of a new run, as `train` takes them")
    run.add_argument("--licence", help="licence of the weights, as `train` takes it")
    add_settings(run, f"override a setting of the training; on CUDA {', '.join(SETTINGS)} come first")
    run.add_argument("--device", default="cuda", help="cuda (default); cpu to try it out")
    run.add_argument("--threads", type=positive_int, default=min(8, os.cpu_count() or 1),
                     help="CPU threads of the training (default: up to 8)")  # fmt: skip
    run.add_argument("--skip", action="append", default=[], choices=tuple(SHARES)[1:], help="leave a step out")
    _add_sizes(run)
    run.set_defaults(act=session)
    cutting = actions.add_parser("cut", help="a run in pieces, to take it there")
    cutting.add_argument("run", metavar="RUN", type=Path, help="run folder")
    cutting.add_argument("out", metavar="OUT", type=folder, help="empty folder for the pieces")
    _add_sizes(cutting)
    cutting.set_defaults(act=_cut)
    join = actions.add_parser("join", help="put together what came back, or what was taken there")
    join.add_argument("out", metavar="OUT", type=Path, help="folder with the pieces")
    join.add_argument("run", metavar="RUN", type=folder, help="run folder")
    join.set_defaults(act=_join)
    return top


def _add_sizes(run: argparse.ArgumentParser) -> None:
    run.add_argument("--limit", type=size, default=16_000_000, help="bytes of a file that comes back (default 16MB)")
    run.add_argument("--pieces", type=positive_int, default=8, help="files that come back (default 8)")
    run.add_argument("--total", type=size, default=66_000_000, help="bytes of all of them (default 66MB)")


def _cut(arguments: argparse.Namespace) -> int:
    from recipes.pieces import cut

    _claim(arguments.out)
    brought = cut(arguments.run, arguments.out, arguments.limit, _budget(arguments))
    print(f"{arguments.out}: step {brought.step}", *brought.said, sep="\n")
    return 0


def _join(arguments: argparse.Namespace) -> int:
    from recipes.pieces import join

    step = join(arguments.out, arguments.run)
    print(f"{arguments.run}: step {step}; `flowvocoder train --resume --out {arguments.run}` continues from there")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one action; returns the exit code: 0, or 2 with one line on standard error."""
    with as_program():
        arguments = parser().parse_args(argv)
        return carry_out("recipes.gpu", arguments.act, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
