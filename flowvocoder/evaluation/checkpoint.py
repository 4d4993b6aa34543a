"""Evaluating a checkpoint on its held-out utterances, beside other systems on the same ones."""

import dataclasses
import itertools
import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flowvocoder.audio.files import EXTENSIONS
from flowvocoder.checkpoint import CONFIG, read_config
from flowvocoder.data.corpus import Utterance, corpus_name, open_corpus, read_shard
from flowvocoder.errors import AudioError, ConfigError, FlowVocoderError
from flowvocoder.evaluation.candidates import (
    Candidate,
    CheckpointCandidate,
    FolderCandidate,
    GriffinLimCandidate,
    content_of,
    load,
)
from flowvocoder.evaluation.results import Cache, Evaluation, Row
from flowvocoder.evaluation.signals import RATE
from flowvocoder.evaluation.work import Task, lag_of, measure, run
from flowvocoder.extras import library
from flowvocoder.files import sha256_of_json
from flowvocoder.hub import is_on_hub
from flowvocoder.postfilter.settings import PostfilterSettings
from flowvocoder.presets import experiment_from_dict
from flowvocoder.voice_card import BUNDLED_VOICE, VoiceCard

GRIFFIN_LIM = "griffinlim"

DEFINITION = 6
"""Raised whenever a measure changes, so that rows of an older program are not reused."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to evaluate.

    Attributes:
        against: "griffinlim", another checkpoint's folder, or a folder of audio with the utterances' stems.
        everything: all utterances rather than the held-out ones.
        limit: at most this many of each corpus; None: no limit.
        temperature: None: each checkpoint's own.
        gl_iters, low_band_iters: post-filter iterations; None: each checkpoint's own.
        latency_ms: of a stream, whose iterations run in place of these.
        seed: of the noise and the dequantisation, the same for every utterance.
        draws: how often each utterance is drawn and measured, with seeds from `seed` on; its values are their means.
        lag: samples by which folders of audio are late; None: the median of what is found.
        jobs: processes, each of one thread.
        cluster: address of a Ray cluster whose processes these are, as of `cluster_map`.
        keep_audio: also write what was measured.
        groups: of slow measures to take as well: "pyin".
    """

    against: Sequence[str] = ()
    everything: bool = False
    limit: int | None = None
    temperature: float | None = None
    gl_iters: int | None = None
    low_band_iters: int | None = None
    latency_ms: float | None = None
    seed: int = 0
    draws: int = 1
    lag: int | None = None
    jobs: int = 1
    cluster: str | None = None
    device: str = "cpu"
    keep_audio: bool = False
    groups: tuple[str, ...] = ()

    @property
    def workers(self) -> tuple[int, str | None, bool]:
        """Where utterances are measured, as `work.run` takes it."""
        return self.jobs, self.cluster, self.device != "cpu"


def evaluate_checkpoint(
    checkpoint: Path | None, corpora: Sequence[Path], settings: Settings | None = None, out: Path | None = None
) -> Evaluation:
    """Measure a checkpoint (None: the bundled voice) on corpora, and `settings.against` on the same utterances.

    Rows are kept under `out` and taken from there if checkpoint, recording and settings are still the same.

    Raises:
        FlowVocoderError: a checkpoint, corpus or folder is unusable, or a library of the extra `evaluate` is missing.
            What only concerns one utterance is in `Evaluation.failures`.
    """
    settings = settings or Settings()
    for name in ("pesq", "pystoi", "pyworld"):
        library(name, "evaluate")
    path = checkpoint or BUNDLED_VOICE
    vocoder = load(path, settings.device)
    iterations = vocoder.iterations(settings.gl_iters, settings.low_band_iters, settings.latency_ms)
    utterances = choose(corpora, settings)
    systems = _systems(path, utterances, settings, vocoder.sample_rate)
    block = vocoder.model.block
    audio = out / "audio" if out is not None and settings.keep_audio else None
    tasks = [
        Task(utterance, system, block, vocoder.sample_rate, audio, settings.groups)
        for utterance in utterances
        for system in systems
    ]
    rows, failures = _rows(tasks, Cache(None if out is None else out / "utterances"), settings)
    if not rows:
        raise AudioError(f"nothing could be measured; first: {failures[0]}")
    about = _about(path, corpora, systems, settings, iterations, block)
    return Evaluation(about, [s.name for s in systems], rows, sorted(failures))


def _rows(tasks: Sequence[Task], cache: Cache, settings: Settings) -> tuple[list[Row], list[str]]:
    """The rows of tasks, in their order, kept ones or measured; and a sentence for each that has none."""
    rows: dict[tuple[str, str], Row] = {}
    keys: dict[tuple[str, str], str] = {}
    todo: list[Task] = []
    failures: list[str] = []
    for task in tasks:
        try:
            key = keys[task.place] = _key(task)
        except FlowVocoderError as error:
            failures.append(f"{task.system.name}: {error}")
            continue
        row = cache.get(*task.place, key)
        if row is None or (task.audio_file is not None and not task.audio_file.is_file()):
            todo.append(task)
        else:
            rows[task.place] = row
    for result in run(measure, todo, "evaluate", *settings.workers):
        if isinstance(result, Row):
            rows[result.place] = result
            cache.put(result, keys[result.place])
        elif isinstance(result, str):
            failures.append(result)
        else:
            utterance, system = result.item.place
            failures.append(f"{system}: {utterance}: its process was killed, for lack of memory perhaps")
    return [rows[task.place] for task in tasks if task.place in rows], failures


def choose(corpora: Sequence[Path], settings: Settings) -> list[Utterance]:
    """The utterances to evaluate: as training splits them, of every corpus.

    Raises:
        AudioError: a corpus cannot be read, or holds out nothing.
        ConfigError: two corpora of one name.
    """
    names = Counter(corpus_name(path) for path in corpora)
    twice = [name for name, times in names.items() if times > 1]
    if twice:
        raise ConfigError(f"two corpora are named {twice[0]!r}: utterance ids would not tell them apart")
    chosen = []
    for path in corpora:
        corpus = open_corpus(path)
        mine = corpus.held_out
        if settings.everything:
            shards = itertools.chain.from_iterable(map(read_shard, corpus.shards))
            mine = sorted([*corpus.training, *mine, *shards], key=lambda utterance: utterance.id)
        if not mine:
            raise AudioError(f"{path}: none of its recordings is held out: --all takes them all")
        chosen += [_of_corpus(corpus.name, utterance) for utterance in mine[: settings.limit]]
    return chosen


def _of_corpus(name: str, utterance: Utterance) -> Utterance:
    """With an id that begins with the corpus, which a manifest's need not."""
    known = utterance.id.startswith(f"{name}/")
    return utterance if known else dataclasses.replace(utterance, id=f"{name}/{utterance.id}")


def _systems(path: Path, utterances: list[Utterance], settings: Settings, sample_rate: int) -> list[Candidate]:
    others = [Path(text) for text in settings.against if text != GRIFFIN_LIM]
    for other in others:
        if not (is_on_hub(other) or other.is_dir()):
            raise ConfigError(f"--against {other}: no such folder, and not {GRIFFIN_LIM!r}")
    names = iter(distinct_names([path, *others]))
    systems: list[Candidate] = [_flow_system(next(names), path, settings)]
    for text in settings.against:
        if text == GRIFFIN_LIM:
            systems.append(GriffinLimCandidate(GRIFFIN_LIM, path, settings.seed, settings.draws))
            continue
        name, other = next(names), Path(text)
        if is_on_hub(other) or (other / CONFIG).is_file():
            systems.append(_flow_system(name, other, settings))
        else:
            systems.append(_folder_system(FolderCandidate(name, other, sample_rate), utterances, settings))
    repeated = [name for name, times in Counter(s.name for s in systems).items() if times > 1]
    if repeated:
        raise ConfigError(f"{repeated[0]} is named twice")
    return systems


def _flow_system(name: str, path: Path, settings: Settings) -> CheckpointCandidate:
    content = str(read_config(path)["config_sha256"])
    iterations = settings.gl_iters, settings.low_band_iters, settings.latency_ms
    seeds = settings.seed, settings.draws
    return CheckpointCandidate(name, path, content, settings.temperature, *iterations, *seeds, settings.device)


def _folder_system(system: FolderCandidate, utterances: list[Utterance], settings: Settings) -> FolderCandidate:
    """With its lag. Raises AudioError if it holds none of the utterances, ConfigError if one file would serve two."""
    files: dict[Path, str] = {}
    found = []
    for utterance in utterances:
        try:
            file = system.file(utterance)
        except AudioError:
            continue  # named when it is measured
        if file in files:
            raise ConfigError(
                f"{file}: would be taken for both {files[file]} and {utterance.id}: put them into folders named"
                " like the corpora"
            )
        files[file] = utterance.id
        found.append((system, utterance))
    if not found:
        example = utterances[0].id.partition("/")[2]
        raise AudioError(f"{system.root}: holds none of the utterances, such as {example}{EXTENSIONS[0]}")
    if settings.lag is not None:
        return dataclasses.replace(system, lag=settings.lag)
    lags = [lag for lag in run(lag_of, found, f"lag of {system.name}", *settings.workers) if isinstance(lag, int)]
    median = statistics.median(lags) if lags else 0
    return dataclasses.replace(system, lag=round(median * system.sample_rate / RATE))


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """The last part of each path, or as many as tell it from the others; two at least of a run's `run/checkpoint`."""
    parts = [path.resolve().parts[1:] for path in paths]
    names = []
    for mine in parts:
        count = 2 if mine[-1:] in (("checkpoint",), ("best",)) else 1
        while count < len(mine) and sum(other[-count:] == mine[-count:] for other in parts) > 1:
            count += 1
        names.append("/".join(mine[-count:]))
    return names


def _key(task: Task) -> str:
    return sha256_of_json({
        "definition": DEFINITION,
        "recording": content_of(task.utterance),
        "system": task.system.key(task.utterance),
        "block": task.block,
        "sample_rate": task.sample_rate,
        "groups": sorted(task.groups),
    })  # fmt: skip


def _about(
    path: Path,
    corpora: Sequence[Path],
    systems: Sequence[Candidate],
    settings: Settings,
    iterations: PostfilterSettings,
    block: int,
) -> dict[str, Any]:
    config = read_config(path)
    card = VoiceCard.from_dict(config["card"])
    return {
        "checkpoint": systems[0].name,
        "weights_sha256": config["weights_sha256"],
        "corpora": [corpus_name(path) for path in corpora],
        "held_out": not settings.everything,
        "limit": settings.limit,
        "temperature": settings.temperature if settings.temperature is not None else card.temperature,
        **dataclasses.asdict(iterations),
        "seed": settings.seed,
        "draws": settings.draws,
        "lags": {s.name: s.lag for s in systems if isinstance(s, FolderCandidate)},
        "device": settings.device,
        "processes": settings.jobs,
        "block": block,
        "sample_rate": _rate(path),
        "sample_rates": {s.name: _rate(s.checkpoint) for s in systems if isinstance(s, CheckpointCandidate)},
    }


def _rate(path: Path) -> int:
    return experiment_from_dict(read_config(path)).mel.sample_rate
