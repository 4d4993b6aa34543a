"""Learning rate over the run, and the test that finds a good peak for it."""

import dataclasses
import math
import statistics

from flowvocoder.config import OptimSettings


def learning_rate(step: int, optim: OptimSettings, since: int = 0) -> float:
    """Linear warm-up, then a cosine down to `final_lr` of the peak.

    Args:
        since: step from which on the optimiser has averaged gradients; it is warmed up from there.
    """
    return optim.lr * relative_rate(step, optim) * min(1.0, (step - since + 1) / max(1, optim.warmup) if since else 1.0)


def relative_rate(step: int, optim: OptimSettings) -> float:
    """The learning rate in units of its peak."""
    if step < optim.warmup:
        return (step + 1) / optim.warmup
    done = min(1.0, (step - optim.warmup) / max(1, optim.steps - optim.warmup))
    cosine = 0.5 * (1.0 + math.cos(math.pi * done))
    return optim.final_lr + (1.0 - optim.final_lr) * cosine


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
        # The batches differ: a fall within the spread of the first few is none.
        spread = statistics.median(abs(loss - smooth[0]) for loss in losses[:6])
        if smooth[0] - smooth[best] <= spread:
            return None
        return self.rate(best) / 3.0


def smoothed(losses: list[float], reach: int = 5) -> list[float]:
    """Running median over `reach` steps to either side: batches differ, and some are far off."""
    return [statistics.median(losses[max(0, i - reach) : i + reach + 1]) for i in range(len(losses))]
