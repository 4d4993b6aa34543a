"""Frame-by-frame mel-consistency iterations in NumPy."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from flowvocoder.mel.spec import MelSpec
from flowvocoder.postfilter.geometry import FADE, geometry, momentum
from flowvocoder.postfilter.settings import PostfilterSettings
from flowvocoder.units import ceil_div

Floats = npt.NDArray[np.float32]

MATRIX = 256
"""Samples of a frame up to which products with matrices are quicker than FFTs."""

ROW = 16
"""Low-rate samples a row of the filters, as in `postfilter.low_band`."""


class Consistency:
    """Corrects frames as `postfilter.consistency.MelConsistency` does.

    Args:
        constants: of `postfilter.frame_by_frame.constants`.
        prefix: "" over all bands, "low_" over the low one.

    Attributes:
        limits: the least gain, the lowest level, and what is added to the power of a bin.
    """

    def __init__(self, spec: MelSpec, constants: Mapping[str, Any], prefix: str):
        def number(name: str) -> int:
            return int(constants[prefix + name])

        self.spec, self.hop, self.size, self.left = spec, number("hop"), number("size"), number("left")
        self.decimate, self._bands = number("decimate"), number("bands")
        self._nats, self._max_gain = (np.float32(constants[prefix + name]) for name in ("nats", "max_gain"))
        self.window, self.filterbank, self.to_bins, self.most, self._outside, self._bias = (
            constants[prefix + name]
            for name in ("window", "filterbank", "to_bins", "most", "outside_weights", "outside_bias")
        )
        self._eps, self._floor = np.float32(max(spec.magnitude_eps, 1e-20)), np.float32(spec.floor)
        self.limits = float(-self._max_gain), float(self._floor), float(self._eps)
        if self.size <= MATRIX:
            self._analysis, self._resynthesis = matrices(self.window, len(self.filterbank))

    def wanted(self, mel: Floats) -> Floats:
        """The levels that a mel (n_mels, F) states, in nats, and the most outside of its range: (F, bands + E)."""
        stated = self._nats * mel[: self._bands].T
        return np.concatenate([stated, stated @ self._outside + self._bias], 1)

    def iterated(self, x: Floats, target: Floats, rounds: int, momentum: np.float32, synthesis: Floats) -> Floats:
        """A signal (T,) after rounds of frames from its first sample on.

        Args:
            target: what `wanted` gives, (F, bands + E).
            momentum: how far each round but the last goes on in its direction.
            synthesis: what the frames are multiplied with before they are added, (F, size).
        """
        before, samples = x, len(x)
        # Rows as long as the signal and a hop: read as rows a hop shorter, each begins a hop later than the last.
        rows = np.zeros((len(target), samples + self.hop), np.float32)
        staggered = rows.ravel()[: len(target) * samples].reshape(len(target), samples)
        for number in range(rounds):
            windows = stretches(x, self.size, self.hop, len(target))
            np.multiply(self.change(windows, target), synthesis, out=rows[:, : self.size])
            after = x + staggered.sum(0)
            x = after + momentum * (after - before) if number + 1 < rounds and momentum else after
            before = after
        return x

    def change(self, windows: Floats, target: Floats) -> Floats:
        """What to add to frames (F, size), times the window, so that they have these levels."""
        bins = len(self.filterbank)
        if self.size <= MATRIX:
            parts: Floats = windows @ self._analysis
            squared = np.square(parts)
            power = squared[:, :bins] + squared[:, bins:]
            parts.reshape(len(parts), 2, bins)[:] *= self._gains(power, target)[:, None]
            change: Floats = parts @ self._resynthesis
            return change
        spectrum = np.fft.rfft(windows * self.window)[:, :bins].astype(np.complex64, copy=False)
        gains = self._gains(np.square(spectrum.real) + np.square(spectrum.imag), target)
        return np.fft.irfft(spectrum * gains, self.size).astype(np.float32, copy=False)

    def _gains(self, power: Floats, target: Floats) -> Floats:
        """What the change of every bin is times its value, from 0 where a level is as it should be."""
        power += self._eps
        level = np.log(np.maximum(np.sqrt(power, out=power) @ self.filterbank, self._floor))
        gain = np.minimum(np.maximum(target - level, -self._max_gain), self.most) @ self.to_bins
        return np.expm1(gain, out=gain)


class Rounds:
    """What `postfilter.real_time.RealTimeIterations` gives for one item.

    Args:
        constants: as of `Consistency`.

    Attributes:
        windows: synthesis windows of the frames of a hop, over all bands and over the low one, (J, size) each.
        opening: how far each sample of the buffer may change, 0 to 1.
    """

    def __init__(self, spec: MelSpec, constants: Mapping[str, Any], settings: PostfilterSettings):
        full, low = (Consistency(spec, constants, prefix) for prefix in ("", "low_"))
        self._full, self._low = full, low
        self._down, self._up, self._reach = constants["down"], constants["up"], int(constants["reach"])
        self._late, self._rounds, self._low_rounds = settings.look_ahead, settings.rounds, settings.low_rounds
        self._momentum = np.float32(momentum(self._late))
        self._geometry = now = geometry(full, self._late)
        self._hop = 0  # the next one to come
        self._buffer = np.zeros(now.known + now.beyond, np.float32)
        self._waiting = np.zeros(0, np.float32)
        self._wanted: list[Floats] | None = None  # levels of the frames from `_start` on
        self._start = 0
        self.opening = self._opened(np.arange(len(self._buffer)))
        self.windows = self._made_windows(full), self._made_windows(low)

    def push(self, mel: Floats, audio: Floats, ends: bool = False) -> Floats:
        """The next frames (n_mels, f) and samples (T,), which need not be in step -> samples.

        Args:
            ends: these are the last; everything that is still waiting comes out.
        """
        hop, now = self._full.hop, self._geometry
        wanted = [self._full.wanted(mel), self._low.wanted(mel)]
        if self._wanted is not None:
            wanted = [np.concatenate(both) for both in zip(self._wanted, wanted, strict=True)]
        waiting, stated, done = np.concatenate([self._waiting, audio]), self._start + len(wanted[0]), [audio[:0]]
        while len(waiting) >= hop and (ends or self._hop + now.last < stated):
            newest, waiting = waiting[:hop], waiting[hop:]
            self._buffer = self._step(self._shifted(newest), wanted)
            if self._hop > self._late:
                done.append(self._buffer[now.known - now.open :][:hop])
        if ends:
            done += [self._buffer[now.known - min(self._late, self._hop) * hop : now.known], waiting]
        spent = min(max(0, self._hop + now.first - self._start), len(wanted[0]))
        self._wanted, self._start, self._waiting = [rows[spent:] for rows in wanted], self._start + spent, waiting
        return np.concatenate(done)

    def _shifted(self, newest: Floats) -> Floats:
        """The buffer a hop later."""
        hop, known, beyond = self._full.hop, self._geometry.known, self._geometry.beyond
        short, later = hop // FADE, _padded(self._buffer[hop:], 0, known + beyond)
        later[known - hop : known] = newest
        if beyond >= short:
            down = (1.0 - (np.arange(short, dtype=np.float32) + np.float32(0.5)) / np.float32(short)).astype(np.float32)
            later[known - hop :][:short] += down * (self._buffer[known : known + short] - newest[:short])
            later[known:][:short] += (newest[-1] - later[known]) * down
        return later

    def _step(self, buffer: Floats, wanted: list[Floats]) -> Floats:
        """The buffer that ends with the newest hop after the rounds."""
        step, now, hop = self._full, self._geometry, self._hop
        self._hop += 1
        first = max(hop + now.first, ceil_div(step.left, step.hop))  # whole after the start of the signal
        last = min(hop + now.last, self._start + len(wanted[0]) - 1)
        if last < first:
            return buffer
        full, low = (rows[first - self._start : last + 1 - self._start] for rows in wanted)
        row = first - hop - now.first
        buffer[row * step.hop :] = self._iterated(buffer[row * step.hop :], full, low, row)
        return buffer

    def _iterated(self, x: Floats, wanted: Floats, low_wanted: Floats, row: int) -> Floats:
        """Samples from the first frame's first on after the rounds of these frames."""
        x = self._corrected(self._full, x, wanted, self._rounds, row)
        if not self._low_rounds:
            return x
        decimate, reach = self._low.decimate, self._reach
        count = len(x) // decimate
        before = _rows(x, reach, self._down, ROW * decimate, count)[:count]
        after = self._corrected(self._low, before.copy(), low_wanted, self._low_rounds, row)
        change = _rows(after - before, reach // decimate, self._up, ROW, count)[: count * decimate]
        change *= self.opening[row * self._full.hop :][: len(change)]  # the filter reaches into what is fixed
        x[: len(change)] += change
        return x

    def _corrected(self, step: Consistency, x: Floats, wanted: Floats, rounds: int, row: int) -> Floats:
        """x (T,), perhaps in place, after rounds of the frames from number `row` of a hop on."""
        windows = self.windows[0 if step is self._full else 1][row : row + len(wanted)]
        return step.iterated(x, wanted, rounds, self._momentum, windows)

    def _made_windows(self, step: Consistency) -> Floats:
        """Synthesis windows of all frames of a step, zero where samples do not change, (J, size)."""
        count = self._geometry.last - self._geometry.first + 1
        at = step.decimate * (step.hop * np.arange(count)[:, None] + np.arange(step.size))
        return np.asarray(self._synthesis(step) * self._opened(at), np.float32)

    def _synthesis(self, step: Consistency) -> Floats:
        """The synthesis window of frames a hop apart, (size,)."""
        pieces = ceil_div(step.size, step.hop)
        padded = _padded(step.window, 0, pieces * step.hop)
        overlapped = np.maximum(np.square(padded).reshape(pieces, step.hop).sum(0), np.float32(0.1))
        synthesis: Floats = (padded / np.tile(overlapped, pieces))[: step.size]
        return synthesis

    def _opened(self, at: npt.NDArray[np.int64]) -> Floats:
        """How far samples of a step may change, 0 to 1."""
        now = self._geometry
        opening = (at - (now.known - now.open) + 0.5) * FADE / self._full.hop
        return np.clip(opening, 0.0, 1.0).astype(np.float32)


def _padded(x: Floats, before: int, length: int) -> Floats:
    """x with zeros before it, and after it up to a length."""
    padded = np.zeros(length, np.float32)
    padded[before : before + len(x)] = x
    return padded


def stretches(x: Floats, size: int, step: int, count: int) -> Floats:
    """Stretches of x, `step` apart, as a view (count, size). NumPy's functions for it take longer than a product."""
    return np.ndarray((count, size), np.float32, x, 0, (4 * step, 4))


def _rows(x: Floats, before: int, matrix: Floats, step: int, count: int) -> Floats:
    """Stretches of x behind `before` zeros, `step` apart, each times the matrix, in a row: at least `count` of ROW."""
    rows = ceil_div(count, ROW)
    padded = _padded(x, before, max(before + len(x), (rows - 1) * step + len(matrix)))
    return (stretches(padded, len(matrix), step, rows) @ matrix).reshape(-1)


def matrices(window: Floats, bins: int) -> tuple[Floats, Floats]:
    """From frames to real and imaginary parts of the first bins of the window's share, and from these back."""
    size = len(window)
    angle = 2 * np.pi / size * np.outer(np.arange(size), np.arange(bins))
    twice = np.where(np.arange(bins) % (size // 2 if size % 2 == 0 else size), 2.0, 1.0) / size
    cosine, sine = np.cos(angle), np.sin(angle)
    analysis = window[:, None] * np.concatenate([cosine, -sine], 1)
    resynthesis = np.concatenate([(twice * cosine).T, (-twice * sine).T])
    return analysis.astype(np.float32), resynthesis.astype(np.float32)
