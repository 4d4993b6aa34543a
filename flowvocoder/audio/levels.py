"""Levels of recordings, and where they are silent."""

from typing import Any

import numpy as np
import numpy.typing as npt

from flowvocoder.extras import librosa

FRAME_SECONDS = 0.02

LOUD_PERCENTILE = 95
"""Of the levels of frames: that of the loud ones, whatever the pauses."""

MARGIN_SECONDS = 0.1
"""Left before and after speech by trimming: onsets are weaker than what counts as speech."""

LOWEST_DB = -120.0
"""The level of digital silence, in dBFS."""

SILENCE_BELOW_DB = 30.0
"""A frame this far below the loud ones is silence: pauses of a quiet room are, weak consonants hardly ever."""


class Downmix:
    """Averages channels, block by block, and knows whether they cancelled each other: (T, C) -> (T,)."""

    def __init__(self) -> None:
        self._channels, self._apart, self._together = 1, 0.0, 0.0  # power before and after

    def __call__(self, block: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        self._channels = block.shape[1]
        if self._channels == 1:
            return block[:, 0]
        with np.errstate(over="ignore", invalid="ignore"):  # who reads refuses what is not finite, in one sentence
            mono = block.mean(1, dtype=np.float32)
        self._apart += float(np.square(block, dtype=np.float64).sum()) / self._channels
        self._together += float(np.square(mono, dtype=np.float64).sum())
        return mono

    @property
    def cancels(self) -> bool:
        """Whether averaging lost more than 10 dB, as it does where one channel is the other upside down."""
        return self._apart > 10.0 * self._together

    @property
    def said(self) -> tuple[str, ...]:
        """What was done, in words; nothing of mono."""
        if self._channels == 1:
            return ()
        lost = ", which cancel each other: little is left" if self.cancels else ""
        return (f"{self._channels} channels averaged to mono{lost}",)


def frame_levels(signal: npt.NDArray[np.floating[Any]], rate: int) -> npt.NDArray[np.float64]:
    """RMS levels in dBFS of frames of 20 ms: (T,) -> (frames,), one frame at least."""
    size = frame_size(len(signal), rate)
    frames = signal[: len(signal) // size * size].reshape(-1, size)
    return np.maximum(10.0 * np.log10(np.square(frames, dtype=np.float64).mean(1) + 1e-30), LOWEST_DB)


def frame_size(samples: int, rate: int) -> int:
    """Samples of a frame of a recording of `samples` samples at `rate` Hz."""
    return min(samples, max(1, round(rate * FRAME_SECONDS)))


def speech_level(levels: npt.NDArray[np.float64]) -> float:
    """Level in dBFS of the loud frames, which is taken for the recording's level."""
    return float(np.percentile(levels, LOUD_PERCENTILE))


def is_silent(levels: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Which frames (frames,) are silence."""
    return levels < speech_level(levels) - SILENCE_BELOW_DB


def trim_silence(samples: npt.NDArray[np.float32], rate: int) -> npt.NDArray[np.float32]:
    """Audio (T,) without the silence at both ends, but for a margin of 0.1 s.

    Silence is what `is_silent` says; of a recording that is silent throughout everything is kept.
    """
    size, margin = frame_size(len(samples), rate), round(rate * MARGIN_SECONDS)
    _, (first, end) = librosa().effects.trim(
        samples,
        top_db=SILENCE_BELOW_DB,
        ref=lambda amplitudes, **axes: np.percentile(amplitudes, LOUD_PERCENTILE, **axes),  # librosa 1.0 gives axes
        frame_length=size,
        hop_length=size,
    )
    return samples[max(0, first - margin) : end + margin]
