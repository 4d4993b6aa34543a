"""`train --find-lr`: which learning rate suits a model and its data."""

import math
from pathlib import Path

from flowvocoder.audio.plots import save_curve
from flowvocoder.progress import progress
from flowvocoder.training.schedule import RangeTest, smoothed
from flowvocoder.training.trainer import Trainer

BLOWN_UP = 2.0
"""Nats per sample above the first smoothed loss; where eight losses in a row are, the rest will be, too."""


def find_learning_rate(trainer: Trainer, test: RangeTest, plot: Path) -> float | None:
    """Train for `test.steps` steps with a rising rate; draw the loss over it and return the suggested peak.

    The trainer is spent afterwards, and nothing of it is saved.

    Raises:
        OutputError: the plot cannot be written.
    """
    losses: list[float] = []
    for step in progress(range(test.steps), "learning rate", "step"):
        values = trainer.train_step(test.rate(step))
        trainer.step += 1
        if "loss" not in values or not math.isfinite(values["loss"]):
            break
        losses.append(values["loss"])
        if len(losses) > 8 and min(losses[-8:]) > smoothed(losses)[0] + BLOWN_UP:
            break
    trainer.close()
    suggestion = test.suggestion(losses)
    if trainer.processes.is_main:
        rates = [test.rate(step) for step in range(len(losses))]
        save_curve(plot, rates, smoothed(losses), "learning rate", "loss, nats per sample", suggestion)
    return suggestion
