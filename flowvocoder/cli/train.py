"""`train`."""

import argparse
import dataclasses
import sys
from pathlib import Path

from flowvocoder.checkpoint import BUNDLED_VOICE, read_config
from flowvocoder.cli.common import set_machine
from flowvocoder.config import Experiment, experiment_from_dict, override, preset
from flowvocoder.errors import TrainingError
from flowvocoder.training.distributed import World
from flowvocoder.training.range_test import find_learning_rate
from flowvocoder.training.schedule import RangeTest
from flowvocoder.training.trainer import Trainer


def train(arguments: argparse.Namespace) -> int:
    """Train, or go on with a run; on one process, or on those that torchrun started."""
    start = BUNDLED_VOICE if str(arguments.init_from) == "bundled" else arguments.init_from
    experiment = override(_planned(arguments.preset, start), arguments.settings)
    world = World.join(str(set_machine(arguments)))
    try:
        trainer = Trainer(
            experiment,
            arguments.corpus,
            arguments.out,
            arguments.resume,
            start,
            arguments.licence,
            world,
        )
        if arguments.find_lr:
            return _find_lr(trainer, arguments)
        if world.leads:
            _say_what_is_special(trainer, arguments)
        trainer.run(arguments.max_steps, arguments.max_minutes)
    except RuntimeError as error:
        if world.size == 1:
            raise
        # Without this, every surviving process would print the traceback of whatever it was waiting in.
        first = str(error).strip().splitlines()[0]
        raise TrainingError(f"process {world.rank} of {world.size} cannot go on: {first}") from error
    world.leave()
    if trainer.stopped and world.leads:
        print(f"{trainer.stopped} at step {trainer.step}: saved, --resume goes on", file=sys.stderr)
    return 0


def _planned(name: str, start: Path | None) -> Experiment:
    """The preset; sizes and mel are those of the checkpoint to start from, if there is one of its architecture."""
    planned = preset(name)
    if start is None:
        return planned
    values = read_config(start)
    if values.get("architecture") != planned.model.architecture:
        return planned  # the trainer refuses it
    known = experiment_from_dict({**values, "train": {}})
    return dataclasses.replace(planned, model=known.model, mel=known.mel)


def _find_lr(trainer: Trainer, arguments: argparse.Namespace) -> int:
    picture = arguments.out / "learning_rate.png"
    suggestion = find_learning_rate(trainer, RangeTest(steps=arguments.max_steps or RangeTest.steps), picture)
    if trainer.world.leads:
        if suggestion is None:
            print(f"the loss never fell: no suggestion; see {picture}")
        else:
            print(f"suggested: --set lr={suggestion:.1e}; the curve is in {picture}")
    trainer.world.leave()
    return 0


def _say_what_is_special(trainer: Trainer, arguments: argparse.Namespace) -> None:
    if arguments.resume and trainer.step == 0:
        print(f"{arguments.out}: nothing to resume: a new run starts", file=sys.stderr)
    if trainer.changed:
        print(f"{arguments.out}: goes on with other settings: {trainer.changed}", file=sys.stderr)
    if trainer.step >= trainer.config.steps:
        print(f"{arguments.out}: has its {trainer.step} steps already", file=sys.stderr)
    if not trainer.validation.items:
        print("no held-out recording: no validation, no best/ checkpoint", file=sys.stderr)
    skipped = trainer.sampler.skipped
    if skipped:
        shown = ", ".join(skipped[:5]) + (", ..." if len(skipped) > 5 else "")
        print(f"{len(skipped)} recordings are shorter than a segment and left out: {shown}", file=sys.stderr)
