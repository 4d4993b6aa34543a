"""What samples show by themselves, without a model: gaps, repeats, flat tops, copies of a period.

All of it is looked for at the own rate of the recording: resampling blurs it. Each is a line over time: the higher, the
less it can be speech. What is usual of each is learned from clean speech, like all else.
"""

import numpy as np
import numpy.typing as npt

from flowvocoder.audio.files import Samples
from flowvocoder.units import PCM16_SCALE

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]

SIGNALS = {"gap": "loss", "repeat": "loss", "flat tops": "clipping", "copy": "loss"}
"""By name, with the kind that each speaks for."""

GAP = 0.003
"""Seconds that samples stay the same in a gap, at least."""

COPIED, SHORTEST_LAG, LONGEST_LAG = 0.006, 0.0025, 0.02
"""Seconds that are compared with earlier ones, and how much earlier those are."""


def signal_lines(samples: Samples, rate: int, count: int, frames: int) -> list[Array]:
    """The `SIGNALS` of audio (T,) at a rate in Hz: `count` values each, `frames` a second."""
    whole = np.rint(samples.astype(np.float64) * PCM16_SCALE)
    at = np.minimum((np.arange(count) * (rate / frames)).astype(int), len(whole) - 1)
    near, wide = (block_max(np.abs(whole), round(seconds * rate)) for seconds in (0.05, 1.0))
    tops = np.log(1.0 + 1000.0 * np.add.reduceat(_flat_tops(whole, near), at) * (frames / rate))
    return [
        np.maximum.reduceat(_gaps(whole, wide, rate), at),
        np.log1p(np.maximum.reduceat(repeats(whole, rate), at) * (1000.0 / rate)),
        tops,
        _copies(whole, wide, at, rate),
    ]


def _flat_tops(whole: Array, near: Array) -> Array:
    """Share of samples after the second that are the same but for rounding, loud, and with a corner beside them.

    Round tops are flat as well where sound is soft or low, but reach their neighbours step by step.
    """
    step = np.abs(np.diff(whole, prepend=whole[:1], append=whole[-1:]))
    firsts, ends = run_edges(step[1:-1] <= 1.0)
    corner = (ends - firsts >= 3) & (np.maximum(step[firsts], step[ends]) >= 10.0)
    corner &= np.abs(whole[firsts]) > 0.5 * near[firsts]
    return np.repeat(corner * (1.0 - 2.0 / (ends - firsts)), ends - firsts)


def _gaps(whole: Array, wide: Array, rate: int) -> Array:
    """Where samples stay the same: how loud it is right beside, 3 for as loud as within a second, 0 for 30 dB less.

    Silence that sound fades into, or that a file begins or ends with, is none.
    """
    found = np.zeros(len(whole))
    beside = round(0.004 * rate)
    firsts, ends = run_edges(np.diff(whole) == 0.0)
    long = (ends - firsts > GAP * rate) & (firsts > 0) & (ends < len(whole))
    for first, end in zip(firsts[long].tolist(), ends[long].tolist(), strict=True):
        levels = [np.abs(part - whole[first]).max() for part in (whole[max(0, first - beside) : first],
                                                                 whole[end : end + beside])]  # fmt: skip
        decades = [np.log10(max(level - 3.0, 1e-3) / (wide[first] + 30.0)) for level in levels]
        softer, louder = sorted(max(0.0, 3.0 + 2.0 * x) for x in decades)
        found[first:end] = 0.8 * louder + 0.2 * softer
    return found


def repeats(whole: Array, rate: int, window: int = 24, longest: float = 0.3) -> Array:
    """Length of what stood exactly so up to 0.3 s earlier, and is no silence: samples, at each of them."""
    if len(whole) <= window:
        return np.zeros(len(whole))
    odd = np.random.default_rng(0).integers(1, 2**62, window, dtype=np.int64) | 1
    numbers = whole.astype(np.int64)
    with np.errstate(over="ignore"):
        hashes = sum(numbers[k : len(numbers) - window + k] * odd[k] for k in range(window))
    order = np.argsort(hashes, kind="stable")
    lags = np.diff(order)
    equal = (np.diff(hashes[order]) == 0) & (lags <= longest * rate)
    lag = np.zeros(len(whole), np.int64)
    lag[order[1:][equal]] = lags[equal]
    moves = np.cumsum(np.r_[0, np.abs(np.diff(whole, prepend=whole[0])) > 3.0])
    lag[: len(hashes)] *= moves[window : window + len(hashes)] - moves[: len(hashes)] > window // 2
    found = np.zeros(len(whole))
    firsts, ends = run_edges(np.diff(lag) == 0)
    for first, end in zip(firsts[lag[firsts] > 0].tolist(), (ends[lag[firsts] > 0] + window).tolist(), strict=True):
        found[first:end] = end - first
    return found


def _copies(whole: Array, wide: Array, at: Places, rate: int) -> Array:
    """How nearly the sound is what it was a pitch period before: minus the log of the share that differs.

    Concealed packets repeat a period; the periods of speech differ in their highest frequencies.
    """
    window, least, most = (round(seconds * rate) for seconds in (COPIED, SHORTEST_LAG, LONGEST_LAG))
    sharp = np.diff(np.diff(whole, prepend=0.0), prepend=0.0)
    padded = np.pad(sharp, (most, 2 * window))
    size = 1 << (most + window - 1).bit_length()
    found = np.zeros(len(at))
    for half in range(2):
        starts = at + half * round(rate / 180)
        parts = padded[starts[:, None] + np.arange(most + window)]
        last = parts[:, most:]
        products = np.fft.irfft(np.fft.rfft(parts, size) * np.fft.rfft(last, size).conj(), size)[:, : most - least]
        powers = np.cumsum(np.pad(parts**2, ((0, 0), (1, 0))), 1)
        power = (powers[:, window:] - powers[:, :-window])[:, : most - least]
        own = (last**2).sum(1)
        alike = (products / np.sqrt((power + 1.0) * (own[:, None] + 1.0))).max(1)
        loud = own > window * np.maximum(10.0, 1e-3 * wide[np.minimum(starts, len(wide) - 1)]) ** 2
        found = np.maximum(found, np.where(loud, -np.log(np.maximum(1.0 - alike, 1e-6)), 0.0))
    return found


def run_edges(same: Flags) -> tuple[Places, Places]:
    """First sample of each run and the one after its last; `same` (T - 1,) says whether the next one continues it."""
    firsts = np.flatnonzero(np.r_[True, ~same])
    return firsts, np.r_[firsts[1:], len(same) + 1]


def run_lengths(same: Flags) -> Places:
    """Of each sample, how many lie in its run."""
    firsts, ends = run_edges(same)
    return np.repeat(ends - firsts, ends - firsts)


def block_max(values: Array, reach: int) -> Array:
    """The largest within about `reach` samples to each side: of blocks of an eighth of that, for speed."""
    from scipy import ndimage

    block = max(1, reach // 8)
    padded = np.pad(values, (0, -len(values) % block))
    blocks = ndimage.maximum_filter1d(padded.reshape(-1, block).max(1), 17, mode="nearest")
    return np.repeat(blocks, block)[: len(values)]
