"""Frame-by-frame iterations of one item as machine code."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from flowvocoder.mel.spec import MelSpec
from flowvocoder.postfilter.filters import filters
from flowvocoder.postfilter.rounds import Consistency, Floats, Rounds
from flowvocoder.postfilter.settings import PostfilterSettings
from flowvocoder.units import LANES


def supported(constants: Mapping[str, Any]) -> bool:
    """Whether frames, over all bands and over the low one, are of a size and a distance that have machine code."""
    frames = [(int(constants[prefix + "size"]), int(constants[prefix + "hop"])) for prefix in ("", "low_")]
    return all(size >= 4 and size & (size - 1) == 0 and hop % LANES == 0 for size, hop in frames)


class CompiledRounds(Rounds):
    """As `Rounds`, in a third of the time. Needs numba: `pip install 'flowvocoder[fast]'`.

    Args:
        constants: `supported` ones.
    """

    def __init__(self, spec: MelSpec, constants: Mapping[str, Any], settings: PostfilterSettings):
        from flowvocoder.lanes.fourier import plan
        from flowvocoder.postfilter import side_by_side

        super().__init__(spec, constants, settings)
        self._iterate = side_by_side.iterated
        self._given: dict[Consistency, tuple[Any, ...]] = {}
        for step in (self._full, self._low):
            given = filters(step.filterbank, step.to_bins, step.most, step.limits, step.size // 2 + 1)
            opening = self._opened(step.decimate * np.arange(len(self.opening) // step.decimate))
            self._given[step] = opening, (step.window, self._synthesis(step)), plan(step.size), given

    def _corrected(self, step: Consistency, x: Floats, wanted: Floats, rounds: int, row: int) -> Floats:
        if len(wanted) > LANES:
            return super()._corrected(step, x, wanted, rounds, row)
        opening, *given = self._given[step]
        self._iterate(x, wanted, rounds, self._momentum, step.hop, opening[row * step.hop :], *given)
        return x
