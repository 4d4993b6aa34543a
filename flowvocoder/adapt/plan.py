"""How a voice is adapted: which stages, how many steps, how fast."""

import dataclasses

from flowvocoder.config import Experiment, SamplingSettings, with_trained_network
from flowvocoder.errors import ConfigError
from flowvocoder.presets import preset

PASSES = 60
"""Times that a stage meets the same second of speech at most, on average."""

VALIDATIONS, PATIENCE = 12, 4
"""Looks at the held-out sentences in a stage, and how many in a row may be no better before it ends."""

BATCH = 8


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage of training.

    Attributes:
        preset: whose losses and segments it has.
        share: of the minutes, beside the other stages' shares.
        lr: learning rate, a quarter of what trains it from nothing.
    """

    preset: str
    share: float
    lr: float


STAGES = {
    "flow": Stage("lapglow-stage1", 3.0, 3e-4),
    "samples": Stage("lapglow-stage2", 1.0, 5e-4),
    "guide": Stage("lapglow-stage3", 1.0, 5e-4),
    "refiner": Stage("universal-22k-stage5", 1.0, 2.5e-4),
}
"""By name, in their order."""


def experiment_of(name: str, voice: Experiment, steps: int, sampling: SamplingSettings | None = None) -> Experiment:
    """A voice's own experiment with the training of one stage, and with the network that it trains.

    Args:
        sampling: how the voice speaks, which the refiner has to know; None: as it was trained.
    """
    stage = STAGES[name]
    planned, own = preset(stage.preset), voice.train.sampling
    if name == "refiner" and sampling is not None:
        own = sampling
    training, networks = planned.train, with_trained_network(name, voice.postfilter, planned.postfilter)
    optim = dataclasses.replace(
        training.optim, steps=steps, batch=BATCH, lr=stage.lr, warmup=min(30, steps // 10),
        ema=max(0.0, min(0.998, 1.0 - 10.0 / steps)),
    )  # fmt: skip
    every = max(1, steps // VALIDATIONS)
    patience = PATIENCE if name == "flow" else 0  # the others do not change the likelihood
    run = dataclasses.replace(training.run, validate_every=every, save_every=every, patience=patience)
    train = dataclasses.replace(training, optim=optim, run=run, sampling=own)
    return dataclasses.replace(voice, train=train, postfilter=networks)


def steps_for(name: str, speech: int, seconds: float, step_seconds: float) -> int:
    """As many steps as the time allows, and no more than `PASSES` over the speech, 10 at least.

    Args:
        speech: samples of it.
        seconds: for this stage.
    """
    segment = preset(STAGES[name].preset).train.optim.segment
    return max(10, round(min(PASSES * speech / (BATCH * segment), seconds / step_seconds)))


def check_stages(names: list[str]) -> list[str]:
    """The names in their order. Raises ConfigError for an unknown one, or none."""
    wrong = [name for name in names if name not in STAGES]
    if wrong or not names:
        raise ConfigError(f"--stages: {', '.join(wrong) or 'none'}: there are {', '.join(STAGES)}")
    return [name for name in STAGES if name in names]
