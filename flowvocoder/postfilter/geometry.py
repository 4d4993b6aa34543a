"""Which frames and samples frame-by-frame iterations work on. Plain numbers, no torch."""

from typing import NamedTuple, Protocol

from flowvocoder.mel.spec import MelSpec
from flowvocoder.postfilter.schedule import STEADY
from flowvocoder.units import ceil_div


class Framing(Protocol):
    """The frames of `MelConsistency`."""

    spec: MelSpec
    hop: int
    size: int
    left: int


PARTIAL = {0: 2, 1: 1}
"""By hops of delay: how many hops of a frame's window may be missing."""

FADE = 4
"""Changes begin, and what was expected gives way to what has come, over 1 / FADE of a hop: a step would click."""


class Geometry(NamedTuple):
    """Which frames and samples a step works on. Hops and frames count from the newest hop, which is 0.

    Attributes:
        first, last: frames that are corrected.
        known: samples from the start of frame `first` to the end of the newest hop.
        open: of these, the ones at the end that may still change.
        beyond: samples after them that frames reach into.
    """

    first: int
    last: int
    known: int
    open: int
    beyond: int


def geometry(consistency: Framing, late: int) -> Geometry:
    """The geometry of a step that gives out what lies `late` hops back, as `RealTimeIterations` says."""
    spec, hop, left = consistency.spec, consistency.hop, consistency.left
    start = (spec.n_fft - spec.win_length) // 2 - left  # of the window's support, for frame 0 of a signal
    stop = start + spec.win_length
    missing = min(PARTIAL.get(late, 0) * hop, spec.win_length // 2)
    first, last = (-late * hop - stop) // hop + 1, (hop + missing - stop) // hop
    known = hop - (first * hop - left)
    return Geometry(first, last, known, (late + 1) * hop, max(0, (last - first) * hop + consistency.size - known))


def momentum(late: int) -> float:
    """How far a round goes on in the direction of the last one; more would smear pulses where frames are not whole."""
    return 0.3 if late in PARTIAL else STEADY.momentum


def in_whole_hops(before: int, consistency: Framing, late: int) -> int:
    """Samples behind the mel at which a hop can be worked on, where its audio comes `before` samples behind."""
    return max(ceil_div(before, consistency.hop), geometry(consistency, late).last) * consistency.hop
