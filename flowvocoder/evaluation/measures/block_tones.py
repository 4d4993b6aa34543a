"""Block-rate tones: constant tones at multiples of rate / block, the mark of a flow with blocks of `block` samples.

Some models squeeze audio into groups (WaveGlow's 8 samples) or blocks (LapGlow's 256) and treat every channel on its
own. Where the channels' means are off, such a model leaves a line at each multiple of the block rate.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from flowvocoder.evaluation.measures.registry import measure
from flowvocoder.evaluation.signals import Values
from flowvocoder.units import ceil_div

WINDOW = 4096  # samples, at least; made a multiple of the block, so that every tone lies on a bin
FEWEST_BINS = 16  # from one tone to the next
MAIN_LOBE = 2  # bins either side of a tone that a Hann window gives to it
REACH = 32  # bins either side, at most, that the floor is taken from


@dataclasses.dataclass(frozen=True)
class BlockTones:
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


def measure_block_tones(samples: npt.ArrayLike, sample_rate: int, block: int) -> BlockTones:
    """The tones at k * sample_rate / block, 0 < k < block / 2, in audio (T,).

    Levels are means over time of the log power, that is geometric means. So a constant tone counts in the pauses, where
    it is heard, and passing harmonics count as much at a tone as beside it. The floor is the median of the bins beside
    the tone. Audio shorter than the window (0.2 s at 22 050 Hz) has no tones to be found.

    Args:
        block: samples of the model's block or group, `model.block`.
    """
    samples = np.asarray(samples, dtype=np.float64)
    spacing = max(FEWEST_BINS, ceil_div(WINDOW, block))
    size = spacing * block
    if len(samples) < size:
        return BlockTones(np.empty(0), np.empty(0))
    frames = np.lib.stride_tricks.sliding_window_view(samples, size)[:: size // 2]
    frames = frames[np.abs(frames).max(axis=1) > 0]
    if not len(frames):
        return BlockTones(np.empty(0), np.empty(0))
    power = np.square(np.abs(np.fft.rfft(frames * np.hanning(size + 1)[:-1], axis=1)))
    level = (10.0 * np.log10(power + 1e-20)).mean(axis=0)
    tones = np.arange(spacing, spacing * ceil_div(block, 2), spacing)
    reach = min(REACH, spacing // 2 - 1)
    beside = np.r_[-reach:-MAIN_LOBE, MAIN_LOBE + 1 : reach + 1]
    floor = np.median(level[tones[:, None] + beside], axis=1)
    return BlockTones(tones * sample_rate / size, level[tones] - floor)


@measure("block_tones_db", "block-rate tones, dB", 1, "lower", of="speech", charted=True)
@measure("block_tones_peak_db", "strongest block-rate tone, dB", 1, "lower", of="speech")
def block_tones(samples: npt.ArrayLike, sample_rate: int, block: int) -> dict[str, float]:
    """`block_tones_db` and `block_tones_peak_db`: mean and strongest of the tones."""
    tones = measure_block_tones(samples, sample_rate, block)
    return {"block_tones_db": tones.mean, "block_tones_peak_db": tones.peak}


@measure("block_tones_recording_db", "block-rate tones of the recording itself, dB", 1, None, of="run")
def block_tones_of_recording(samples: npt.ArrayLike, sample_rate: int, block: int) -> dict[str, float]:
    """`block_tones_recording_db`: the same mean of the recording, what no copy can be blamed for."""
    return {"block_tones_recording_db": measure_block_tones(samples, sample_rate, block).mean}
