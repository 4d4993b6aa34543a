"""`train`."""

import argparse
import sys

from flowvocoder.cli.common import set_machine
from flowvocoder.config import override, preset
from flowvocoder.training.trainer import Trainer


def train(arguments: argparse.Namespace) -> int:
    """Train, or go on with a run."""
    experiment = override(preset(arguments.preset), arguments.settings)
    device = set_machine(arguments)
    trainer = Trainer(
        experiment,
        arguments.corpus,
        arguments.out,
        arguments.resume,
        arguments.init_from,
        str(device),
        arguments.licence,
    )
    if arguments.resume and trainer.step == 0:
        print(f"{arguments.out}: nothing to resume: a new run starts", file=sys.stderr)
    if trainer.changed:
        print(f"{arguments.out}: goes on with other settings: {trainer.changed}", file=sys.stderr)
    if trainer.step >= experiment.train.steps:
        print(f"{arguments.out}: has its {trainer.step} steps already", file=sys.stderr)
    if not trainer.validation.items:
        print("no held-out recording: no validation, no best/ checkpoint", file=sys.stderr)
    skipped = trainer.sampler.skipped
    if skipped:
        shown = ", ".join(skipped[:5]) + (", ..." if len(skipped) > 5 else "")
        print(f"{len(skipped)} recordings are shorter than a segment and left out: {shown}", file=sys.stderr)
    trainer.run()
    if trainer.stop_signal is not None:
        print(
            f"stopped by signal {trainer.stop_signal} at step {trainer.step}: saved, --resume goes on", file=sys.stderr
        )
    return 0
