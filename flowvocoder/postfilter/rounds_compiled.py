"""Frame-by-frame iterations of one item by PyTorch's Fourier transforms and machine code."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from flowvocoder.mel.spec import MelSpec
from flowvocoder.postfilter.rounds import MATRIX, Consistency, Floats, stretches


class CompiledConsistency(Consistency):
    """As `Consistency`, in half of the time. Needs numba: `pip install 'flowvocoder[fast]'`."""

    def __init__(self, spec: MelSpec, constants: Mapping[str, Any], prefix: str):
        from flowvocoder.postfilter import loops

        super().__init__(spec, constants, prefix)
        self._loops, self._limits = loops, np.array([-self._max_gain, self._floor, self._eps], np.float32)
        self._filterbank, self._to_bins = map(np.ascontiguousarray, (self._filterbank, self._to_bins))

    def iterated(self, x: Floats, target: Floats, rounds: int, momentum: np.float32, synthesis: Floats) -> Floats:
        """As `Consistency.iterated`."""
        if self.size <= MATRIX:
            filters = self._analysis, self._filterbank, self._to_bins, self._resynthesis
            found: Floats = self._loops.iterated(
                x, target, rounds, momentum, synthesis, self.hop, *filters, self._most, self._limits
            )
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
        least, floor, eps = self._limits
        spectrum = torch.fft.rfft(torch.from_numpy(windows * self.window))
        parts = torch.view_as_real(spectrum).flatten(1).numpy()
        used = np.empty((len(windows), len(self._filterbank)), np.float32)
        self._loops.magnitude(parts, used, eps)
        level = used @ self._filterbank
        self._loops.gain(level, target, floor, self._most, least)
        self._loops.change(parts, level @ self._to_bins)
        found: Floats = torch.fft.irfft(spectrum, self.size).numpy()
        return found
