"""Frame-by-frame mel-consistency iterations in NumPy."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from flowvocoder.mel.spec import MelSpec
from flowvocoder.postfilter.geometry import FADE, PARTIAL, geometry
from flowvocoder.postfilter.settings import MOMENTUM, PostfilterSettings
from flowvocoder.units import ceil_div

Floats = npt.NDArray[np.float32]

ROW = 16
"""Low-rate samples a row of the filters, as in `postfilter.low_band`."""


class Consistency:
    """Corrects frames as `postfilter.consistency.MelConsistency` does.

    Args:
        constants: of `interop.onnx.rounds.rounds_file`.
        prefix: "" over all bands, "low_" over the low one.
    """

    def __init__(self, spec: MelSpec, constants: Mapping[str, Any], prefix: str):
        def number(name: str) -> int:
            return int(constants[prefix + name])

        self.spec, self.hop, self.size, self.left = spec, number("hop"), number("size"), number("left")
        self.decimate, self._bands = number("decimate"), number("bands")
        self._nats, self._max_gain = (np.float32(constants[prefix + name]) for name in ("nats", "max_gain"))
        self.window, self._filterbank, self._to_bins, self._most, self._outside, self._bias = (
            constants[prefix + name]
            for name in ("window", "filterbank", "to_bins", "most", "outside_weights", "outside_bias")
        )
        self._eps = np.float32(max(spec.magnitude_eps, 1e-20))

    def wanted(self, mel: Floats) -> Floats:
        """The levels that a mel (n_mels, F) states, in nats, and the most outside of its range: (F, bands + E)."""
        stated = self._nats * mel[: self._bands].T
        return np.concatenate([stated, stated @ self._outside + self._bias], 1)

    def change(self, windows: Floats, target: Floats) -> Floats:
        """What to add to frames (F, size), times the window, so that they have these levels."""
        spectrum = np.fft.rfft(windows * self.window)[:, : len(self._filterbank)]
        used = np.sqrt(np.square(spectrum.real) + np.square(spectrum.imag) + self._eps, dtype=np.float32)
        level = np.log(np.maximum(used @ self._filterbank, np.float32(self.spec.floor)))
        gain = np.minimum(np.maximum(target - level, -self._max_gain), self._most)
        return np.fft.irfft(spectrum * np.expm1(gain @ self._to_bins), self.size).astype(np.float32)


class Rounds:
    """What `postfilter.real_time.RealTimeIterations` gives for one item.

    Args:
        constants: as of `Consistency`.
    """

    def __init__(self, spec: MelSpec, constants: Mapping[str, Any], settings: PostfilterSettings):
        self._full, self._low = (Consistency(spec, constants, prefix) for prefix in ("", "low_"))
        self._down, self._up, self._reach = constants["down"], constants["up"], int(constants["reach"])
        self._late, self._rounds, self._low_rounds = settings.look_ahead, settings.rounds, settings.low_rounds
        self._momentum = np.float32(0.0 if self._late in PARTIAL else MOMENTUM)
        self._geometry = geometry(self._full, self._late)
        self._hop = 0  # the next one to come
        self._buffer = np.zeros(self._geometry.known + self._geometry.beyond, np.float32)
        self._waiting = np.zeros(0, np.float32)
        self._mel = np.zeros((spec.n_mels, 0), np.float32)
        self._mel_start = 0  # frame at which it begins
        self._windows = self._made_windows(self._full), self._made_windows(self._low)

    def push(self, mel: Floats, audio: Floats, ends: bool = False) -> Floats:
        """The next frames (n_mels, f) and samples (T,), which need not be in step -> samples.

        Args:
            ends: these are the last; everything that is still waiting comes out.
        """
        hop, now = self._full.hop, self._geometry
        self._mel = np.concatenate([self._mel, mel], 1)
        self._waiting = np.concatenate([self._waiting, audio])
        stated, done = self._mel_start + self._mel.shape[1], [audio[:0]]
        while len(self._waiting) >= hop and (ends or self._hop + now.last < stated):
            newest, self._waiting = self._waiting[:hop], self._waiting[hop:]
            self._buffer = self._step(self._shifted(newest))
            if self._hop > self._late:
                done.append(self._buffer[now.known - now.open :][:hop])
        if ends:
            done += [self._buffer[now.known - min(self._late, self._hop) * hop : now.known], self._waiting]
        spent = min(max(0, self._hop + now.first - self._mel_start), self._mel.shape[1])
        self._mel, self._mel_start = self._mel[:, spent:], self._mel_start + spent
        return np.concatenate(done)

    def _shifted(self, newest: Floats) -> Floats:
        """The buffer a hop later."""
        hop, known, beyond = self._full.hop, self._geometry.known, self._geometry.beyond
        short, buffer = hop // FADE, self._buffer
        if beyond < short:
            return np.concatenate([buffer[hop:known], newest, np.zeros(beyond, np.float32)])
        down = (1.0 - (np.arange(short) + 0.5) / short).astype(np.float32)
        begun = newest[:short] + down * (buffer[known : known + short] - newest[:short])
        later = np.pad(buffer[known + hop :], (0, min(hop, beyond)))
        later[:short] += (newest[-1] - later[0]) * down
        return np.concatenate([buffer[hop:known], begun, newest[short:], later])

    def _step(self, buffer: Floats) -> Floats:
        """The buffer that ends with the newest hop after the rounds."""
        step, now, hop = self._full, self._geometry, self._hop
        self._hop += 1
        first = max(hop + now.first, ceil_div(step.left, step.hop))  # whole after the start of the signal
        last = min(hop + now.last, self._mel_start + self._mel.shape[1] - 1)
        if last < first:
            return buffer
        mel = self._mel[:, first - self._mel_start : last + 1 - self._mel_start]
        row = first - hop - now.first
        start = row * step.hop
        return np.concatenate([buffer[:start], self._iterated(buffer[start:], mel, row)])

    def _iterated(self, x: Floats, mel: Floats, row: int) -> Floats:
        """Samples from the first frame's first on after the rounds of these frames."""
        full, low = (table[row : row + mel.shape[1]] for table in self._windows)
        x = self._corrected(self._full, x, self._full.wanted(mel), self._rounds, full)
        if not self._low_rounds:
            return x
        decimate, reach = self._low.decimate, self._reach
        count = len(x) // decimate
        before = _rows(np.pad(x, reach), self._down, ROW * decimate, count, 1)
        change = self._corrected(self._low, before, self._low.wanted(mel), self._low_rounds, low) - before
        change = _rows(np.pad(change, reach // decimate), self._up, ROW, count, decimate)
        at = np.arange(len(x)) + row * self._full.hop
        return x + np.pad(change, (0, len(x) % decimate)) * self._opening(at)  # the filter reaches into what is fixed

    def _corrected(self, step: Consistency, x: Floats, target: Floats, rounds: int, synthesis: Floats) -> Floats:
        """A signal after rounds of frames from its first sample on."""
        before, hop = x, step.hop
        for number in range(rounds):
            windows = np.lib.stride_tricks.sliding_window_view(x, step.size)[::hop][: len(target)]
            after = x.copy()
            for frame, rows in enumerate(step.change(windows, target) * synthesis):
                after[frame * hop : frame * hop + step.size] += rows
            x = before + (1 + self._momentum) * (after - before) if number + 1 < rounds else after
            before = after
        return x

    def _made_windows(self, step: Consistency) -> Floats:
        """Synthesis windows of all frames of a step, zero where samples do not change, (J, size)."""
        pieces = ceil_div(step.size, step.hop)
        padded = np.pad(step.window, (0, pieces * step.hop - step.size))
        overlapped = np.maximum(np.square(padded).reshape(pieces, step.hop).sum(0), np.float32(0.1))
        synthesis = (padded / np.tile(overlapped, pieces))[: step.size]
        count = self._geometry.last - self._geometry.first + 1
        at = step.decimate * (step.hop * np.arange(count)[:, None] + np.arange(step.size))
        return np.asarray(synthesis * self._opening(at), np.float32)

    def _opening(self, at: npt.NDArray[np.int64]) -> Floats:
        """How far samples of a step may change, 0 to 1."""
        now = self._geometry
        opening = (at - (now.known - now.open) + 0.5) * FADE / self._full.hop
        return np.clip(opening, 0.0, 1.0).astype(np.float32)


def _rows(x: Floats, matrix: Floats, step: int, count: int, each: int) -> Floats:
    """The first `count` x `each` values of stretches of x, `step` apart, each times the matrix, in a row."""
    rows = ceil_div(count, ROW)
    x = np.pad(x, (0, max(0, (rows - 1) * step + len(matrix) - len(x))))
    stretches = np.lib.stride_tricks.sliding_window_view(x, len(matrix))[::step][:rows]
    return (stretches @ matrix).reshape(-1)[: count * each]
