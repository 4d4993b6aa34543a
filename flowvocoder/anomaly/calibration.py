"""From scores to p-values: how often clean speech that took no part in the fit scores as high."""

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from flowvocoder.errors import ConfigError

Array = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What clean recordings of speakers that were held out score.

    Attributes:
        scores: of each as a whole, (N,), from the lowest.
        peaks: of the most suspicious frame of each, (N,), from the lowest.
        seconds: all of them together.
    """

    scores: Array
    peaks: Array
    seconds: float

    @classmethod
    def of(cls, scores: Array, peaks: Array, seconds: float) -> "Calibration":
        """In any order."""
        return cls(np.sort(scores), np.sort(peaks), seconds)

    @property
    def smallest(self) -> float:
        """The smallest p-value that so many recordings can give."""
        return 1.0 / (len(self.scores) + 1)

    @property
    def shown(self) -> str:
        """It in four digits, rounded up, so that one may ask for it."""
        return f"{math.ceil(self.smallest * 1e4) / 1e4:.4f}"

    def p_value(self, score: float, pieces: int = 1) -> float:
        """The chance that clean speech scores as high: (1 + those that do) / (1 + N) (Vovk et al. 2005).

        Args:
            pieces: of which it is the highest.
        """
        above = len(self.scores) - int(np.searchsorted(self.scores, score, "left"))
        one = (1 + above) / (len(self.scores) + 1)
        return one if pieces == 1 else float(1.0 - (1.0 - one) ** pieces)  # one piece without rounding: it is compared

    def threshold(self, false_alarms: float) -> float:
        """The score that a frame exceeds in that share of clean recordings.

        Raises:
            ConfigError: no share, or fewer than one of the recordings.
        """
        if not self.smallest <= false_alarms < 1.0:
            least = f"{self.shown} (calibrated with {len(self.scores)} recordings)"
            raise ConfigError(f"false alarms must be a share from {least} to below 1, not {false_alarms}")
        above = math.floor(false_alarms * (len(self.peaks) + 1) + 1e-9)  # 1 of `smallest`, whatever it was rounded to
        return float(self.peaks[-above])
