"""Where the spectrum of a recording ends.

The limits were set on real close-talk recordings of two voices. One has its noise suppressed and little above 7 kHz,
the other has room noise and a constant offset. Both have no edge; the same recordings through a low-pass have one.
"""

import numpy as np
import numpy.typing as npt

from flowvocoder.units import PCM16_STEP

Signal = npt.NDArray[np.float64]

N_FFT = 1024
SMOOTHING_HZ, GUARD_HZ, BELOW_HZ = 200.0, 700.0, 500.0
EDGE_STEP_DB = 15.0
"""A band edge: all that is more than GUARD_HZ above lies this far below the last BELOW_HZ beneath it."""

STEEP_STEP_DB = 35.0
"""No microphone and no noise suppressor does that, whatever lies above."""

EMPTY_DB = 12.0
"""Or: what lies above is this near to the noise of 16-bit rounding, that is, nothing at all."""


def band_edge(signal: Signal, rate: int) -> tuple[float, bool]:
    """(frequency in Hz at which the spectrum falls off a cliff, whether nothing real lies above it).

    Without a cliff: (rate / 2, False). The long-term spectrum is smoothed over 200 Hz; a natural roll-off, even that of
    a noise suppressor, leaves noise above it, which resampling and lossy codecs do not.
    """
    nyquist = rate / 2.0
    if len(signal) < 2 * N_FFT:
        return nyquist, False
    bins = nyquist / (N_FFT // 2)
    smooth, guard, below = (max(1, round(hz / bins)) for hz in (SMOOTHING_HZ, GUARD_HZ, BELOW_HZ))
    power = np.convolve(_spectrum(signal), np.ones(smooth) / smooth, "same")
    level = 10.0 * np.log10(power + 1e-30) - 10.0 * np.log10(PCM16_STEP**2 / 12.0)  # over 16-bit rounding noise
    above = np.maximum.accumulate(level[::-1])[::-1]
    # Not within 0.93 of the Nyquist frequency, where every good resampler has its own edge.
    first, last = 2 * below, int(0.93 * nyquist / bins) - guard
    if last <= first:
        return nyquist, False
    under = np.lib.stride_tricks.sliding_window_view(level, below)[first - below : last - below].min(1)
    rest = above[first + guard : last + guard]
    step = under - rest
    best = int(np.argmax(step))
    if step[best] < EDGE_STEP_DB:
        return nyquist, False
    empty = rest[best] < EMPTY_DB or step[best] > STEEP_STEP_DB
    return float((first + best + guard / 2) * bins), bool(empty)


def _spectrum(signal: Signal) -> Signal:
    """Mean power, (N_FFT / 2 + 1,); white noise of variance v gives v in every bin."""
    window = np.hanning(N_FFT + 1)[:-1]
    total, count = np.zeros(N_FFT // 2 + 1), 0
    # In stretches: a long recording must not be in memory twice over.
    for start in range(0, len(signal) - N_FFT + 1, 512 * N_FFT):
        stretch = signal[start : start + 512 * N_FFT + N_FFT // 2]
        if len(stretch) < N_FFT:
            break
        frames = np.lib.stride_tricks.sliding_window_view(stretch, N_FFT)[:: N_FFT // 2]
        total += np.square(np.abs(np.fft.rfft(frames * window, axis=1))).sum(0)
        count += len(frames)
    return np.asarray(total / (count * np.square(window).sum()))
