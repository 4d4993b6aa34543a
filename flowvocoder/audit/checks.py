"""What is measured in the samples of one recording. All of it is plain arithmetic on mono audio (T,) in -1..1.

The limits were set on real close-talk recordings of two voices. One has its noise suppressed and little above 7 kHz,
the other has room noise and a constant offset. Both are clean; the same recordings with a fault put in are found.
"""

import numpy as np
import numpy.typing as npt

from flowvocoder.audio.levels import is_silent
from flowvocoder.units import PCM16_STEP

Signal = npt.NDArray[np.float64]

LOWEST_VOICE_HZ = 80.0


def silence_share(levels: Signal) -> float:
    """Share of frames far below the loud ones."""
    return float(is_silent(levels).mean())


def clipped_samples(signal: Signal, rate: int) -> int:
    """Samples that stand flat at a peak, three or more in a row; also where clipped audio was made quieter later.

    In a quiet recording rounding makes the tops of slow waves flat too: there the run must be longer than the top of a
    wave of LOWEST_VOICE_HZ. Resampling rounds flat tops off. Then the amplitudes still pile up at the top. In speech
    the highest tenth of the range is rarer than the one beneath it; in a sine it is 2.3 times as frequent.
    """
    size = np.abs(signal)
    peak = float(size.max())
    if peak < 100 * PCM16_STEP:
        return 0
    step = 1.5 * PCM16_STEP
    flat = (np.abs(np.diff(signal)) < step) & (size[1:] >= 0.98 * peak)
    edges = np.diff(flat.astype(np.int8), prepend=0, append=0)
    runs = np.flatnonzero(edges < 0) - np.flatnonzero(edges > 0) + 1  # samples of each
    omega = 2.0 * np.pi * LOWEST_VOICE_HZ / rate  # radians a sample
    # A sine changes by less than `step` a sample so near to its top, and is within 2 % of it so near.
    natural = min(2.0 * step / (peak * omega**2), 2.0 * np.arccos(0.98) / omega)
    clipped = int(runs[runs >= max(3.0, natural + 2.0)].sum())
    top, rest = int(np.count_nonzero(size > 0.9 * peak)), int(np.count_nonzero(size > 0.8 * peak))
    piled_up = top >= 60 and top >= 3 * (rest - top)
    return clipped or (top if piled_up else 0)
