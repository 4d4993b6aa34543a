"""The training loop."""

import contextlib
import math
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from flowvocoder.checkpoint import (
    Checkpoint,
    build_model,
    build_postfilter,
    load_checkpoint,
    modules,
    save_checkpoint,
)
from flowvocoder.config import Experiment
from flowvocoder.data.corpus import open_corpora
from flowvocoder.data.streaming import open_sampler
from flowvocoder.errors import CheckpointError, ConfigError, FlowVocoderError, TrainingError, both
from flowvocoder.files import recover_folder
from flowvocoder.migration import FORMAT_VERSION
from flowvocoder.postfilter.settings import PostfilterSettings
from flowvocoder.progress import is_terminal
from flowvocoder.threads import own_threads
from flowvocoder.training.batch import prepare
from flowvocoder.training.differences import check_same_run, difference
from flowvocoder.training.distributed import DistributedContext
from flowvocoder.training.folder import BEST, CHECKPOINT, STATE, check_free, resumes, sign
from flowvocoder.training.loading import Loader
from flowvocoder.training.logs import RunLog, headline, open_log
from flowvocoder.training.objective import Objective
from flowvocoder.training.schedule import learning_rate
from flowvocoder.training.start import check_networks, freeze, initial_voice, recompute_activations, take_weights
from flowvocoder.training.state import has_tensors, load_progress, load_state, lost_of, save_state, saved_experiment
from flowvocoder.training.updates import Updates
from flowvocoder.training.validation import Validation, read_held_out
from flowvocoder.voice_card import VoiceCard

MAX_SKIPPED = 20
"""Steps in a row without a finite gradient after which a run has diverged."""


class Trainer:
    """Trains one model; everything drawn at random is a function of (seed, step).

    Args:
        experiment: what to train and how.
        corpora: folders of audio, manifests or folders of shards, as `open_corpus` takes them.
        out: run folder: `checkpoint/` and `best/` (averaged weights), `state/`, `log.jsonl`, `tensorboard/`.
        resume: continue from `out/state` if it is there; so does a run that torchrun restarts.
        init_from: checkpoint folder whose weights to start from.
        licence: of the weights, recorded in the checkpoints; None: that of the resumed run, or unknown.
        processes: those of the run; None: this one alone, on the CPU.

    Raises:
        FlowVocoderError: a corpus, checkpoint or folder is unusable.
    """

    @own_threads()
    def __init__(
        self,
        experiment: Experiment,
        corpora: Sequence[Path],
        out: Path,
        resume: bool = False,
        init_from: Path | None = None,
        licence: str | None = None,
        processes: DistributedContext | None = None,
    ):
        self.experiment, self.config = experiment, experiment.train
        self.out, self.licence = out, licence
        self.processes = processes or DistributedContext(0, 1, torch.device("cpu"))
        check_batch(experiment, self.processes)
        resume = resumes(out, resume)
        self._claim_folder(resume)
        start = None if init_from is None else load_checkpoint(init_from)
        data = open_corpora(corpora)
        self.names = [c.name for c in data]
        optim, run = self.config.optim, self.config.run
        held_out = data if self.processes.is_main else []
        self.sampler, items = both(
            lambda: open_sampler(data, experiment.mel, optim.segment, run.seed, self.config.data),
            lambda: read_held_out(held_out, experiment.mel),
        )
        self.loader = Loader(self.sampler, optim.batch, self.processes)
        if not resume:
            check_networks(experiment, start)
        self.model, self.postfilter = initial_voice(experiment, start, init_from)
        self.voice = modules(self.model, self.postfilter).to(self.processes.device)
        freeze(self.model, self.postfilter, experiment)
        recompute_activations(self.model, run.recompute)
        self.objective = Objective(self.model, self.postfilter, experiment, self.processes)
        self.updates = Updates(self.voice, self.objective, self.config, self.processes)
        self.step, self.seconds = 0, 0.0
        self.since = 0  # step from which on the optimiser has averaged gradients
        self.skipped = 0  # steps in a row that were not finite
        self.best: float | None = None  # held-out nats per sample
        self.stale = 0  # validations since the best one
        self.changed = ""  # settings in which a resumed run differs from what it was
        if resume and (out / STATE).exists():
            self._resume(out / STATE)
        self.validation = Validation(items, self._card())
        if self.processes.is_main:
            sign(out)
        self.log: RunLog = open_log(out, self.step, self.processes.is_main)
        self.stop_signal: int | None = None
        self.stopped = ""  # why, where it was not the last step

    @own_threads()
    def run(self, max_steps: int | None = None, max_minutes: float | None = None) -> None:
        """Train to the last step, or to the first SIGTERM or SIGINT; saves either way.

        Args:
            max_steps: stop after this step; the schedule stays that of `optim.steps`.
            max_minutes: stop after so many minutes from now.

        Raises:
            TrainingError: no finite gradient in MAX_SKIPPED steps in a row, or weights that are not finite; what was
                saved before is left as it is.
        """
        from tqdm import tqdm

        now = time.monotonic()
        started, saved = now - self.seconds, self.step
        deadline = math.inf if max_minutes is None else now + 60.0 * max_minutes
        steps, run = self.config.optim.steps, self.config.run
        last = steps if max_steps is None else min(max_steps, steps)
        bar = tqdm(total=steps, initial=self.step, unit="step", dynamic_ncols=True,
                   disable=not (is_terminal() and self.processes.is_main))  # fmt: skip
        try:
            with self._signals():
                if self.step == 0 and self.validation.items and self.config.draws_samples:
                    self._validate()  # the likelihood before refinement
                while self.step < last and not self._stop(deadline):
                    values = self.train_step(learning_rate(self.step, self.config.optim, self.since))
                    self.step += 1
                    self.seconds = time.monotonic() - started
                    self.log.step(self.step, self.seconds, values)
                    bar.update()
                    if text := headline(values):
                        bar.set_postfix_str(text)
                    ends = self.step == steps
                    if (self.step % run.validate_every == 0 or ends) and self.processes.is_main:
                        self._validate()
                    if self.step % run.save_every == 0 or ends:
                        self._save(CHECKPOINT)
                        saved = self.step
                if saved != self.step:
                    self._save(CHECKPOINT)
        finally:
            bar.close()
            self.close()

    def close(self) -> None:
        """Stop making batches, and close the log. Nothing is saved."""
        self.loader.close()
        self.log.close()

    @own_threads()
    def train_step(self, rate: float) -> dict[str, float]:
        """One step at a learning rate; its terms, averaged over the batch, or {"skipped": 1} if it was not finite."""
        batch = self.loader.batch(self.step)
        shard, device = self.loader.shard, self.processes.device
        prepared = prepare(batch, self.model, self.config, self.step, shard, device)
        terms, finite = self.updates.apply(prepared, rate, self.step)
        if not terms:
            self._report_skipped(batch.ids, finite)
            return {"skipped": 1.0}
        self.skipped = 0
        return terms

    def _report_skipped(self, ids: Sequence[str], finite: list[bool]) -> None:
        wrong = [i for i, is_finite in zip(ids, finite, strict=True) if not is_finite] or list(ids)
        named = ", ".join(i for shard in self.processes.gather(wrong) for i in shard)
        step = self.step + 1
        self.log.message(step, f"step {step} skipped: loss or gradient not finite; drawn from {named}")
        self.skipped += 1
        if self.skipped == MAX_SKIPPED:
            raise TrainingError(
                f"{self.out}: no finite loss or gradient in {self.skipped} steps, the last of them {step}: if it is not"
                " the data, try a lower learning rate; what was saved before is left as it is"
            )

    def _stop(self, deadline: float) -> bool:
        patience = self.config.run.patience
        reasons = [
            float(self.stop_signal or 0),
            float(time.monotonic() > deadline),
            float(0 < patience <= self.stale),
        ]
        number, late, stale = self.processes.all_reduce_max(reasons)
        if number:
            self.stopped = f"stopped by signal {int(number)}"
        elif late:
            self.stopped = "stopped: its minutes are over"
        elif stale:
            self.stopped = f"stopped early: no better validation in the last {patience}"
        return bool(self.stopped)

    def _validate(self) -> None:
        averaged = self.averaged()
        values = self.validation.measure(averaged.model, self.processes.device)
        if not values:
            return
        self.log.validation(self.step, values)
        examples = self.validation.examples(averaged.model, averaged.postfilter)
        self.log.plots(self.step, examples, self.experiment.mel.sample_rate)
        self.stale += 1
        # Only stage flow changes the likelihood; elsewhere the last validation is the best.
        if self.best is None or self.config.stage != "flow" or values["nats"] > self.best:
            self.best, self.stale = values["nats"], 0
            self._save(BEST, values)

    def averaged(self, card: VoiceCard | None = None) -> Checkpoint:
        """The voice with averaged weights."""
        model, postfilter = build_model(self.experiment), build_postfilter(self.experiment)
        voice = modules(model, postfilter).to(self.processes.device).eval()
        voice.load_state_dict({**self.voice.state_dict(), **self.updates.ema.average})
        if not all(bool(p.isfinite().all()) for p in voice.parameters()):
            raise TrainingError(f"{self.out}: weights are not finite at step {self.step}: not saved")
        return Checkpoint(model, self.experiment, card or VoiceCard(), postfilter)

    def _save(self, name: str, metrics: dict[str, float] | None = None) -> None:
        if not self.processes.is_main:
            return
        save_checkpoint(self.out / name, self.averaged(self._card(metrics or self.log.last_validation)))
        if name == CHECKPOINT:
            progress = {
                "format_version": FORMAT_VERSION,
                "step": self.step,
                "best": self.best,
                "stale": self.stale,
                "seconds": self.seconds,
                "scaler": self.updates.scaler.state_dict(),
                "experiment": self.experiment.to_dict(),
                "training_data": self.names,
                "licence": self.licence,
            }
            save_state(self.out / STATE, self.updates.learners, self.updates.ema, progress)

    def _card(self, metrics: dict[str, float] | None = None) -> VoiceCard:
        """The voice card as of this step."""
        sampling = self.config.sampling
        return VoiceCard(
            licence=self.licence or "unknown",
            training_data=tuple(self.names),
            training_minutes=round(self.sampler.samples / self.experiment.mel.sample_rate / 60, 1),
            step=self.step,
            hours=round(self.seconds / 3600, 3),
            temperature=sampling.temperature,
            postfilter=PostfilterSettings(sampling.gl_iters, sampling.low_band_iters),
            metrics=metrics or {},
        )

    def _claim_folder(self, resume: bool) -> None:
        """Refuse a folder that is in use, on all processes alike."""
        refusal = ""
        if self.processes.is_main:
            for name in (STATE, CHECKPOINT, BEST):
                recover_folder(self.out / name)
            try:
                check_free(self.out, resume)
            except FlowVocoderError as error:
                if self.processes.size == 1:
                    raise
                refusal = str(error)
        refusal = self.processes.gather(refusal)[0]
        if refusal:
            raise ConfigError(refusal)

    def _resume(self, state: Path) -> None:
        before, lost = saved_experiment(state), lost_of(state)
        check_same_run(self.out, self.experiment, before)
        whole = has_tensors(state)
        progress = load_state(state, self.updates.learners, self.updates.ema) if whole else self._from_checkpoint(state)
        data = {"training_data": progress.get("training_data", self.names)}
        now, then = self.experiment.to_dict()["train"], before.to_dict()["train"]
        changed = difference({**now, "training_data": self.names}, {**then, **data})
        self.changed = "; ".join([*filter(None, [changed]), *lost])
        try:
            self.step, self.best, self.seconds = int(progress["step"]), progress["best"], float(progress["seconds"])
            self.stale = int(progress["stale"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{state / 'state.json'}: truncated or not the state of a run") from error
        self.since = 0 if whole else self.step
        self.licence = self.licence or progress.get("licence")
        scaler = self.updates.scaler
        if scaler.is_enabled() and progress["scaler"]:
            scaler.load_state_dict(progress["scaler"])

    def _from_checkpoint(self, state: Path) -> dict[str, Any]:
        """Averaged weights instead of a state's tensors, which may be too large to bring along."""
        progress, path = load_progress(state), self.out / CHECKPOINT
        if self.objective.adversary is not None:
            raise CheckpointError(f"{state}: has no state.safetensors, and the discriminators are nowhere else")
        take_weights(self.model, self.postfilter, self.experiment, load_checkpoint(path), path)
        self.updates.ema.restart(self.voice)
        return progress

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        previous = {s: signal.signal(s, self._on_signal) for s in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.stop_signal = number


def check_batch(experiment: Experiment, processes: DistributedContext) -> None:
    """Raises ConfigError for a batch that processes and pieces cannot share evenly."""
    batch, accumulate = experiment.train.optim.batch, experiment.train.run.accumulate
    if batch % (processes.size * accumulate):
        raise ConfigError(
            f"train.optim.batch {batch} must be a multiple of {processes.size} processes"
            f" x train.run.accumulate {accumulate}"
        )
