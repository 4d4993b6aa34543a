"""The hum meter: constant tones at multiples of rate / period, the mark a flow with blocks of `period` samples leaves.

A model that squeezes audio into groups (WaveGlow's 8 samples) or blocks (LapGlow's 128) and treats every channel on its
own leaves a line at each multiple of the block rate where the channels' means are off.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from flowvocoder.evaluation.signals import Values
from flowvocoder.units import ceil_div

WINDOW = 4096  # samples, at least; made a multiple of the period, so that every tone lies on a bin
FEWEST_BINS = 16  # from one tone to the next
MAIN_LOBE = 2  # bins either side of a tone that a Hann window gives to it
REACH = 32  # bins either side, at most, that the floor is taken from


@dataclasses.dataclass(frozen=True)
class Hum:
    """Tones (K,): their frequencies in Hz, and their level in dB over the spectrum beside them; 0 is no tone."""

    hz: Values
    db: Values

    @property
    def mean(self) -> float:
        """Over all tones; NaN where the audio was too short or silent."""
        return float(self.db.mean()) if len(self.db) else float("nan")

    @property
    def peak(self) -> float:
        """Of the strongest tone; of no tone at all it is a few dB, the more the shorter the recording."""
        return float(self.db.max()) if len(self.db) else float("nan")


def measure_hum(samples: npt.ArrayLike, sample_rate: int, period: int) -> Hum:
    """The tones at k * sample_rate / period, 0 < k < period / 2, in audio (T,).

    Levels are means over time of the log power (a geometric mean), so that a constant tone counts in the pauses, where
    it is heard, and passing harmonics count as much at a tone as beside it. The floor is the median of the bins beside
    the tone. No tone can be told in audio shorter than the window (0.2 s at 22 050 Hz).

    Args:
        period: samples; the model's block or group, `model.block`.
    """
    samples = np.asarray(samples, dtype=np.float64)
    spacing = max(FEWEST_BINS, ceil_div(WINDOW, period))
    size = spacing * period
    if len(samples) < size:
        return Hum(np.empty(0), np.empty(0))
    frames = np.lib.stride_tricks.sliding_window_view(samples, size)[:: size // 2]
    frames = frames[np.abs(frames).max(axis=1) > 0]
    if not len(frames):
        return Hum(np.empty(0), np.empty(0))
    power = np.square(np.abs(np.fft.rfft(frames * np.hanning(size + 1)[:-1], axis=1)))
    level = (10.0 * np.log10(power + 1e-20)).mean(axis=0)
    tones = np.arange(spacing, spacing * ceil_div(period, 2), spacing)
    reach = min(REACH, spacing // 2 - 1)
    beside = np.r_[-reach:-MAIN_LOBE, MAIN_LOBE + 1 : reach + 1]
    floor = np.median(level[tones[:, None] + beside], axis=1)
    return Hum(tones * sample_rate / size, level[tones] - floor)
