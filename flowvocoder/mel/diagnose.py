"""What an array of numbers that claims to be a mel looks like."""

import functools
import math

import numpy as np
import numpy.typing as npt

from flowvocoder.errors import ImplausibleMelError
from flowvocoder.mel.filterbank import filterbank
from flowvocoder.mel.spec import CONVENTIONS, MelSpec

Array = npt.NDArray[np.generic]
Doubles = npt.NDArray[np.float64]

LOUDEST = 1.25
"""Largest root mean square of a frame: audio in -1..1 has 1 at most, and a mel states it to some 10 %."""

ROUGHNESS = 0.02, 0.17, 0.21
"""Of a recording's upper bands, whose level jumps at random from frame to frame: below the second in log10, above the
third in ln. White noise has 0.10 and 0.23. Below the first a signal has no noise."""

NARROW = 2.0, 0.01, 0.1
"""Nats: the loudest and the softest numbers of noise alone are nearer to each other than the first, but then it is
rougher than the last. What is less rough than the second has no noise."""

FEW = 40
"""Frames below which nothing is said of what only statistics show."""

RANKED = 4096
"""About as many values say what share lies below what. In a stream, sorting all would be felt."""

MANY = 20_000
"""Frames above which only some are looked at."""

KEPT, EVERY = 256, 64
"""Frames of a stream that are looked at together, and after how many more again."""


def implausible(mel: Array, spec: MelSpec) -> str | None:
    """What (n_mels, F) looks like if it cannot well be of a recording in the convention `spec`; None if it can.

    Goes by what recordings are: none is louder than full scale, and noise, of which every recording has some, is as
    rough in a mel as its logarithm makes it. Digital silence, the lowest value there is, does not count.
    """
    roughness = functools.partial(_roughness, mel[:, :MANY])
    everything = mel[:, :: max(1, mel.shape[1] // MANY)].astype(np.float64)
    low, high = float(everything.min()), float(everything.max())
    values = everything[everything > low + 1e-3] if high > low + 1e-3 else everything
    quiet, middle, high_end = np.percentile(values.ravel()[:: values.size // RANKED | 1], (1, 50, 99))
    span = float(high_end - quiet)
    numbers = f"values {low:.3g} to {high:.3g}, mean {values.mean():.3g}"
    unit = _nats(spec)
    floor = math.log(spec.floor) / unit
    if high > 25.0 / unit or span > 30.0 / unit:
        if low >= 0:
            return f"looks like linear magnitudes or powers, not their log ({numbers})"
        return f"looks like decibels, not {spec.log} ({numbers})"
    if span < 0.01 and low > floor + 0.1:
        return f"is the same everywhere ({numbers})"
    loud = too_loud(everything, spec)
    if low >= 0 and high <= 1.0 and values.mean() > 0.1:
        return f"looks like a mel scaled to 0..1 ({numbers})"
    if low >= 0 and middle < high / 4:  # few are large
        return f"looks like linear magnitudes, not their log ({numbers})"
    if _normalised(everything, values, loud is not None):
        return f"looks mean-variance normalised ({numbers})"
    if low >= -1.0 and high <= 1.0 and (loud or (spec.log == "ln" and mel.shape[1] >= FEW)):
        return f"looks like a mel scaled to -1..1 ({numbers})"
    least, rough_log10, rough_ln = ROUGHNESS
    if spec.log == "log10" and span > 6.5 and roughness() > rough_ln:
        return f"looks like ln, not log10 ({numbers})"
    if low < floor - 1.0 / unit:  # what a network predicts may fall a little short of the floor
        return f"goes below this convention's floor of {spec.log}({spec.floor:g}) = {floor:.2f} ({numbers})"
    # Filters that are not normalised raise the level by some 3 nats, into what would be log10 elsewhere.
    like_log10 = spec.log == "ln" and spec.norm == "slaney" and quiet > -5.6 and 2.0 < span < 5.5 and high < 0.8
    if like_log10 and values.mean() > -4.6 and least < roughness() < rough_log10:
        return f"looks like log10, not ln ({numbers})"
    if span * unit < NARROW[0] and NARROW[1] < roughness() * unit < NARROW[2]:
        return f"varies less than any recording, as if divided once too often ({numbers})"
    return loud


def too_loud(mel: Array, spec: MelSpec) -> str | None:
    """What (n_mels, F) looks like if no audio in -1..1 is as loud; None if some is. Of many frames some count."""
    looked_at = mel[:, :: max(1, mel.shape[1] // MANY)].astype(np.float64, copy=False)
    # Every band at its loudest in one frame is quick to know, and mostly enough.
    if frame_levels(looked_at.max(1, keepdims=True), spec)[0] <= LOUDEST:
        return None
    if np.percentile(frame_levels(looked_at, spec), 99) <= LOUDEST:
        return None
    return (
        "is too loud for audio in -1..1: integer samples were perhaps not divided by 32768, or filters not normalised"
        f" (values {looked_at.min():.3g} to {looked_at.max():.3g}, mean {looked_at.mean():.3g})"
    )


def refuse(problem: str | None, spec: MelSpec) -> None:
    """Raises ImplausibleMelError if there is a problem."""
    if problem:
        hint = "--trust-mel or trust_mel=True takes it anyway"
        raise ImplausibleMelError(f"not a plausible {spec.name()} mel: {problem} ({hint})")


class StreamedMel:
    """Looks at a mel whose frames come in pieces.

    Args:
        spec: of the mel.
    """

    def __init__(self, spec: MelSpec):
        self._spec = spec
        self._last: Array = np.zeros((spec.n_mels, 0), np.float32)
        self._new = 0  # frames of it that were not looked at

    def push(self, frames: Array) -> str | None:
        """The next frames (n_mels, F), F > 0. Says what those that came last look like, as `implausible`."""
        self._last = np.concatenate([self._last[:, -KEPT:], frames], 1)
        self._new += frames.shape[1]
        if 2 * self._new < min(self._last.shape[1], 2 * EVERY):  # a look takes as long as a few frames
            return None
        self._new = 0
        return implausible(self._last, self._spec)


def conventions_it_could_be(mel: Array) -> list[str]:
    """Names of the conventions in which (n_mels, F) would be plausible; several, since some differ in no number."""
    return [
        name for name, spec in CONVENTIONS.items() if spec.n_mels == mel.shape[0] and implausible(mel, spec) is None
    ]


def frame_levels(mel: Doubles, spec: MelSpec) -> Doubles:
    """Root mean square of the audio around every frame, (F,), of a mel (n_mels, F): that of noise, tones have more."""
    nats = np.minimum(_nats(spec) * mel, 50.0)
    return np.asarray(np.sqrt(_power_of_bands(spec) @ np.exp(2.0 * nats)))


@functools.lru_cache(maxsize=8)
def _power_of_bands(spec: MelSpec) -> Doubles:
    """What the square of each band's value contributes to the mean square of the audio, (n_mels,)."""
    filters = filterbank(spec)
    total = filters.sum(1)  # a band narrower than a bin may be empty
    bins = total / np.maximum(filters.max(1), 1e-12)
    window_energy = 0.375 * spec.win_length  # of a Hann window
    return np.asarray(2.0 * bins / np.maximum(total, 1e-12) ** 2 / (spec.n_fft * window_energy) * (total > 0))


def _nats(spec: MelSpec) -> float:
    """One unit of the convention's logarithm."""
    return math.log(10.0) if spec.log == "log10" else 1.0


def _normalised(mel: Doubles, values: Doubles, too_loud: bool) -> bool:
    """Whether the mean is 0 and the variance 1: of all values where they are too loud anyway, else of every band."""
    if not (abs(values.mean()) < 0.3 and 0.5 < values.std() < 1.6):
        return False
    by_band = mel.shape[1] >= FEW and float(np.mean((np.abs(mel.mean(1)) < 0.5) & (mel.std(1) > 0.7))) > 0.8
    return too_loud or by_band


def _roughness(mel: Array) -> float:
    """Median change of slope from frame to frame in the upper half of the bands; 0 of a few frames."""
    upper = mel[len(mel) // 2 :].astype(np.float64)
    return 0.0 if mel.shape[1] < FEW else float(np.median(np.abs(np.diff(upper, 2, axis=1))))
