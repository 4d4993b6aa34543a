"""Fitting by gradients, with held-out rows that say when to stop."""

import copy
import dataclasses
import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler

from flowvocoder.density.families import Settings
from flowvocoder.density.model import Standardised
from flowvocoder.errors import TrainingError
from flowvocoder.flows.density import dequantise

EVERY = 50
"""Steps between two looks at the held-out rows."""

AVERAGE = 0.98
"""Decay of the exponential moving average of the weights."""

CLIP = 5.0
"""Largest norm of a gradient."""

WARMUP = 50
"""Steps over which the learning rate rises."""

CHUNK = 8192
"""Rows that are computed at once where no gradients are needed."""


class Rows(NamedTuple):
    """Standardised rows in a flow's shape: x (N, C, T), context (N, K, 1), weight (N,)."""

    x: Tensor
    context: Tensor
    weight: Tensor

    def take(self, rows: Tensor) -> "Rows":
        return Rows(self.x[rows], self.context[rows], self.weight[rows])


@dataclasses.dataclass(frozen=True)
class FitState:
    """How far a fit is.

    Attributes:
        step, steps: steps done, and how many it may become.
        nats, held_out: mean log-density in nats of the last batches' rows and of the held-out ones, or of whatever else
            is the model's objective.
        best: whether the held-out rows have never had more.
    """

    step: int
    steps: int
    nats: float
    held_out: float
    best: bool


def judged(model: Standardised, rows: Rows, seed: int) -> float:
    """Mean of a model's objective over held-out rows by their weights, without gradients and with the seed's noise."""
    generator = torch.Generator(rows.x.device).manual_seed(seed)
    with torch.no_grad():
        chunks = zip(rows.x.split(CHUNK), rows.context.split(CHUNK), strict=True)
        values = torch.cat([model.objective(x, context, generator) for x, context in chunks])
    return float(_mean(values, rows.weight))


def split(rows: Rows, settings: Settings) -> tuple[Rows, Rows]:
    """Rows to train on and held-out rows, drawn by the seed."""
    order = torch.randperm(len(rows.x), generator=torch.Generator().manual_seed(settings.seed)).to(rows.x.device)
    held_out = max(1, round(settings.held_out * len(order)))
    return rows.take(order[held_out:]), rows.take(order[:held_out])


def train(model: Standardised, rows: Rows, held_out: Rows, width: Tensor, settings: Settings) -> Iterator[FitState]:
    """Fits `model` by Adam with a cosine schedule. Whenever a state comes it has the best weights so far.

    Weights are averaged over the last steps; the average is what the held-out rows judge.

    Args:
        width: quantisation step of x, (C, T): uniform noise as wide is added to every batch and to the held-out rows.

    Raises:
        TrainingError: the loss is not finite.
    """
    generator = torch.Generator(rows.x.device).manual_seed(settings.seed)
    learner = copy.deepcopy(model).train()
    average = copy.deepcopy(learner).eval()
    optimizer = torch.optim.Adam(learner.parameters(), settings.lr, fused=True)
    schedule = lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, settings.steps))
    held_out = held_out._replace(x=dequantise(held_out.x, width, generator))
    losses, best, waited = [], -math.inf, 0
    for step, batch in enumerate(_batches(rows, settings, generator), 1):
        optimizer.zero_grad()
        x = dequantise(batch.x, width, generator)
        loss = -_mean(learner.objective(x, batch.context, generator), batch.weight)
        loss.backward()
        nn.utils.clip_grad_norm_(learner.parameters(), CLIP)
        optimizer.step()
        schedule.step()
        _follow(average, learner, first=step == 1)
        losses.append(loss.detach())
        if step % EVERY and step < settings.steps:
            continue
        nats, last = -float(torch.stack(losses).mean()), judged(average, held_out, settings.seed)
        if not (math.isfinite(nats) and math.isfinite(last)):
            raise TrainingError(f"the fit diverged before step {step}: try a lower lr than {settings.lr:g}")
        losses, waited = [], 0 if last > best else waited + 1
        if waited == 0:
            best = last
            model.load_state_dict(average.state_dict())
        yield FitState(step, settings.steps, nats, last, waited == 0)
        if waited == settings.patience:
            return


def _batches(rows: Rows, settings: Settings, generator: torch.Generator) -> Iterator[Rows]:
    """As many batches as there are steps; every row comes once before any comes again."""
    steps, size = settings.steps, min(settings.batch, len(rows.x))
    while steps > 0:
        order = torch.randperm(len(rows.x), generator=generator, device=rows.x.device)
        whole = order[: len(order) // size * size].split(size)[:steps]
        yield from map(rows.take, whole)
        steps -= len(whole)


@torch.no_grad()
def _follow(average: nn.Module, learner: nn.Module, first: bool) -> None:
    """One step of the moving average. At the first it is the learner, which has then normalised its activations."""
    if first:
        average.load_state_dict(learner.state_dict())
    else:
        torch._foreach_lerp_(list(average.parameters()), list(learner.parameters()), 1.0 - AVERAGE)


def rate(step: int, steps: int) -> float:
    """Of the learning rate: a linear rise, then half a period of a cosine."""
    return min(1.0, (step + 1) / WARMUP) * 0.5 * (1.0 + math.cos(math.pi * min(step / steps, 1.0)))


def _mean(nats: Tensor, weight: Tensor) -> Tensor:
    return (weight * nats).sum() / weight.sum()
