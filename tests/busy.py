"""Speed beside as many spinning programs as there are cores: `python -m tests.busy`, in a clone.

Compares PyTorch's own number of threads, as a program has it that sets none, with one thread; with `--all`, also that
number where `set_threads` asks for it. Runs alternate, and the table holds medians and the median of the ratios. Exit
code 1 if the default takes over a tenth longer than one thread.
"""

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import soundfile as sf
import torch

from flowvocoder.config import override
from flowvocoder.demo.service import Service
from flowvocoder.parallel import usable_cores
from flowvocoder.presets import preset
from flowvocoder.threads import set_threads
from flowvocoder.training.trainer import Trainer
from flowvocoder.vocoder import Vocoder

EXAMPLES = Path(__file__).parents[1] / "flowvocoder/examples"
SECONDS, CHUNK, STEPS = 4, 8, 4
MOST = 1.1


def works() -> dict[str, Callable[[], object]]:
    """What is timed."""
    vocoder = Vocoder.from_pretrained()
    service = Service.load()
    audio = torch.from_numpy(sf.read(EXAMPLES / "kathleen.flac", dtype="float32")[0][: SECONDS * vocoder.sample_rate])
    mel = vocoder.mel_for(audio)[0]

    def stream() -> None:
        begun = vocoder.stream(seed=0)
        for frames in mel.split(CHUNK, 1):
            begun.push(frames)
        begun.flush()

    def train() -> None:
        settings = ["batch=4", "segment=8192", f"steps={STEPS}", "validate_every=1000", "save_every=1000"]
        with tempfile.TemporaryDirectory() as folder:
            Trainer(override(preset("lapglow-tiny"), settings), [EXAMPLES], Path(folder) / "run").run()

    return {
        "resynth": lambda: vocoder.resynthesize(audio, seed=0),
        "stream": stream,
        "training": train,
        "demo": lambda: service.resynthesize(str(EXAMPLES / "kathleen.flac"), 0.7, 0, 0.0, 4),
    }


def measure(work: Callable[[], object], rounds: int, everything: bool) -> list[list[float]]:
    """Seconds of each round on PyTorch's number, on one thread and, if everything, on PyTorch's number for us too."""
    cores = usable_cores()
    taken: list[list[float]] = []
    for number in range(rounds + 1):
        this = []
        for threads, requested in ((cores, 1), (1, 1), *([(cores, cores)] if everything else [])):
            set_threads(requested)
            torch.set_num_threads(threads)
            started = time.perf_counter()
            work()
            this.append(time.perf_counter() - started)
        if number:  # the first warms up
            taken.append(this)
    return taken


@contextmanager
def spinning(count: int) -> Iterator[None]:
    """So many programs that do nothing, as fast as they can."""
    programs = [multiprocessing.get_context("spawn").Process(target=_spin, daemon=True) for _ in range(count)]
    for program in programs:
        program.start()
    try:
        yield
    finally:
        for program in programs:
            program.kill()


def _spin() -> None:
    parent = os.getppid()
    while os.getppid() == parent:
        for _ in range(1_000_000):
            pass


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.busy", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--all", action="store_true", help="also time PyTorch's number of threads within our methods")
    arguments = parser.parse_args()
    slow = []
    print("| | default, s | one thread, s | default / one |" + " all threads, s |" * arguments.all)
    print("|---|---|---|---|" + "---|" * arguments.all)
    with spinning(usable_cores()):
        for name, work in works().items():
            taken = measure(work, arguments.rounds, arguments.all)
            medians = [f"{statistics.median(column):.2f}" for column in zip(*taken, strict=True)]
            ratio = statistics.median(default / one for default, one, *_ in taken)
            print("|", " | ".join([name, *medians[:2], f"{ratio:.2f}", *medians[2:]]), "|", flush=True)
            slow += [name] * (ratio > MOST)
    print(f"slower than one thread: {', '.join(slow)}" if slow else "The default is as fast as one thread.")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
