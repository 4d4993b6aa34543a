"""Learning rate over the run, and the test that finds a good peak for it."""

import dataclasses
import math

from flowvocoder.config import TrainConfig


def learning_rate(step: int, config: TrainConfig) -> float:
    """Linear warm-up, then a cosine down to `final_lr` of the peak."""
    return config.lr * relative_rate(step, config)


def relative_rate(step: int, config: TrainConfig) -> float:
    """The learning rate in units of its peak."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    done = min(1.0, (step - config.warmup) / max(1, config.steps - config.warmup))
    cosine = 0.5 * (1.0 + math.cos(math.pi * done))
    return config.final_lr + (1.0 - config.final_lr) * cosine


@dataclasses.dataclass(frozen=True)
class RangeTest:
    """Learning-rate range test (Smith 2017, arXiv:1506.01186): the rate rises from step to step, the loss is watched.

    Attributes:
        lowest, highest: rates at the first and the last step.
        steps: how many.
    """

    lowest: float = 1e-6
    highest: float = 1e-1
    steps: int = 100

    def rate(self, step: int) -> float:
        """Geometric between the two ends."""
        share = step / max(1, self.steps - 1)
        return float(self.lowest * (self.highest / self.lowest) ** share)

    def suggestion(self, losses: list[float]) -> float | None:
        """A peak rate: a third of the one at which the smoothed loss is least; None where it never falls.

        Args:
            losses: of the steps from the first on; may end early, where the loss blew up.
        """
        smooth = smoothed(losses)
        if not smooth:
            return None
        best = min(range(len(smooth)), key=smooth.__getitem__)
        # The batches differ: a fall within their spread is none.
        noise = sum(abs(a - b) for a, b in zip(losses[1:], losses[:-1], strict=True)) / max(1, len(losses) - 1)
        if best == 0 or smooth[0] - smooth[best] < noise / 4:
            return None
        return self.rate(best) / 3.0


def smoothed(losses: list[float], decay: float = 0.9) -> list[float]:
    """Exponential moving average without its bias towards zero."""
    average, result = 0.0, []
    for index, loss in enumerate(losses, 1):
        average = decay * average + (1.0 - decay) * loss
        result.append(average / (1.0 - decay**index))
    return result
