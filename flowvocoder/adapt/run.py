"""From recordings and a voice to another voice, with what it was before beside it."""

import contextlib
import dataclasses
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from flowvocoder.adapt.plan import STAGES, experiment_of, steps_for
from flowvocoder.adapt.recordings import cut_recordings
from flowvocoder.audio.files import write_audio
from flowvocoder.audio.plots import save_pair
from flowvocoder.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from flowvocoder.config import Experiment, SamplingSettings
from flowvocoder.data.corpus import open_corpora
from flowvocoder.errors import ConfigError
from flowvocoder.files import read_json, write_json
from flowvocoder.presets import preset
from flowvocoder.training.distributed import DistributedContext
from flowvocoder.training.folder import BEST, CHECKPOINT
from flowvocoder.training.trainer import Trainer
from flowvocoder.training.validation import Validation, read_held_out
from flowvocoder.vocoder import Vocoder
from flowvocoder.voice_card import VoiceCard

PLAN, RECORDINGS, VOICE, RUNS = "plan.json", "recordings", "voice", "runs"

TIMED = 3
"""Steps that are timed before a stage is planned, the first of which does not count."""


@dataclasses.dataclass(frozen=True)
class Adapted:
    """What came of it.

    Attributes:
        seconds: of speech, held-out sentences included.
        before, after: log-likelihood of the held-out sentences in nats a sample.
    """

    seconds: float
    before: float
    after: float


@dataclasses.dataclass(frozen=True)
class Adaptation:
    """A voice to be made of recordings, in a folder of its own. What was begun there goes on.

    Args:
        sources: folders of audio or manifests.
        out: folder: `voice/` (the checkpoint), `recordings/` (what it was trained on), `runs/` (a run folder a stage),
            `before.wav`, `after.wav`, `recording.wav` and `comparison.png` of a held-out sentence.
        start: the checkpoint folder to start from.
        minutes: of training together.
        stages: names of `STAGES`.
        licence: of the weights.

    Raises:
        FlowVocoderError: a source, the checkpoint or the folder is unusable, or there is too little speech.
    """

    sources: Sequence[Path]
    out: Path
    start: Path
    minutes: float
    stages: Sequence[str]
    licence: str | None = None
    device: str = "cpu"

    def run(self) -> Adapted:
        """Cut, train stage by stage, keep what is better, and compare."""
        voice = load_checkpoint(self.start)
        spec = voice.experiment.mel
        asked = {"sources": [str(p.resolve()) for p in self.sources], "start": str(self.start.resolve()),
                 "minutes": self.minutes, "stages": list(self.stages)}  # fmt: skip
        plan = self._begun(asked)
        if not plan:
            segment = max(preset(STAGES[name].preset).train.optim.segment for name in self.stages)
            try:
                seconds = cut_recordings(self.sources, self.out / RECORDINGS, spec.sample_rate, segment)
            except BaseException:
                with contextlib.suppress(OSError):
                    self.out.rmdir()  # nothing is in it
                raise
            plan = {"asked": asked, "seconds": seconds, "steps": {}}
            write_json(self.out / PLAN, plan)
        corpora = [self.out / RECORDINGS]
        held_out = Validation(read_held_out(open_corpora(corpora), spec), voice.card)
        before = after = held_out.measure(voice.model, torch.device("cpu")).get("nats", float("nan"))
        latest = self.start
        for name in self.stages:
            run = self._train(name, latest, corpora, plan, SamplingSettings(**voice.card.sampling))
            if name != "flow":
                latest = run / CHECKPOINT
                continue
            trained = load_checkpoint(run / BEST).model if (run / BEST).is_dir() else None
            nats = before if trained is None else held_out.measure(trained, torch.device("cpu"))["nats"]
            if nats > before:
                latest, after = run / BEST, nats
        made = load_checkpoint(latest)
        card = made.card if latest == self.start else self._card(voice, made)
        save_checkpoint(self.out / VOICE, dataclasses.replace(made, card=card))
        self._compare(voice, made, held_out)
        return Adapted(plan["seconds"], before, after)

    def _begun(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The plan of this folder, empty for a new one. Raises ConfigError where it is another."""
        if not (self.out / PLAN).exists():
            if self.out.is_dir() and any(self.out.iterdir()):
                raise ConfigError(f"{self.out}: holds something else: name another folder")
            return {}
        plan = read_json(self.out / PLAN, ConfigError)
        if not isinstance(plan, dict) or set(plan) != {"asked", "seconds", "steps"}:
            raise ConfigError(f"{self.out / PLAN}: not the plan of an adaptation")
        other = [key for key, value in asked.items() if plan["asked"].get(key) != value]
        if other:
            raise ConfigError(f"{self.out}: was begun with other {', '.join(other)}: name another folder")
        return plan

    def _train(
        self, name: str, start: Path, corpora: list[Path], plan: dict[str, Any], sampling: SamplingSettings
    ) -> Path:
        """The run folder of a stage, trained to its end."""
        experiment = load_checkpoint(start).experiment
        context = DistributedContext(0, 1, torch.device(self.device))
        out = self.out / RUNS / name
        if name not in plan["steps"]:
            step = self._step_seconds(experiment_of(name, experiment, 1000, sampling), start, corpora, context)
            share = STAGES[name].share / sum(STAGES[s].share for s in self.stages)
            speech = int(plan["seconds"] * experiment.mel.sample_rate)
            plan["steps"][name] = steps_for(name, speech, 60.0 * self.minutes * share, step)
            write_json(self.out / PLAN, plan)
        planned = experiment_of(name, experiment, plan["steps"][name], sampling)
        if (out / CHECKPOINT).is_dir():
            trainer = Trainer(planned, corpora, out, True, None, self.licence, context)
        else:
            shutil.rmtree(out, ignore_errors=True)
            trainer = Trainer(planned, corpora, out, False, start, self.licence, context)
        trainer.run()
        if trainer.stop_signal:
            signal.raise_signal(trainer.stop_signal)  # the program ends as it does elsewhere
        return out

    def _step_seconds(
        self, experiment: Experiment, start: Path, corpora: list[Path], context: DistributedContext
    ) -> float:
        out = self.out / RUNS / "timed"
        shutil.rmtree(out, ignore_errors=True)
        trainer = Trainer(experiment, corpora, out, False, start, None, context)
        try:
            trainer.train_step(0.0)
            began = time.perf_counter()
            for _ in range(TIMED - 1):
                trainer.train_step(0.0)
            return (time.perf_counter() - began) / (TIMED - 1)
        finally:
            trainer.close()
            shutil.rmtree(out, ignore_errors=True)

    def _card(self, voice: Checkpoint, made: Checkpoint) -> VoiceCard:
        return dataclasses.replace(
            made.card, name=self.out.name, licence=self.licence or "unknown",
            training_data=(*voice.card.training_data, *(p.name for p in self.sources)),
            temperature=voice.card.temperature, postfilter=voice.card.postfilter,
        )  # fmt: skip

    def _compare(self, voice: Checkpoint, made: Checkpoint, held_out: Validation) -> None:
        """A held-out sentence, as both voices speak it."""
        if not held_out.items:
            return
        item, rate = held_out.items[0], voice.experiment.mel.sample_rate
        spoken = [
            Vocoder(c.model, voice.card, c.postfilter).synthesize(item.mel, seed=0, trust_mel=True)[0].numpy()
            for c in (voice, made)
        ]
        for name, samples in zip(("recording", "before", "after"), (item.audio.numpy(), *spoken), strict=True):
            write_audio(self.out / f"{name}.wav", samples, rate)
        save_pair(self.out / "comparison.png", item.audio.numpy(), spoken[1], rate)
