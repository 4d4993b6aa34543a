"""Fitting by gradients, with held-out rows that say when to stop."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from flowvocoder.density.families import Settings
from flowvocoder.density.learner import Learner
from flowvocoder.density.model import Standardised
from flowvocoder.errors import TrainingError
from flowvocoder.flows.density import dequantise

EVERY = 50
"""Steps between two looks at the held-out rows."""

FIRST = 1024
"""Rows by which layers that normalise start, at least."""

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

    Weights are averaged over the last steps; the average is what the held-out rows judge. Layers that normalise what
    they see do so by rows that are drawn by their weights.

    Args:
        width: quantisation step of x, (C, T): uniform noise as wide is added to every batch and to the held-out rows.

    Raises:
        TrainingError: the loss is not finite.
    """
    generator = torch.Generator(rows.x.device).manual_seed(settings.seed)
    learner = Learner(model, settings.lr, settings.steps)

    def noisy(x: Tensor) -> Tensor:
        return dequantise(x, width, generator) if settings.dequantise else x

    _normalise(learner.model, rows, noisy, settings.batch, generator)
    held_out = held_out._replace(x=noisy(held_out.x))
    losses, best, waited = [], -math.inf, 0
    for step, batch in enumerate(_batches(rows, settings, generator), 1):
        loss = -_mean(learner.model.objective(noisy(batch.x), batch.context, generator), batch.weight)
        learner.step(loss)
        losses.append(loss.detach())
        if step % EVERY and step < settings.steps:
            continue
        nats, last = -float(torch.stack(losses).mean()), judged(learner.average, held_out, settings.seed)
        if not (math.isfinite(nats) and math.isfinite(last)):
            raise TrainingError(f"the fit diverged before step {step}: try a lower lr than {settings.lr:g}")
        losses, waited = [], 0 if last > best else waited + 1
        if waited == 0:
            best = last
            model.load_state_dict(learner.average.state_dict())
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


def _normalise(
    model: Standardised, rows: Rows, noisy: Callable[[Tensor], Tensor], batch: int, generator: torch.Generator
) -> None:
    """The first pass in training, which sets scales and shifts of normalising layers: they know nothing of weights."""
    total = rows.weight.double().cumsum(0)
    places = torch.rand(max(batch, FIRST), generator=generator, dtype=total.dtype, device=total.device)
    drawn = rows.take(torch.searchsorted(total, total[-1] * places).clamp(max=len(total) - 1))
    model.objective(noisy(drawn.x), drawn.context, generator)


def _mean(nats: Tensor, weight: Tensor) -> Tensor:
    return (weight * nats).sum() / weight.sum()
