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
