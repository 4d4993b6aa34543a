"""Frame-by-frame iterations of one item by PyTorch's Fourier transforms and machine code."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from flowvocoder.mel.spec import MelSpec
from flowvocoder.postfilter.filters import filters
from flowvocoder.postfilter.rounds import MATRIX, Consistency, Floats, matrices, stretches


class CompiledConsistency(Consistency):
    """As `Consistency`, in half of the time. Needs numba: `pip install 'flowvocoder[fast]'`."""

    def __init__(self, spec: MelSpec, constants: Mapping[str, Any], prefix: str):
        from flowvocoder.postfilter import loops

        super().__init__(spec, constants, prefix)
        self._loops = loops
        limits = float(-self._max_gain), float(self._floor), float(self._eps)
        self._filters = filters(self._filterbank, self._to_bins, self._most, limits, self.size // 2 + 1)
        if self.size <= MATRIX:
            self._products = tuple(map(_in_turns, matrices(self.window, len(self._filters.below)), (1, 0)))

    def iterated(self, x: Floats, target: Floats, rounds: int, momentum: np.float32, synthesis: Floats) -> Floats:
        """As `Consistency.iterated`."""
        if self.size <= MATRIX:
            given = x, target, rounds, momentum, synthesis, self.hop, *self._products, self._filters
            found: Floats = self._loops.iterated(*given)
            return found
        before = x
        for number in range(rounds):
            change = self.change(stretches(x, self.size, self.hop, len(target)), target)
            after, further = x.copy(), momentum if number + 1 < rounds else np.float32(0.0)
            x = np.empty_like(x)
            self._loops.staggered_add(change, synthesis, self.hop, after, before, further, x)
            before = after
        return x

    def change(self, windows: Floats, target: Floats) -> Floats:
        """As `Consistency.change`."""
        if self.size <= MATRIX:
            return super().change(windows, target)
        spectrum = torch.fft.rfft(torch.from_numpy(windows * self.window))
        parts = torch.view_as_real(spectrum).flatten(1).numpy()
        self._loops.corrected(parts, target, np.ones(len(parts), np.bool_), self._filters, np.float32(1.0))
        found: Floats = torch.fft.irfft(spectrum, self.size).numpy()
        return found


def _in_turns(matrix: Floats, axis: int) -> Floats:
    """Real parts, then imaginary ones, along an axis -> these in turns."""
    parts = np.stack(np.split(matrix, 2, axis), axis + 1)
    return np.ascontiguousarray(parts.reshape(matrix.shape))
