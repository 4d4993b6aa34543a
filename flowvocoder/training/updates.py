"""One optimiser step: gradients in pieces, clipping, loss scaling, averaged weights."""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from flowvocoder.config import TrainConfig
from flowvocoder.training.batch import StepBatch
from flowvocoder.training.distributed import DistributedContext
from flowvocoder.training.objective import Objective
from flowvocoder.training.state import Ema, Learner


class Updates:
    """Applies one optimiser step after the other to a voice, and to the discriminators if there are any.

    Args:
        voice: flow and post-filter; parameters that require a gradient are trained.

    Attributes:
        learners: networks with their optimisers.
        ema: the voice's averaged weights.
        scaler: of the loss, where float16 gradients would underflow; its state resumes with the run.
    """

    def __init__(self, voice: nn.Module, objective: Objective, config: TrainConfig, processes: DistributedContext):
        self.voice, self.objective, self.config, self.processes = voice, objective, config, processes
        self.ema = Ema(voice, config.optim.ema)
        trained = [p for p in voice.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(trained, lr=config.optim.lr, betas=(0.9, 0.99), fused=True)
        self.learners = [Learner("voice", voice, optimizer, config.optim.lr)]
        if (adversary := objective.adversary) is not None:
            self.learners.append(Learner("discriminators", adversary.net, adversary.optimizer, adversary.lr))
        self.scaler = torch.amp.grad_scaler.GradScaler(
            processes.device.type, enabled=objective.dtype is torch.float16, growth_interval=500
        )

    def apply(self, batch: StepBatch, rate: float, step: int) -> tuple[dict[str, float], list[bool]]:
        """One step on this process's shard of the batch, at a learning rate.

        Returns:
            Its terms, averaged over all processes, none if a gradient was not finite and the step was skipped; and
            which items of the shard have finite terms.
        """
        for learner in self.learners:
            learner.optimizer.zero_grad(set_to_none=True)
            learner.set_rate(rate * learner.peak / self.config.optim.lr)
        terms, finite = self._backward(batch)
        trained = [learner for learner in self.learners if learner.has_gradients]
        norms = [self._clipped_norm(learner) for learner in trained]
        means = self.processes.mean(torch.stack(list(terms.values())))
        # All that is asked of the device, at once: it stands still until the next step is launched.
        known = torch.cat([torch.stack(norms).float(), means, finite.float()]).tolist()
        lengths, values, items = known[: len(norms)], known[len(norms) : -len(finite)], known[-len(finite) :]
        is_finite = [item == 1.0 for item in items]
        # A loss scale is found by halving it until gradients are finite; below 1 it is not what makes them infinite.
        searching = self.scaler.is_enabled() and self.scaler.get_scale() >= 1.0
        if not all(map(math.isfinite, lengths)) and not searching:
            self.scaler.update()
            return {}, is_finite
        for learner in trained:
            self.scaler.step(learner.optimizer)
        self.scaler.update()
        self.ema.update(self.voice, step)
        return {**dict(zip(terms, values, strict=True)), "gradient_norm": lengths[0], "lr": rate}, is_finite

    def _backward(self, batch: StepBatch) -> tuple[dict[str, Tensor], Tensor]:
        """Gradients of the shard; the mean of each term, and which items are finite."""
        pieces = self.config.run.accumulate
        sums: dict[str, Tensor] = {}
        finite: list[Tensor] = []
        for piece, communicate in self._pieces(batch, pieces):
            with communicate():
                total, terms, items = self.objective(piece)
                self.scaler.scale(total / pieces).backward()
            finite.append(items.isfinite())
            for name, value in terms.items():
                value = value.detach().float() / pieces
                sums[name] = sums[name] + value if name in sums else value
        return sums, torch.cat(finite)

    def _pieces(self, batch: StepBatch, pieces: int) -> Iterator[tuple[StepBatch, Callable[[], Any]]]:
        """The shard in pieces; gradients are exchanged after the last one only."""
        items = len(batch.audio) // pieces
        parallel = [m for m in self.objective.networks if isinstance(m, DistributedDataParallel)]

        def quietly() -> contextlib.ExitStack:
            stack = contextlib.ExitStack()
            for module in parallel:
                stack.enter_context(module.no_sync())
            return stack

        for index in range(pieces):
            ends = index == pieces - 1
            yield batch[index * items : (index + 1) * items], contextlib.nullcontext if ends else quietly

    def _clipped_norm(self, learner: Learner) -> Tensor:
        self.scaler.unscale_(learner.optimizer)
        return nn.utils.clip_grad_norm_(learner.net.parameters(), self.config.optim.clip)
