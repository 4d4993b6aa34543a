"""16-bit PCM: audio in [-1, 1) as integers and back."""

from typing import Any

import numpy as np
import numpy.typing as npt

from flowvocoder.units import PCM16_SCALE


def to_pcm16(samples: npt.NDArray[np.floating[Any]]) -> tuple[npt.NDArray[np.int16], int]:
    """Rounds and clips audio to 16-bit integers.

    Args:
        samples: audio in [-1, 1), any shape.

    Returns:
        Integers of the same shape, and how many of them were clipped.

    Example:
        >>> pcm, clipped = to_pcm16(np.array([0.0, 0.5, 1.5]))
        >>> pcm.tolist(), clipped
        ([0, 16384, 32767], 1)
    """
    scaled = np.rint(samples.astype(np.float64) * PCM16_SCALE)
    clipped = int(np.count_nonzero((scaled < -PCM16_SCALE) | (scaled > PCM16_SCALE - 1)))
    return np.clip(scaled, -PCM16_SCALE, PCM16_SCALE - 1).astype(np.int16), clipped


def from_pcm16(pcm: npt.NDArray[np.int16]) -> npt.NDArray[np.float32]:
    """16-bit integers as audio in [-1, 1), float32, of the same shape."""
    return pcm.astype(np.float32) / np.float32(PCM16_SCALE)
