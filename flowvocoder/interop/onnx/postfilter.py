"""The post-filter of whole signals as products of matrices: no FFT, no complex numbers."""

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from flowvocoder.interop.onnx.graph import END, Array, Given, Graph, whole
from flowvocoder.interop.onnx.layers import convnext, linear, norm
from flowvocoder.interop.onnx.refiner import Refined
from flowvocoder.interop.onnx.signal import Signal
from flowvocoder.interop.onnx.spectra import (
    HALVINGS,
    Fourier,
    Parts,
    Spectrum,
    fourier,
    halves,
    inverse_fourier,
    joined,
    magnitude,
    overlapped,
    stretches,
)
from flowvocoder.postfilter.chain import PostFilter
from flowvocoder.postfilter.consistency import MAX_GAIN, MelConsistency
from flowvocoder.postfilter.guide import (
    GUIDED,
    LOWEST_LEVEL,
    MAX_CHANGE,
    RELATIVE_FLOOR,
    STATED,
    STRENGTH,
    Guide,
    GuideLayer,
)
from flowvocoder.postfilter.low_band import ROW, LowBand
from flowvocoder.postfilter.schedule import LIMITS, STEADY, Move, steady, towards_mel
from flowvocoder.postfilter.settings import PostfilterSettings


def add_postfilter(
    graph: Graph, postfilter: PostFilter, settings: PostfilterSettings, audio: str, mel: str, length: str
) -> str:
    """What `PostFilter.forward` gives, up to where that cuts long signals into pieces.

    Args:
        settings: its iterations, none of them by frame.
        audio: (B, F * hop_length), mel: (B, n_mels, F), length: (B,) frames of each item.

    Returns:
        The name of the audio, (B, F * hop_length).
    """
    consistency, band = postfilter.consistency, postfilter.low_band
    hop, row = consistency.hop, ROW * band.decimate
    # Zeros up to a number of frames that needs no rounding anywhere.
    multiple = math.lcm(2, consistency.every, row // math.gcd(row, hop))
    given = graph("Shape", mel, start=2, end=3)
    rest = graph("Mod", graph("Sub", whole(multiple), graph("Mod", given, whole(multiple))), whole(multiple))
    mel = graph.pad(mel, 0, rest, 2)
    audio = graph.pad(audio, 0, graph("Mul", rest, whole(hop)), 1)
    signal = Signal(graph, mel, graph("Unsqueeze", length, whole(1)))
    step = Consistency(signal, consistency) if settings.gl_iters else None
    after_refiner = postfilter.iterations_after_refiner(settings)
    first_after = settings.gl_iters - (after_refiner or 0)
    if step is not None:
        audio = step.iterate(audio, range(first_after))
    if settings.low_band_iters:
        first, wide = postfilter.low_band_parts(settings.low_band_iters)
        if (guide := postfilter.guide) is not None and first:
            guided = Guided(signal, guide, low_band := Low(signal, band))
            audio = low_band.stage(audio, lambda low: guided.guided_round(low_band.iterate(low, steady(first))))
        wide_band = Low(signal, postfilter.wide_band)
        audio = wide_band.stage(audio, lambda low: wide_band.iterate(low, towards_mel(wide)))
    if step is not None and after_refiner is not None and postfilter.refiner is not None:
        audio = Refined(signal, postfilter.refiner).refined(audio)
        audio = step.iterate(audio, range(first_after, settings.gl_iters))
    return graph.slice(audio, 0, graph("Mul", given, whole(hop)), 1)


def wanted(graph: Graph, step: MelConsistency, mel: str) -> str:
    """The levels that a mel (B, F, n_mels) states, and the most outside of its range: (B, F, bands + E)."""
    stated = graph("Mul", graph.slice(mel, 0, step.bands, 2), float(step.nats))
    if not len(step.outside_bias):
        return stated
    outside = graph("Add", graph("MatMul", stated, step.outside_weights), step.outside_bias)
    return graph("Concat", stated, outside, axis=2)


class Frames:
    """Corrects frames of a signal as `MelConsistency` does.

    Args:
        synthesis: what they are multiplied with afterwards; None: nothing.
        halvings: as of `Fourier`.
    """

    def __init__(self, graph: Graph, step: MelConsistency, synthesis: Tensor | None, halvings: int = HALVINGS):
        self.graph, self.step = graph, step
        self._fourier = Fourier(graph, step.size, step.stride, len(step.filterbank), step.window, synthesis, halvings)

    def change(self, x: Parts, target: str, inside: str, length: Given = 1.0) -> Parts:
        """What is added to n frames so that they have levels (B, n, bands + E), where `inside` is 1."""
        graph, step = self.graph, self.step
        spectrum, level = self.spectra(x)
        gain = graph("Min", graph("Max", graph("Sub", target, level), -MAX_GAIN), step.most)
        gain = graph("Mul", gain, inside)
        to_bins = step.to_bins[:, self._fourier.order]
        scale = graph("Sub", graph("Exp", graph("MatMul", gain, to_bins)), 1.0)
        if length != 1.0:
            scale = graph("Clip", graph("Mul", scale, length), *LIMITS)
        return self._fourier.back(spectrum, scale)

    def spectra(self, x: Parts) -> tuple[Spectrum, str]:
        """Spectra of n frames, and their levels: the log-mel, then those outside of its range."""
        graph, spec = self.graph, self.step.spec
        spectrum = self._fourier.of(x)
        used = magnitude(graph, spectrum, max(spec.magnitude_eps, 1e-20))
        level = graph("Max", graph("MatMul", used, self.step.filterbank[self._fourier.order]), float(spec.floor))
        return spectrum, graph("Log", level)


class Consistency:
    """Iterations of `MelConsistency` over a whole signal."""

    def __init__(self, signal: Signal, step: MelConsistency):
        self.graph, self.step = signal.graph, step
        graph = signal.graph
        levels = wanted(graph, step, signal.mel)
        self.target = graph.slice(levels, 0, step.bands, 2)
        start = graph("Sub", graph("Mul", signal.places(1), whole(step.hop)), whole(step.left))
        last = graph("Sub", graph("Mul", signal.length, whole(step.hop)), whole(step.size))
        inside = graph("And", graph("GreaterOrEqual", start, whole(0)), graph("LessOrEqual", start, last))
        inside = graph("Unsqueeze", signal.mask(inside), whole(2))
        self._inside, self._targets = [], []
        for first in range(step.every):  # every `every`-th frame, also those that are not whole: they are masked
            self._inside.append(graph.slice(inside, first, END, 1, step.every))
            self._targets.append(graph.slice(levels, first, END, 1, step.every))
        self.frames = Frames(graph, step, step.synthesis)

    def iterate(self, audio: str, numbers: range) -> str:
        """A signal after these iterations: (B, F * hop) -> (B, F * hop)."""
        for number in numbers:
            audio = self.graph("Add", audio, self.change(number, audio))
        return audio

    def change(self, number: int, audio: str, length: Given = 1.0) -> str:
        """What iteration `number` adds: (B, F * hop) -> (B, F * hop)."""
        graph, step = self.graph, self.step
        first = step.first_frame(number) % step.every
        before = step.left - first * step.hop
        x = stretches(graph, audio, before, step.size, step.stride)
        change = self.frames.change(x, self._targets[first], self._inside[first], length)
        return overlapped(graph, change, step.stride, step.size, before)


class Low:
    """`LowBand` over a whole signal."""

    def __init__(self, signal: Signal, band: LowBand):
        graph = signal.graph
        self.graph, self._band, self.consistency = graph, band, Consistency(signal, band.consistency)
        hop = band.consistency.hop * band.decimate
        self._ends = signal.inside(hop)
        self.low_ends = graph.slice(self._ends, 0, END, 1, band.decimate)

    def stage(self, audio: str, inner: Callable[[str], str]) -> str:
        """Audio (B, T) with its low band, which ends where the item does, as `inner` changes it."""
        graph, band = self.graph, self._band
        low = self._rows(audio, band.reach, band.down, ROW * band.decimate)
        low = graph("Mul", low, self.low_ends)
        change = graph("Sub", inner(low), low)
        change = self._rows(change, band.reach // band.decimate, band.up, ROW)
        return graph("Mul", graph("Add", audio, change), self._ends)

    def iterate(self, low: str, moves: Sequence[Move]) -> str:
        """As `LowBand.iterate`."""
        return accelerated(self.graph, low, functools.partial(self.consistency.change, 0), moves)

    def _rows(self, x: str, before: int, matrix: Tensor, step: int) -> str:
        rows = self.graph("MatMul", joined(self.graph, stretches(self.graph, x, before, len(matrix), step)), matrix)
        return self.graph("Reshape", rows, whole(0, -1))


class Guided:
    """`Guide.guided_round` over a whole signal."""

    def __init__(self, signal: Signal, guide: Guide, low: Low):
        graph = signal.graph
        self.graph, self.guide, self.low = graph, guide, low
        self._signal, last = signal, graph("Sub", signal.length, whole(1))
        self.stated = self._partnered(low.consistency.target)
        even = graph.slice(signal.places(1), 0, END, 0, 2)
        self.mine = graph("Unsqueeze", signal.mask(graph("LessOrEqual", even, last)), whole(2))
        self._left = guide.band.consistency.left - guide.band.consistency.size // 2
        start = graph("Sub", graph("Mul", even, whole(guide.hop // 2)), whole(self._left + guide.size // 2))
        stop = graph("Sub", graph("Mul", signal.length, whole(guide.hop // 2)), whole(guide.size))
        inside = graph("And", graph("GreaterOrEqual", start, whole(0)), graph("LessOrEqual", start, stop))
        self._whole = graph("Unsqueeze", signal.mask(inside), whole(2))  # frames within the item
        # n overlapping squared Hann windows sum to 3/8 n.
        synthesis = guide.window / (0.375 * guide.size / guide.hop)
        self._fourier = Fourier(graph, guide.size, guide.hop, guide.bins, guide.window, synthesis)
        bands, order = guide.band.consistency.bands, self._fourier.order
        both = graph("Reshape", graph("Sub", self.stated, guide.unit), whole(0, -1, 2, bands))
        mean = graph("ReduceMean", both, whole(2), keepdims=0)
        level = graph("Mul", graph("Exp", graph("MatMul", mean, guide.to_bins[:, order])), 2.0)
        self.level = graph("Max", level, 2.0 * LOWEST_LEVEL)

    def guided_round(self, low: str) -> str:
        """As `Guide.guided_round`."""
        graph = self.graph
        relative = graph("Div", magnitude(graph, self._spectra(low)), self.level)
        own = graph("Log", graph("Add", relative, RELATIVE_FLOOR))
        change = graph("Mul", graph("Clip", self._change(low, own), -MAX_CHANGE, MAX_CHANGE), STRENGTH)
        target = graph("Mul", self.level, graph("Exp", graph("Add", own, change)))
        moves = [Move(1.0, STEADY.momentum)] * GUIDED
        return accelerated(graph, low, functools.partial(self._correction, target), moves, self.low.low_ends)

    def _partnered(self, x: str) -> str:
        """(B, F, C) with the last frame of every item again after its end: the partner of an odd one."""
        return self._signal.up_to_last(x, self._signal.places(1))

    def _spectra(self, low: str) -> Spectrum:
        before = self._left + self.guide.size // 2
        return self._fourier.of(stretches(self.graph, low, before, self.guide.size, self.guide.hop))

    def _correction(self, target: str, low: str, _: Given) -> str:
        graph = self.graph
        spectrum = self._spectra(low)
        level = graph("Add", magnitude(graph, spectrum), graph("Mul", self.level, RELATIVE_FLOOR))
        gain = graph("Clip", graph("Div", target, level), math.exp(-MAX_GAIN), math.exp(MAX_GAIN))
        scale = graph("Mul", graph("Sub", gain, 1.0), self._whole)
        before = self._left + self.guide.size // 2
        return overlapped(graph, self._fourier.back(spectrum, scale), self.guide.hop, self.guide.size, before)

    def _change(self, low: str, own: str) -> str:
        """The predicted change of log magnitudes."""
        graph, guide, step = self.graph, self.guide, self.low.consistency
        x = stretches(graph, low, step.step.left, step.step.size, step.step.hop)
        level = step.frames.spectra(x)[1]
        level = self._partnered(graph.slice(level, 0, step.step.bands, 2))
        missing = graph("Mul", graph("Clip", graph("Sub", self.stated, level), -1.0, 1.0), 4.0)
        stated = graph("Div", graph("Add", self.stated, STATED[0]), STATED[1])
        pairs = [graph("Reshape", x, whole(0, -1, 2 * guide.band.consistency.bands)) for x in (stated, missing)]
        correlation = graph("Mul", self._autocorrelation(low), 2.0)
        order, before = self._fourier.order, 4 * guide.band.consistency.bands
        columns = torch.arange(guide.start.in_features)
        columns[before : before + guide.bins] = before + order
        h = linear(graph, graph("Concat", *pairs, own, correlation, axis=2), guide.start, columns=columns)
        for layer in guide.layers:
            assert isinstance(layer, GuideLayer)
            half = layer.over_time.weight.shape[2] // 2
            h = convnext(graph, graph("Mul", h, self.mine), layer, half, half)
        return linear(graph, norm(graph, h, guide.norm), guide.last, rows=order)

    def _autocorrelation(self, low: str, floor: float = 1e-9) -> str:
        """As `audio.periodicity.autocorrelation`."""
        graph, guide = self.graph, self.guide
        window, lags = guide.correlated, guide.lags
        size = window + lags - 1
        length = 2 ** math.ceil(math.log2(size + window))
        transform = fourier(length, length // 2 + 1)[:size]
        x = joined(graph, stretches(graph, low, self._left + size // 2, size, guide.hop))
        first = transform * (torch.arange(size) < window)[:, None]
        parts = [halves(graph, graph("MatMul", x, matrix), length // 2 + 1) for matrix in (first, transform)]
        (a, b), (c, d) = parts
        real = graph("Add", graph("Mul", a, c), graph("Mul", b, d))
        imaginary = graph("Sub", graph("Mul", a, d), graph("Mul", b, c))
        inverse = inverse_fourier(length, length // 2 + 1)[:, :lags].contiguous()
        product = graph("MatMul", graph("Concat", real, imaginary, axis=2), inverse)
        offset = torch.arange(size)[:, None] - torch.arange(lags)
        energies = ((offset >= 0) & (offset < window)).float()
        energy = graph("MatMul", graph("Mul", x, x), energies)
        both = graph("Mul", graph.slice(energy, 0, 1, 2), energy)
        return graph("Div", product, graph("Sqrt", graph("Add", both, floor)))


def accelerated(
    graph: Graph,
    x: str,
    change: Callable[[str, Given], str],
    moves: Sequence[Move],
    mask: str | None = None,
    loop: bool = True,
) -> str:
    """As `FastIterations`: each from the last one's result, extrapolated.

    Args:
        change: what an iteration adds, given the signal and a length.
        mask: what results are multiplied with.
        loop: so that there are no more operators the more iterations there are.
    """

    def moved(now: str, before: str, length: Given, momentum: Given) -> tuple[str, str]:
        after = graph("Add", now, change(now, length))
        after = after if mask is None else graph("Mul", after, mask)
        return graph("Add", after, graph("Mul", graph("Sub", after, before), momentum)), after

    lengths, momenta = np.array(moves, np.float32).reshape(-1, 2).T
    if loop:
        numbers = [_number(graph, each) for each in (lengths, momenta)]
        return graph.loop(len(moves), [x, x], lambda turn, *state: moved(*state, *(of(turn) for of in numbers)))[1]
    now = before = x
    for length, momentum in zip(lengths.tolist(), momenta.tolist(), strict=True):
        now, before = moved(now, before, length, momentum)
    return before


def _number(graph: Graph, numbers: Array) -> Callable[[str], Given]:
    """That of each turn of a loop, given its name: a constant where they are all alike."""
    if (numbers == numbers[0]).all():
        return lambda turn: float(numbers[0])
    return lambda turn: graph("Gather", numbers, turn)
