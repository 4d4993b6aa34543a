"""The training loop."""

import contextlib
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

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
from flowvocoder.errors import CheckpointError, ConfigError, FlowVocoderError, TrainingError
from flowvocoder.files import recover_folder
from flowvocoder.migration import FORMAT_VERSION
from flowvocoder.postfilter.chain import PostFilter
from flowvocoder.postfilter.settings import PostfilterSettings
from flowvocoder.training.distributed import World
from flowvocoder.training.folder import BEST, CHECKPOINT, STATE, check_free, goes_on, sign
from flowvocoder.training.loading import Loader
from flowvocoder.training.logs import RunLog, headline, open_log
from flowvocoder.training.objective import Draw, Objective, draw, recompute_activations
from flowvocoder.training.schedule import relative_rate
from flowvocoder.training.state import Ema, Learner, difference, load_state, read_experiment, save_state
from flowvocoder.training.validation import Validation
from flowvocoder.voice_card import VoiceCard

MOST_SKIPPED = 20
"""Steps in a row without a finite gradient after which a run has diverged."""


class Trainer:
    """Trains one model on the processes of `world`; everything drawn at random is a function of (seed, step).

    Args:
        experiment: what to train and how.
        corpora: folders of audio, manifests or folders of shards, as `open_corpus` takes them.
        out: run folder: `checkpoint/` and `best/` (averaged weights), `state/`, `log.jsonl`, `tensorboard/`.
        resume: go on from `out/state` if it is there; so does a run that torchrun began and restarts.
        init_from: checkpoint folder whose weights to start from.
        licence: of the data, recorded in the checkpoints; None: what a run that goes on has, or unknown.
        world: the processes; None: this one alone, on the CPU.

    Raises:
        FlowVocoderError: a corpus, checkpoint or folder is unusable.
    """

    def __init__(
        self,
        experiment: Experiment,
        corpora: Sequence[Path],
        out: Path,
        resume: bool = False,
        init_from: Path | None = None,
        licence: str | None = None,
        world: World | None = None,
    ):
        self.experiment, self.config = experiment, experiment.train
        self.out, self.licence = out, licence
        self.world = world or World(0, 1, torch.device("cpu"))
        self._check_shares()
        state = out / STATE
        resume = goes_on(out, resume)
        refusal = ""
        if self.world.leads:
            for name in (STATE, CHECKPOINT, BEST):
                recover_folder(out / name)
            try:
                check_free(out, resume)
            except FlowVocoderError as error:
                if self.world.size == 1:
                    raise
                refusal = str(error)
        refusal = self.world.gather(refusal)[0]
        if refusal:
            raise ConfigError(refusal)
        start = load_checkpoint(init_from) if init_from is not None else None
        data = open_corpora(corpora)
        self.names = [c.name for c in data]
        self.sampler = open_sampler(data, experiment.mel, self.config.segment, self.config.seed)
        self.loader = Loader(self.sampler, self.config.batch, self.world)
        torch.manual_seed(self.config.seed)
        self.model = build_model(experiment)
        self.postfilter = build_postfilter(experiment) or PostFilter(experiment.mel)
        self.voice = modules(self.model, self.postfilter).to(self.world.device)
        if start is not None:
            self._start_from(start, init_from)
        fresh = start is None or start.postfilter is None
        if experiment.postfilter is not None and fresh and self.config.fine_weight == 0 and not resume:
            raise ConfigError("postfilter.guide_channels: the guide network is trained after the flow, from its"
                              " checkpoint (--preset lapglow-fine)")  # fmt: skip
        self.postfilter.requires_grad_(self.config.fine_weight > 0)
        if self.config.samples_only:
            self._freeze_the_flow()
        recompute_activations(self.model, self.config.recompute)
        self.ema = Ema(self.voice, self.config.ema)
        taught = [p for p in self.voice.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            taught, lr=self.config.lr, betas=(0.9, 0.99), weight_decay=self.config.weight_decay, fused=True
        )
        self.objective = Objective(self.model, self.postfilter, experiment, self.world)
        self.learners = [Learner("voice", self.voice, self.optimizer)]
        if self.objective.adversary is not None:
            adversary = self.objective.adversary
            self.learners.append(Learner("discriminators", adversary.net, adversary.optimizer))
        # Where float16 gradients would underflow; its state resumes with the run.
        self.scaler = torch.amp.grad_scaler.GradScaler(
            self.world.device.type, enabled=self.objective.dtype is torch.float16, growth_interval=500
        )
        self.step, self.seconds = 0, 0.0
        self.skipped = 0  # steps in a row that were not finite
        self.best: float | None = None  # held-out nats per sample
        self.stale = 0  # validations since the best one
        self.changed = ""  # settings in which a resumed run differs from what it was
        if resume and state.exists():
            self._resume(state)
        held_out = [u for c in data for u in c.held_out]
        self.validation = Validation(held_out if self.world.leads else [], experiment.mel, self._card())
        if self.world.leads:
            sign(out)
        self.log: RunLog = open_log(out, self.step, self.world.leads)
        self.stop_signal: int | None = None
        self.stopped = ""  # why, where it was not the last step

    def run(self, max_steps: int | None = None, max_minutes: float | None = None) -> None:
        """Train to the last step, or to the first SIGTERM or SIGINT; saves either way.

        Args:
            max_steps: stop after this step all the same (the schedule stays that of `config.steps`).
            max_minutes: stop after so long, counted from now.

        Raises:
            TrainingError: no finite gradient in MOST_SKIPPED steps in a row, or weights that are not; what was saved
                before is left as it is.
        """
        from tqdm import tqdm

        now = time.monotonic()
        started, saved = now - self.seconds, self.step
        deadline = math.inf if max_minutes is None else now + 60.0 * max_minutes
        last = self.config.steps if max_steps is None else min(max_steps, self.config.steps)
        bar = tqdm(total=self.config.steps, initial=self.step, unit="step", dynamic_ncols=True,
                   disable=not (sys.stderr.isatty() and self.world.leads))  # fmt: skip
        try:
            with self._signals():
                if self.step == 0 and self.validation.items and self.config.samples_at(0):
                    self._validate()  # the likelihood before refinement
                while self.step < last and not self._stop(deadline):
                    values = self.train_step(self.config.lr * relative_rate(self.step, self.config))
                    self.step += 1
                    self.seconds = time.monotonic() - started
                    self.log.step(self.step, self.seconds, values)
                    bar.update()
                    if told := headline(values):
                        bar.set_postfix_str(told)
                    ends = self.step == self.config.steps
                    if (self.step % self.config.validate_every == 0 or ends) and self.world.leads:
                        self._validate()
                    if self.step % self.config.save_every == 0 or ends:
                        self._save(CHECKPOINT)
                        saved = self.step
                if saved != self.step:
                    self._save(CHECKPOINT)
        finally:
            bar.close()
            self.loader.close()
            self.log.close()

    def train_step(self, rate: float) -> dict[str, float]:
        """One step at a learning rate; its terms, averaged over the batch, or {"skipped": 1} if it was not finite."""
        batch = self.loader.batch(self.step)
        whole = draw(
            batch.audio, batch.mel, self.model, self.config, self.step, self.config.batch, self.loader.part,
            self.world.device,
        )  # fmt: skip
        for learner in self.learners:
            learner.optimizer.zero_grad(set_to_none=True)
        self._set_rates(rate)
        sums: dict[str, Tensor] = {}
        finite: list[Tensor] = []
        for piece, communicate in self._pieces(whole):
            with communicate():
                total, terms, nats = self.objective(piece)
                self.scaler.scale(total / self.config.accumulate).backward()
            finite.append(nats.isfinite())
            for name, value in terms.items():
                value = value.detach().float() / self.config.accumulate
                sums[name] = sums[name] + value if name in sums else value
        norms = []
        taught = [x for x in self.learners if any(p.grad is not None for p in x.net.parameters())]
        for learner in taught:
            self.scaler.unscale_(learner.optimizer)
            norms.append(nn.utils.clip_grad_norm_(learner.net.parameters(), self.config.clip))
        # A loss scale is found by halving it until gradients are finite; below 1 it is not what makes them infinite.
        searching = self.scaler.is_enabled() and self.scaler.get_scale() >= 1.0
        if not all(torch.isfinite(norm) for norm in norms) and not searching:
            self.scaler.update()
            self._report_skipped(batch.ids, torch.cat(finite).tolist())
            return {"skipped": 1.0}
        self.skipped = 0
        for learner in taught:
            self.scaler.step(learner.optimizer)
        self.scaler.update()
        self.ema.update(self.voice, self.step)
        means = self.world.mean(torch.stack(list(sums.values())))
        return {**dict(zip(sums, means.tolist(), strict=True)), "gradient_norm": float(norms[0]), "lr": rate}

    def _pieces(self, whole: Draw) -> Iterator[tuple[Draw, Callable[[], Any]]]:
        """Our share of the batch in `accumulate` pieces; gradients are exchanged after the last one only."""
        items = len(whole.audio) // self.config.accumulate
        parallel = [m for m in self.objective.networks if isinstance(m, DistributedDataParallel)]

        def quietly() -> contextlib.ExitStack:
            stack = contextlib.ExitStack()
            for module in parallel:
                stack.enter_context(module.no_sync())
            return stack

        for index in range(self.config.accumulate):
            ends = index == self.config.accumulate - 1
            yield whole.piece(slice(index * items, (index + 1) * items)), contextlib.nullcontext if ends else quietly

    def _set_rates(self, rate: float) -> None:
        for learner in self.learners:
            peak = self.config.lr if learner.net is self.voice else self.config.discriminator_lr
            for group in learner.optimizer.param_groups:
                group["lr"] = rate * peak / self.config.lr

    def _report_skipped(self, ids: Sequence[str], finite: list[bool]) -> None:
        wrong = [i for i, fine in zip(ids, finite, strict=True) if not fine] or list(ids)
        named = ", ".join(i for part in self.world.gather(wrong) for i in part)
        step = self.step + 1
        self.log.message(step, f"step {step} skipped: loss or gradient not finite; drawn from {named}")
        self.skipped += 1
        if self.skipped == MOST_SKIPPED:
            raise TrainingError(
                f"{self.out}: no finite loss or gradient in {self.skipped} steps, the last of them {step}: if it is not"
                " the data, try a lower learning rate; what was saved before is left as it is"
            )

    def _stop(self, deadline: float) -> bool:
        early = self.config.patience > 0 and self.stale >= self.config.patience
        asked = [float(self.stop_signal or 0), float(time.monotonic() > deadline), float(early)]
        number, late, early_ = self.world.largest(asked)
        if number:
            self.stopped = f"stopped by signal {int(number)}"
        elif late:
            self.stopped = "stopped: its minutes are over"
        elif early_:
            self.stopped = f"stopped early: no better validation in the last {self.config.patience}"
        return bool(self.stopped)

    def _validate(self) -> None:
        averaged = self._averaged()
        values = self.validation.measure(averaged.model, self.world.device)
        if not values:
            return
        self.log.validation(self.step, values)
        examples = self.validation.examples(averaged.model, averaged.postfilter)
        self.log.pictures(self.step, examples, self.experiment.mel.sample_rate)
        self.stale += 1
        # Where the likelihood stays as it is the last is the best.
        if self.best is None or self.config.samples_only or values["nats"] > self.best:
            self.best, self.stale = values["nats"], 0
            self._save(BEST, values)

    def _averaged(self, card: VoiceCard | None = None) -> Checkpoint:
        """The voice with averaged weights."""
        model, postfilter = build_model(self.experiment), build_postfilter(self.experiment)
        voice = modules(model, postfilter).to(self.world.device).eval()
        voice.load_state_dict({**self.voice.state_dict(), **self.ema.average})
        if not all(bool(p.isfinite().all()) for p in voice.parameters()):
            raise TrainingError(f"{self.out}: weights are not finite at step {self.step}: not saved")
        return Checkpoint(model, self.experiment, card or VoiceCard(), postfilter)

    def _save(self, name: str, metrics: dict[str, float] | None = None) -> None:
        if not self.world.leads:
            return
        save_checkpoint(self.out / name, self._averaged(self._card(metrics or self.log.last_validation)))
        if name == CHECKPOINT:
            progress = {
                "format_version": FORMAT_VERSION,
                "step": self.step,
                "best": self.best,
                "stale": self.stale,
                "seconds": self.seconds,
                "scaler": self.scaler.state_dict(),
                "experiment": self.experiment.to_dict(),
                "training_data": self.names,
                "licence": self.licence,
            }
            save_state(self.out / STATE, self.learners, self.ema, progress)

    def _card(self, metrics: dict[str, float] | None = None) -> VoiceCard:
        """What is known about the voice now."""
        return VoiceCard(
            licence=self.licence or "unknown",
            training_data=tuple(self.names),
            training_minutes=round(self.sampler.samples / self.experiment.mel.sample_rate / 60, 1),
            step=self.step,
            hours=round(self.seconds / 3600, 3),
            temperature=self.config.sample_temperature,
            postfilter=PostfilterSettings(self.config.match, self.config.low_match),
            metrics=metrics or {},
        )

    def _check_shares(self) -> None:
        pieces = self.world.size * self.config.accumulate
        if self.config.batch % pieces:
            raise ConfigError(
                f"train.batch {self.config.batch} must be a multiple of {self.world.size} processes"
                f" x train.accumulate {self.config.accumulate}"
            )

    def _resume(self, state: Path) -> None:
        before, now = read_experiment(state), self.experiment.to_dict()
        for part in ("model", "mel"):
            if before[part] != now[part]:
                changes = difference(now[part], before[part])
                raise ConfigError(f"{self.out}: --resume with another {part} than the run has: {changes}")
        for names in (("samples_only",), ("fine_weight",), ("adversarial_weight", "feature_weight")):
            # They decide what there is to learn, the last two together whether there are discriminators.
            was, is_ = ({name: part.get(name, 0) for name in names} for part in (before["train"], now["train"]))
            if any(was.values()) != any(is_.values()):
                name = next(name for name in names if was[name] != is_[name])
                raise ConfigError(
                    f"{self.out}: --resume with train.{name} {is_[name]}, was {was[name]}: start a run of its own from"
                    f" --init-from {self.out / CHECKPOINT}"
                )
        guides = now["postfilter"], before["postfilter"]
        if guides[0] != guides[1]:
            raise ConfigError(f"{self.out}: --resume with another guide network than the run has: {guides[0]},"
                              f" was {guides[1]}")  # fmt: skip
        about = load_state(state, self.learners, self.ema)
        data = {"training_data": about.get("training_data", self.names)}
        self.changed = difference({**now["train"], "training_data": self.names}, {**before["train"], **data})
        try:
            self.step, self.best, self.seconds = int(about["step"]), about["best"], float(about["seconds"])
            self.stale = int(about["stale"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{state / 'state.json'}: truncated or not the state of a run") from error
        self.licence = self.licence or about.get("licence")
        if self.scaler.is_enabled() and about["scaler"]:
            self.scaler.load_state_dict(about["scaler"])

    def _start_from(self, other: Checkpoint, path: Path | None) -> None:
        if other.experiment.mel != self.experiment.mel:
            changes = self.experiment.mel.difference(other.experiment.mel)
            raise CheckpointError(f"{path}: has another mel than this run: {changes}")
        ours, theirs = self.experiment.model.architecture, other.experiment.model.architecture
        if ours != theirs:
            raise CheckpointError(f"{path}: is a {theirs}, this run trains a {ours}")
        guides = self.experiment.postfilter, other.experiment.postfilter
        for mine, its in ((self.experiment.model, other.experiment.model), guides):
            if mine is not None and its is not None and mine != its:
                raise CheckpointError(f"{path}: has other sizes than this run: {difference(vars(mine), vars(its))}")
        self.model.load_state_dict(other.model.state_dict())
        if self.postfilter.guide is not None and other.postfilter is not None:
            self.postfilter.load_state_dict(other.postfilter.state_dict())

    def _freeze_the_flow(self) -> None:
        own = self.model.sampling_parameters()
        if self.config.fine_weight > 0:
            own = list(self.postfilter.parameters())
        if not own:
            name = self.experiment.model.architecture
            raise ConfigError(f"train.samples_only: samples of a {name} have nothing of their own to be taught")
        self.model.requires_grad_(False)
        for parameter in own:
            parameter.requires_grad_()

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
