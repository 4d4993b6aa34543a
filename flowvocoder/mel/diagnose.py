"""What an array of numbers that claims to be a mel looks like."""

import math

import numpy as np
import numpy.typing as npt

from flowvocoder.mel.spec import CONVENTIONS, MelSpec

LOUDEST = {"slaney": 3.5, "none": 7.0}
"""Natural log of the largest magnitude that full-scale audio gives, by the normalisation of the filters."""


def implausible(mel: npt.NDArray[np.generic], spec: MelSpec) -> str | None:
    """What (n_mels, F) looks like if it cannot well be speech in the convention `spec`; None if it can.

    Goes by what speech is: in natural logs of magnitudes its bands span 7 to 14 nats and stay below `LOUDEST`, since
    audio is within [-1, 1). Digital silence, the lowest value there is, does not count.
    """
    everything = mel.astype(np.float64)
    low, high = float(everything.min()), float(everything.max())
    values = everything[everything > low + 1e-3] if high > low + 1e-3 else everything
    quiet, loud = np.percentile(values, (1, 99))
    span = float(loud - quiet)
    numbers = f"values {low:.3g} to {high:.3g}, mean {values.mean():.3g}"
    unit = math.log(10.0) if spec.log == "log10" else 1.0  # nats in one unit of the convention's log
    floor = math.log(spec.floor) / unit
    if high > 25.0 / unit or span > 30.0 / unit:
        if low >= 0:
            return f"looks like linear magnitudes or powers, not their log ({numbers})"
        return f"looks like decibels, not {spec.log} ({numbers})"
    if span < 0.01 and low > floor + 0.1:
        return f"is the same everywhere ({numbers})"
    if low >= 0:
        what = (
            "a mel scaled to 0..1" if 0.5 < high <= 1.0 and values.mean() > 0.1 else "linear magnitudes, not their log"
        )
        return f"looks like {what} ({numbers})"
    if abs(values.mean()) < 0.3 and 0.5 < values.std() < 1.6:
        return f"looks mean-variance normalised ({numbers})"
    if spec.log == "log10" and span > 6.5:
        return f"looks like ln, not log10 ({numbers})"
    if low < floor - 0.05:
        return f"goes below this convention's floor of {spec.log}({spec.floor:g}) = {floor:.2f} ({numbers})"
    # Filters that are not normalised raise the level by some 3 nats, into what would be log10 elsewhere.
    if spec.log == "ln" and spec.norm == "slaney" and quiet > -5.6 and 2.0 < span < 5.5 and values.mean() > -4.6:
        return f"looks like log10, not ln ({numbers})"
    if high > LOUDEST[spec.norm] / unit:
        return f"is too loud for audio in -1..1; integer samples were perhaps not divided by 32768 ({numbers})"
    return None


def conventions_it_could_be(mel: npt.NDArray[np.generic]) -> list[str]:
    """Names of the conventions in which (n_mels, F) would be plausible; several, since some differ in no number."""
    return [
        name for name, spec in CONVENTIONS.items() if spec.n_mels == mel.shape[0] and implausible(mel, spec) is None
    ]
