"""Frame-by-frame iterations of one item as machine code."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from flowvocoder.mel.spec import MelSpec
from flowvocoder.postfilter.filters import filters
from flowvocoder.postfilter.rounds import Consistency, Floats, Rounds
from flowvocoder.postfilter.settings import PostfilterSettings
from flowvocoder.units import ceil_div

SMALLEST = 16
"""Samples of a frame from which on its Fourier transform has machine code."""


def supported(constants: Mapping[str, Any]) -> bool:
    """Whether the frames over all bands and over the low one are as long as a power of 2."""
    sizes = [int(constants[prefix + "size"]) for prefix in ("", "low_")]
    return all(size >= SMALLEST and size & (size - 1) == 0 for size in sizes)


class CompiledRounds(Rounds):
    """As `Rounds`, in a third of the time. Needs numba: `pip install 'flowvocoder[fast]'`.

    Args:
        constants: `supported` ones.
    """

    def __init__(self, spec: MelSpec, constants: Mapping[str, Any], settings: PostfilterSettings):
        super().__init__(spec, constants, settings)
        self._all, self._below = _Band(self._full, self.windows[0]), _Band(self._low, self.windows[1])

    def _corrected(self, step: Consistency, x: Floats, wanted: Floats, rounds: int, row: int) -> Floats:
        (self._all if step is self._full else self._below).correct(x, wanted, rounds, self._momentum, row)
        return x


class _Band:
    """Corrects frames of one band.

    Args:
        windows: synthesis windows of the frames of a hop, (J, size).
    """

    def __init__(self, step: Consistency, windows: Floats):
        from flowvocoder.postfilter.rounds_loops import levels, rounds_for
        from flowvocoder.postfilter.transforms import LANES, transform

        self._lanes = ceil_div(len(windows), LANES) * LANES
        self._run = rounds_for(step.size, self._lanes)
        given = filters(step.filterbank, step.to_bins, step.most, step.limits, step.size // 2 + 1)
        self._tables = step.hop, step.window, transform(step.size), levels(step.filterbank, given)
        self._windows = windows / np.float32(2 * step.size)  # what the transform there and back leaves
        self._synthesis: dict[tuple[int, int], Floats] = {}

    def correct(self, x: Floats, wanted: Floats, rounds: int, momentum: np.float32, row: int) -> None:
        """Rounds of the frames from number `row` of a hop on, whose first begins with x (T,), in place."""
        place = row, len(wanted)
        if place not in self._synthesis:  # few: other than all are only at the ends of a signal
            after = ((0, 0), (0, self._lanes - len(wanted)))
            self._synthesis[place] = np.ascontiguousarray(np.pad(self._windows[row : row + len(wanted)].T, after))
        self._run(x, wanted, rounds, momentum, self._synthesis[place], *self._tables)
