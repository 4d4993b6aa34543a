"""The training loop."""

import dataclasses
import math
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from flowvocoder.checkpoint import Checkpoint, build_model, load_checkpoint, save_checkpoint
from flowvocoder.config import Experiment, TrainConfig
from flowvocoder.data.corpus import open_corpora
from flowvocoder.data.segments import Batch
from flowvocoder.data.streaming import open_sampler
from flowvocoder.errors import CheckpointError, ConfigError
from flowvocoder.files import recover_folder
from flowvocoder.models.flow_vocoder import FlowVocoder, dequantise
from flowvocoder.training.logs import RunLog
from flowvocoder.training.spectral import SpectralDistance
from flowvocoder.training.state import Ema, load_state, read_experiment, save_state
from flowvocoder.training.validation import Validation
from flowvocoder.units import PCM16_STEP, bits_per_sample

CHECKPOINT, BEST, STATE = "checkpoint", "best", "state"


@dataclasses.dataclass(frozen=True)
class Losses:
    """The terms of one step's objective, scalars."""

    nats: Tensor  # log-likelihood per sample
    pitch: Tensor
    spectral: Tensor

    def total(self, config: TrainConfig) -> Tensor:
        return -self.nats + config.pitch_weight * self.pitch + config.spectral_weight * self.spectral


class Trainer:
    """Trains one model on one device; everything it draws at random is a function of (seed, step).

    Args:
        experiment: what to train and how.
        corpora: folders of audio, manifests or folders of shards, as `open_corpus` takes them.
        out: run folder: `checkpoint/` and `best/` (averaged weights), `state/`, `log.jsonl`, `tensorboard/`.
        resume: go on from `out/state` if it is there.
        init_from: checkpoint folder whose weights to start from.
        licence: of the data, recorded in the checkpoints.

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
        device: str = "cpu",
        licence: str = "unknown",
    ):
        self.experiment, self.config = experiment, experiment.train
        self.out, self.device = out, torch.device(device)
        self.licence = licence
        state = out / STATE
        for name in (STATE, CHECKPOINT, BEST):
            recover_folder(out / name)
        if state.exists() and not resume:
            raise ConfigError(f"{out}: holds a run already: add --resume to go on with it, or name another folder")
        start = load_checkpoint(init_from) if init_from is not None else None
        data = open_corpora(corpora)
        self.names = [c.name for c in data]
        self.sampler = open_sampler(data, experiment.mel, self.config.segment, self.config.seed)
        torch.manual_seed(self.config.seed)
        self.model = build_model(experiment).to(self.device)
        if start is not None:
            self._start_from(start, init_from)
        self.ema = Ema(self.model, self.config.ema)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=self.config.lr,
            betas=(0.9, 0.99),
            weight_decay=self.config.weight_decay,
            fused=True,
        )
        self.spectral = SpectralDistance(experiment.mel).to(self.device)
        self.step, self.seconds = 0, 0.0
        self.best: float | None = None  # held-out nats per sample
        self.changed = ""  # settings in which a resumed run differs from what it was
        if resume and state.exists():
            self._resume(state)
        self.validation = Validation([u for c in data for u in c.held_out], experiment.mel)
        self.log = RunLog(out, self.step)
        self.stop_signal: int | None = None

    def run(self) -> None:
        """Train to the last step, or to the first SIGTERM or SIGINT; saves either way."""
        from tqdm import tqdm

        previous = {s: signal.signal(s, self._on_signal) for s in (signal.SIGTERM, signal.SIGINT)}
        started, saved = time.monotonic() - self.seconds, self.step
        bar = tqdm(total=self.config.steps, initial=self.step, unit="step", dynamic_ncols=True,
                   disable=not sys.stderr.isatty())  # fmt: skip
        try:
            while self.step < self.config.steps and self.stop_signal is None:
                values = self._train_step(self.sampler.batch(self.step, self.config.batch))
                self.step += 1
                self.seconds = time.monotonic() - started
                self.log.step(self.step, self.seconds, values)
                bar.update()
                if "nats" in values:
                    bar.set_postfix_str(f"{values['nats']:.3f} nats, {bits_per_sample(values['nats']):.3f} bits/sample")
                last = self.step == self.config.steps
                if self.step % self.config.validate_every == 0 or last:
                    self._validate()
                if self.step % self.config.save_every == 0 or last:
                    self._save(CHECKPOINT)
                    saved = self.step
            if saved != self.step:
                self._save(CHECKPOINT)
        finally:
            bar.close()
            self.log.close()
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _train_step(self, batch: Batch) -> dict[str, float]:
        rate = learning_rate(self.step, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        losses = self._losses(batch)
        self.optimizer.zero_grad(set_to_none=True)
        losses.total(self.config).backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        if not torch.isfinite(norm):
            files = ", ".join(batch.ids)
            self.log.message(
                self.step + 1, f"step {self.step + 1} skipped: loss or gradient not finite; drawn from {files}"
            )
            return {"skipped": 1.0}
        self.optimizer.step()
        self.ema.update(self.model, self.step)
        terms = {name: float(value.detach()) for name, value in vars(losses).items()}
        return {**terms, "gradient_norm": float(norm), "lr": rate}

    def _losses(self, batch: Batch) -> Losses:
        config, model = self.config, self.model
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + self.step)
        refining = config.spectral_weight > 0 and self.step >= config.spectral_from
        noisy = dequantise(batch.audio, PCM16_STEP, generator).to(self.device)
        audio, mel = batch.audio.to(self.device), batch.mel.to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            nats = model.log_prob(noisy, mel).mean() / audio.shape[1]
            pitch = model.auxiliary_loss(audio, mel)
            if refining:
                noise = torch.randn(model.noise_shape(mel), generator=generator).to(self.device)
                sample = model.decode(config.spectral_temperature * noise, mel)
        spectral = self.spectral(sample, audio) if refining else nats.new_zeros(())
        return Losses(nats, pitch, spectral)

    def _validate(self) -> None:
        model = self._averaged()
        values = self.validation.measure(model, self.device)
        if not values:
            return
        self.log.validation(self.step, values)
        examples = self.validation.example(model, self.device)
        self.log.pictures(self.step, examples, self.experiment.mel.sample_rate)
        if self.best is None or values["nats"] > self.best:
            self.best = values["nats"]
            self._save(BEST, values)

    def _averaged(self) -> FlowVocoder:
        model = build_model(self.experiment).to(self.device).eval()
        model.load_state_dict({**self.model.state_dict(), **self.ema.average})
        return model

    def _save(self, name: str, metrics: dict[str, float] | None = None) -> None:
        about: dict[str, Any] = {
            "step": self.step,
            "hours": round(self.seconds / 3600, 3),
            "training_data": self.names,
            "training_minutes": round(self.sampler.samples / self.experiment.mel.sample_rate / 60, 1),
            "licence": self.licence,
            "metrics": metrics or self.log.last_validation,
        }
        save_checkpoint(self.out / name, Checkpoint(self._averaged(), self.experiment, about))
        if name == CHECKPOINT:
            progress = {
                "step": self.step,
                "best": self.best,
                "seconds": self.seconds,
                "experiment": self.experiment.to_dict(),
            }
            save_state(self.out / STATE, self.model, self.ema, self.optimizer, progress)

    def _resume(self, state: Path) -> None:
        before, now = read_experiment(state), self.experiment.to_dict()
        for part in ("model", "mel"):
            if before[part] != now[part]:
                difference = _difference(now[part], before[part])
                raise ConfigError(f"{self.out}: --resume with another {part} than the run has: {difference}")
        self.changed = _difference(now["train"], before["train"])
        about = load_state(state, self.model, self.ema, self.optimizer)
        self.step, self.best, self.seconds = about["step"], about["best"], about["seconds"]

    def _start_from(self, other: Checkpoint, path: Path | None) -> None:
        if other.experiment.mel != self.experiment.mel:
            difference = self.experiment.mel.difference(other.experiment.mel)
            raise CheckpointError(f"{path}: has another mel than this run: {difference}")
        if other.experiment.model != self.experiment.model:
            difference = _difference(vars(self.experiment.model), vars(other.experiment.model))
            raise CheckpointError(f"{path}: has other sizes than this run: {difference}")
        self.model.load_state_dict(other.model.state_dict())

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.stop_signal = number


def _difference(now: dict[str, Any], before: dict[str, Any]) -> str:
    """For people: "lr 0.001, was 0.002; ..."."""
    return "; ".join(f"{k} {now[k]}, was {before[k]}" for k in now if k in before and now[k] != before[k])


def learning_rate(step: int, config: TrainConfig) -> float:
    """Linear warm-up, then a cosine down to `final_lr` of the peak."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    done = min(1.0, (step - config.warmup) / max(1, config.steps - config.warmup))
    cosine = 0.5 * (1.0 + math.cos(math.pi * done))
    return config.lr * (config.final_lr + (1.0 - config.final_lr) * cosine)
