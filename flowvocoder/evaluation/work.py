"""The work on one utterance, in this process or in others beside it."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from flowvocoder.audio.files import write_audio
from flowvocoder.cluster import cluster_map
from flowvocoder.data.corpus import Utterance
from flowvocoder.errors import AudioError, FlowVocoderError, OutputError
from flowvocoder.evaluation.alignment import find_lag
from flowvocoder.evaluation.candidates import Candidate, FolderCandidate, Speech
from flowvocoder.evaluation.measures import functions
from flowvocoder.evaluation.measures.block_tones import block_tones_of_recording
from flowvocoder.evaluation.pair import measure_pair
from flowvocoder.evaluation.results import Row, place
from flowvocoder.evaluation.signals import RATE, Values, make_pair, to_rate
from flowvocoder.parallel import Crashed, ordered_map
from flowvocoder.progress import progress
from flowvocoder.threads import own_threads

Job = TypeVar("Job")
Result = TypeVar("Result")


FARTHEST_LENGTHS = 1.25
"""Audio that is this many times as long as the recording, or as short, is no copy of it."""


@dataclasses.dataclass(frozen=True)
class Task:
    """One utterance by one system.

    Attributes:
        block: samples; block-rate tones are looked for at multiples of sample_rate / block.
        sample_rate: Hz, of the evaluated model.
        audio: folder to write what was measured to.
        groups: of slow measures to take as well.
    """

    utterance: Utterance
    system: Candidate
    block: int
    sample_rate: int
    audio: Path | None = None
    groups: tuple[str, ...] = ()

    @property
    def place(self) -> tuple[str, str]:
        """Utterance and system, as `Row.place`."""
        return self.utterance.id, self.system.name

    @property
    def audio_file(self) -> Path | None:
        """Where its audio goes."""
        return None if self.audio is None else self.audio / place(self.system.name, self.utterance.id, ".wav")


def measure(task: Task) -> Row | str:
    """The row, or one sentence on why there is none; on one thread."""
    with own_threads(1):
        return _measure(task)


def _measure(task: Task) -> Row | str:
    try:
        recording = to_rate(task.utterance.read(RATE), RATE)
        own = block_tones_of_recording(task.utterance.read(task.sample_rate), task.sample_rate, task.block)
        drawn = [_draw(task, draw, recording) for draw in range(task.system.draws)]
    except OutputError:
        raise  # the next utterance would meet the same disk
    except FlowVocoderError as error:
        return f"{task.system.name}: {task.utterance.id}: {error}"
    notes = list(dict.fromkeys(note for _, notes in drawn for note in notes))
    draws = [{**values, **own} for values, _ in drawn]
    return Row(task.utterance.id, task.system.name, draws, notes)


def _draw(task: Task, draw: int, recording: Values) -> tuple[dict[str, float], list[str]]:
    """Values and notes; of the first draw the audio is kept."""
    speech = task.system.speak(task.utterance, draw)
    lag = round(speech.lag * RATE / speech.sample_rate)
    spoken, whole = len(speech.samples) / speech.sample_rate, len(recording) / RATE
    if not whole / FARTHEST_LENGTHS < spoken - speech.lag / speech.sample_rate < whole * FARTHEST_LENGTHS:
        raise AudioError(f"its audio is {spoken:.2f} s long, the recording {whole:.2f} s")
    measured = measure_pair(recording, to_rate(speech.samples, speech.sample_rate), RATE, lag, task.groups)
    if task.audio_file is not None and draw == 0:
        write_audio(task.audio_file, speech.samples, speech.sample_rate)
    return {**speech.values, **measured.values, **_of_speech(task, speech)}, measured.notes


def lag_of(job: tuple[FolderCandidate, Utterance]) -> int | None:
    """How late a folder's copy of an utterance is, in samples at RATE; None if that cannot be found."""
    system, utterance = job
    try:
        with own_threads(1):
            speech = system.speak(utterance)
        recording = to_rate(utterance.read(RATE), RATE)
        pair = make_pair(recording, to_rate(speech.samples, speech.sample_rate))
    except FlowVocoderError:
        return None
    return find_lag(pair.reference, pair.generated) if len(pair.reference) > RATE // 2 else None


def run(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    what: str,
    processes: int,
    cluster: str | None = None,
    on_gpu: bool = False,
) -> Iterator[Result | Crashed[Job]]:
    """function(job) for all jobs, in any order, with a progress bar; a single job starts no process."""
    results: Iterator[Result | Crashed[Job]] = ordered_map(function, jobs, processes if len(jobs) > 1 else 1)
    if cluster is not None and jobs:
        results = (result for _, result in cluster_map(function, jobs, cluster, processes, on_gpu))
    return progress(results, what, "file", len(jobs))


def _of_speech(task: Task, speech: Speech) -> dict[str, float]:
    samples = to_rate(speech.samples, speech.sample_rate, task.sample_rate)
    values: dict[str, float] = {}
    for function in functions("speech", task.groups):
        values.update(function(samples, task.sample_rate, task.block))
    return values
