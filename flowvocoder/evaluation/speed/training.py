"""Training speed: the trainer's own steps on the bundled recordings, each setting in processes of its own."""

import dataclasses
import itertools
import multiprocessing
import os
import resource
import signal
import socket
import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from flowvocoder.config import Experiment, override
from flowvocoder.ending import leave_at_signals, surely
from flowvocoder.errors import FlowVocoderError
from flowvocoder.presets import preset
from flowvocoder.threads import set_threads
from flowvocoder.training.distributed import DistributedContext
from flowvocoder.training.trainer import Trainer
from flowvocoder.unfinished import scratch

RECORDINGS = Path(__file__).parents[2] / "examples"

MATRIX = {"cpu": 1024, "cuda": 8192}
"""Rows and columns of the matrices whose product is taken for the peak of a device."""

PRODUCTS = 12
PEAK_SECONDS = 1.0
"""At least this many products, for at least this long; the fastest one counts."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """What to measure: a preset, the whole batch, precision as `train.precision` takes it, processes that share it."""

    preset: str
    batch: int
    precision: str
    processes: int = 1

    def experiment(self, settings: Sequence[str]) -> Experiment:
        """With `key=value` overrides. Raises ConfigError."""
        return override(preset(self.preset), [*settings, f"batch={self.batch}", f"precision={self.precision}"])


@dataclasses.dataclass(frozen=True)
class Effort:
    """How long to measure, and on what.

    Attributes:
        warmup, steps: not timed, and timed.
        threads: of each process; None: PyTorch's choice.
        settings: `key=value` overrides of every preset.
    """

    warmup: int = 2
    steps: int = 8
    device: str = "cpu"
    threads: int | None = None
    settings: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Speed:
    """What was measured of one setting.

    Attributes:
        dtype: that the networks ran in.
        seconds: of a step, median, fastest and slowest.
        busy: processor seconds of the median step, of one process and all its threads; beside a GPU, of the wall.
        audio_rate: seconds of audio trained on in a second, all processes together.
        memory: peak, bytes of one process: of the GPU's memory, or of the process on a CPU.
        flops: of the matrix products and convolutions of a step, all processes together; None if not countable.
        peak: FLOP/s of a matrix product in `dtype`, by the same clock as `busy`, all processes together.
    """

    setting: Setting
    dtype: str
    seconds: tuple[float, float, float]
    busy: float
    audio_rate: float
    memory: int
    flops: int | None
    peak: float

    @property
    def share(self) -> float | None:
        """Of the peak. On a CPU both by processor time, so that other programs on the machine do not count."""
        return None if self.flops is None else self.flops / self.busy / self.peak

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {**dataclasses.asdict(self), "steps_per_second": 1.0 / self.seconds[0], "share_of_peak": self.share}


def grid(
    presets: Iterable[str], batches: Iterable[int], precisions: Iterable[str], processes: Iterable[int]
) -> list[Setting]:
    """All combinations, those that differ in processes beside each other."""
    return [Setting(*values) for values in itertools.product(presets, batches, precisions, processes)]


def measure_all(settings: Iterable[Setting], effort: Effort) -> Iterator[tuple[Setting, Speed | str]]:
    """Each setting with its speed, or with one sentence on why there is none."""
    for setting in settings:
        try:
            yield setting, measure(setting, effort)
        except FlowVocoderError as error:
            yield setting, str(error)


def measure(setting: Setting, effort: Effort) -> Speed:
    """The speed of one setting, in fresh processes, so that its memory is its own.

    Raises:
        FlowVocoderError: it cannot run, or a process was killed.
    """
    setting.experiment(effort.settings)  # refuses what cannot be before anything starts
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    port = _free_port()
    workers = [
        context.Process(target=_worker, args=(setting, effort, rank, port, theirs if rank == 0 else None), daemon=True)
        for rank in range(setting.processes)
    ]
    with surely(lambda: _end(workers)):
        for worker in workers:
            worker.start()
        theirs.close()
        running = {worker.sentinel: worker for worker in workers}
        while True:
            ready = wait([ours, *running])
            if ours in ready:
                result = _received(ours)
                for worker in workers:
                    worker.join(10)
                return result
            ended = [running.pop(sentinel) for sentinel in ready if isinstance(sentinel, int)]
            failed = [worker for worker in ended if worker.exitcode]
            if failed:
                raise FlowVocoderError(f"a process ended with {failed[0].exitcode}: out of memory?")


def _end(workers: Sequence[multiprocessing.process.BaseProcess]) -> None:
    started = [worker for worker in workers if worker.pid is not None]
    for worker in started:
        worker.terminate()
    for worker in started:
        worker.join()


def matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of the fastest of a few products of square matrices."""
    size = MATRIX.get(device.type, 2048)
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    taken: list[float] = []
    while len(taken) < PRODUCTS or sum(taken) < PEAK_SECONDS:
        started = _busy(device)
        a @ b
        taken.append(_busy(device) - started)
    return 2.0 * size**3 / min(taken)


def _received(connection: Connection) -> Speed:
    try:
        result: Speed | str = connection.recv()
    except EOFError as error:
        raise FlowVocoderError("a process ended without a result: out of memory?") from error
    if isinstance(result, str):
        raise FlowVocoderError(result)
    return result


def _worker(setting: Setting, effort: Effort, rank: int, port: int, connection: Connection | None) -> None:
    """One process; process 0 sends what all measured together, or a sentence."""
    os.environ.update(
        WORLD_SIZE=str(setting.processes), RANK=str(rank), LOCAL_RANK=str(rank),
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
    )  # fmt: skip
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    leave_at_signals()
    if effort.threads is not None:
        set_threads(effort.threads)
    try:
        result: Speed | str = _measure_here(setting, effort)
    except FlowVocoderError as error:
        result = str(error)
    except RuntimeError as error:  # out of memory, as PyTorch says it
        result = str(error).strip().splitlines()[0]
    if connection is not None:
        connection.send(result)


def _measure_here(setting: Setting, effort: Effort) -> Speed:
    experiment = setting.experiment(effort.settings)
    world = DistributedContext.join(effort.device)
    with scratch("bench") as folder:
        trainer = Trainer(experiment, [RECORDINGS], folder / "run", processes=world)
        rate = experiment.train.optim.lr

        def step() -> None:
            trainer.train_step(rate)
            trainer.step += 1

        for _ in range(effort.warmup):
            step()
        flops = None if experiment.train.run.compile else _count(step)
        if world.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(world.device)
        taken, busy = [], []
        for _ in range(effort.steps):
            world.wait()
            started, worked = _now(world.device), _busy(world.device)
            step()
            busy.append(_busy(world.device) - worked)
            taken.append(_now(world.device) - started)
        memory = _peak_memory(world.device)
        trainer.close()
        dtype = trainer.objective.dtype or torch.float32
    world.wait()
    peak = sum(world.gather(matmul_peak(world.device, dtype)))
    seconds, mel = statistics.median(taken), experiment.mel
    segment = experiment.train.optim.segment // mel.hop_length * mel.hop_length
    speed = Speed(
        setting,
        str(dtype).removeprefix("torch."),
        (seconds, min(taken), max(taken)),
        statistics.median(busy),
        experiment.train.optim.batch * segment / mel.sample_rate / seconds,
        max(world.gather(memory)),
        None if flops is None else flops * world.size,
        peak,
    )
    world.leave()
    return speed


def _count(step: Any) -> int:
    with FlopCounterMode(display=False) as counter:
        step()
    return int(counter.get_total_flops())


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _busy(device: torch.device) -> float:
    """Seconds of this process' processors, or of the wall where something else does the work."""
    return time.process_time() if device.type == "cpu" else _now(device)


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
