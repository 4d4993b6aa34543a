"""Rounds of the low band as machine code, where numba is installed: `pip install 'flowvocoder[fast]'`."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from flowvocoder.extras import machine_code
from flowvocoder.mel.spec import MelSpec
from flowvocoder.postfilter.rounds import MATRIX, Consistency, Floats


class CompiledConsistency(Consistency):
    """As `Consistency`; frames that are short enough for products with matrices take a third of the time."""

    def __init__(self, spec: MelSpec, constants: Mapping[str, Any], prefix: str):
        super().__init__(spec, constants, prefix)
        self._limits = np.array([self._max_gain, self._floor, self._eps], np.float32)
        self._filterbank, self._to_bins = map(np.ascontiguousarray, (self._filterbank, self._to_bins))

    def iterated(self, x: Floats, target: Floats, rounds: int, momentum: np.float32, synthesis: Floats) -> Floats:
        """As `Consistency.iterated`."""
        if self.size > MATRIX:
            return super().iterated(x, target, rounds, momentum, synthesis)
        filters = self._analysis, self._filterbank, self._to_bins, self._resynthesis
        return compiled_rounds()(x, target, rounds, momentum, synthesis, self.hop, *filters, self._most, self._limits)


@functools.cache
def compiled_rounds() -> Callable[..., Floats]:
    """`_iterated` as machine code; compiling takes a few seconds, once. Raises ConfigError: numba is not installed."""
    function: Callable[..., Floats] = machine_code(_iterated, error_model="numpy", nogil=True)
    return function


def _iterated(  # type: ignore[no-untyped-def]
    x, target, rounds, momentum, synthesis, hop, analysis, filterbank, to_bins, resynthesis, most, limits
):
    count, size = synthesis.shape
    (bins, bands), (max_gain, floor, eps) = filterbank.shape, limits
    windows, used = np.empty((count, size), np.float32), np.empty((count, bins), np.float32)
    x, before = x.copy(), x.copy()
    for number in range(rounds):
        for frame in range(count):
            windows[frame] = x[frame * hop : frame * hop + size]
        parts = np.dot(windows, analysis)
        for frame in range(count):
            for k in range(bins):
                used[frame, k] = np.sqrt(parts[frame, k] ** 2 + parts[frame, bins + k] ** 2 + eps)
        gains = np.dot(used, filterbank)
        for frame in range(count):
            for band in range(bands):
                gain = target[frame, band] - np.log(max(gains[frame, band], floor))
                gains[frame, band] = min(max(gain, -max_gain), most[band])
        factors = np.dot(gains, to_bins)
        for frame in range(count):
            for k in range(bins):
                factor = np.expm1(factors[frame, k])
                parts[frame, k] *= factor
                parts[frame, bins + k] *= factor
        change = np.dot(parts, resynthesis)
        after = x.copy()
        for frame in range(count):
            for i in range(size):
                after[frame * hop + i] += change[frame, i] * synthesis[frame, i]
        x = after + momentum * (after - before) if number + 1 < rounds else after
        before = after
    return x
