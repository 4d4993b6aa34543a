"""The work on one utterance, in this process or in others beside it."""

import concurrent.futures
import contextlib
import dataclasses
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TypeVar

import torch

from flowvocoder.audio import read_audio, write_audio
from flowvocoder.data.corpus import Utterance
from flowvocoder.errors import FlowVocoderError, OutputError
from flowvocoder.evaluation.alignment import find_lag
from flowvocoder.evaluation.hum import measure_hum
from flowvocoder.evaluation.pair import measure_pair
from flowvocoder.evaluation.results import Row, file_name
from flowvocoder.evaluation.signals import RATE, make_pair, to_rate
from flowvocoder.evaluation.systems import FolderSystem, Speech, System
from flowvocoder.progress import progress

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class Task:
    """One utterance by one system.

    Attributes:
        period: samples; the hum meter looks at multiples of sample_rate / period.
        sample_rate: Hz, of the evaluated model.
        audio: folder to write what was measured to.
    """

    utterance: Utterance
    system: System
    period: int
    sample_rate: int
    audio: Path | None = None

    @property
    def audio_file(self) -> Path | None:
        """Where its audio goes."""
        return None if self.audio is None else self.audio / file_name(self.system.name) / f"{self.utterance.id}.wav"


def measure(task: Task) -> Row | str:
    """The row, or one sentence on why there is none."""
    try:
        speech = task.system.speak(task.utterance)
        recording = to_rate(read_audio(task.utterance.path, RATE).samples, RATE)
        lag = round(speech.lag * RATE / speech.sample_rate)
        measured = measure_pair(recording, to_rate(speech.samples, speech.sample_rate), RATE, lag)
        if task.audio_file is not None:
            write_audio(task.audio_file, speech.samples, speech.sample_rate)
    except OutputError:
        raise  # the next utterance would meet the same disk
    except FlowVocoderError as error:
        return f"{task.system.name}: {task.utterance.id}: {error}"
    values = {**speech.values, **measured.values, **_hum(task, speech)}
    return Row(task.utterance.id, task.system.name, values, measured.notes)


def lag_of(job: tuple[FolderSystem, Utterance]) -> int | None:
    """How late a folder's copy of an utterance is, in samples at RATE; None if that cannot be told."""
    system, utterance = job
    try:
        speech = system.speak(utterance)
        recording = to_rate(read_audio(utterance.path, RATE).samples, RATE)
        pair = make_pair(recording, to_rate(speech.samples, speech.sample_rate))
    except FlowVocoderError:
        return None
    return find_lag(pair.reference, pair.generated) if len(pair.reference) > RATE // 2 else None


def run(function: Callable[[Job], Result], jobs: Sequence[Job], processes: int, what: str) -> Iterator[Result]:
    """function(job) for all jobs as they finish, with a progress bar; one thread a process.

    Raises:
        FlowVocoderError: a process was killed, by lack of memory most likely.
    """
    if processes == 1 or len(jobs) < 2:
        with _one_thread():
            yield from map(function, progress(jobs, what, "file"))
        return
    context = multiprocessing.get_context("spawn")
    workers = min(processes, len(jobs))
    with concurrent.futures.ProcessPoolExecutor(workers, context, initializer=_start_worker) as pool:
        futures = [pool.submit(function, job) for job in jobs]
        try:
            for future in progress(concurrent.futures.as_completed(futures), what, "file", len(futures)):
                yield future.result()
        except BrokenProcessPool as error:
            raise FlowVocoderError(
                f"a worker process was killed, perhaps for lack of memory: try less than --jobs {processes}"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _hum(task: Task, speech: Speech) -> dict[str, float]:
    samples = to_rate(speech.samples, speech.sample_rate, task.sample_rate)
    hum = measure_hum(samples, task.sample_rate, task.period)
    own = read_audio(task.utterance.path, task.sample_rate).samples
    recording = measure_hum(own, task.sample_rate, task.period)
    return {"hum_db": hum.mean, "hum_peak_db": hum.peak, "hum_recording_db": recording.mean}


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    torch.set_num_threads(1)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
