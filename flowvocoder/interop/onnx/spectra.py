"""Fourier transforms in ONNX as products of matrices, and stretches of a signal."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from flowvocoder.interop.onnx.graph import END, Array, Graph, whole
from flowvocoder.units import ceil_div

HALVINGS = 2
"""Of a Fourier transform. A third would save as much as it costs."""

Spectrum = tuple[str, str]
"""Real and imaginary parts, (B, n, bins) each."""

Parts = Sequence[str]
"""Stretches (B, n, size), cut into parts that follow each other: their concatenation is the whole."""


def halves(graph: Graph, spectrum: str, bins: int) -> tuple[str, str]:
    """Real and imaginary parts."""
    return graph.slice(spectrum, 0, bins, 2), graph.slice(spectrum, bins, END, 2)


def magnitude(graph: Graph, spectrum: Spectrum, floor: float = 0.0) -> str:
    """Of every bin."""
    real, imaginary = (graph("Mul", part, part) for part in spectrum)
    power = graph("Add", real, imaginary)
    return graph("Sqrt", graph("Add", power, floor) if floor else power)


class Fourier:
    """Fourier transforms of stretches, of the first bins, and back, as products of matrices.

    At even bins, a transform of N samples is one of N / 2: that of the sum of both halves. Odd bins need their
    difference alone (decimation in frequency, Gentleman and Sande 1966). So the first halving saves half of the
    multiplications, and the second a quarter of what is left.

    Args:
        size: of a stretch.
        step: samples from one stretch to the next.
        window, synthesis: windows before the transform, and after the way back; None: all ones.
        halvings: at most. Each is some more operators; in short signals they cost more than they save.

    Attributes:
        order: the bin of each column of a spectrum.
    """

    def __init__(self, graph: Graph, size: int, step: int, bins: int, window: Tensor, synthesis: Tensor | None,
                 halvings: int = HALVINGS):  # fmt: skip
        self.graph, self._window, self._synthesis = graph, window, synthesis
        halvings = min(halvings, (size & -size).bit_length() - 1) if size % (2 * step) == 0 else 0
        if halvings:
            forth, back = fourier(size, bins), inverse_fourier(size, bins)
        else:  # the windows are in the matrices
            forth, back = fourier(size, bins, window), inverse_fourier(size, bins, synthesis)
        of_differences = [(size >> (n + 1), torch.arange(2**n, bins, 2 ** (n + 1))) for n in range(halvings)]
        products = [*of_differences, (size >> halvings, torch.arange(0, bins, 2**halvings))]  # samples and bins of each
        self.order, self._counts = torch.cat([place for _, place in products]), [len(place) for _, place in products]
        self._forth = [[part[:n, place].contiguous() for part in forth.split(bins, 1)] for n, place in products]
        self._back = [[part[place, :n].contiguous() for part in back.split(bins, 0)] for n, place in products]

    def of(self, x: Parts) -> Spectrum:
        """Stretches in parts of `step` samples -> real and imaginary parts of the bins in `order`."""
        *of_differences, of_rest = self._forth
        if not of_differences:
            real, imaginary = (self.graph("MatMul", joined(self.graph, x), matrix) for matrix in of_rest)
            return real, imaginary
        graph, middle, found = self.graph, len(x) // 2, []
        halves = windowed(graph, [joined(graph, x[:middle]), joined(graph, x[middle:])], self._window)
        for matrices in of_differences:
            difference, rest = (graph(kind, *halves) for kind in ("Sub", "Add"))
            found.append([graph("MatMul", difference, matrix) for matrix in matrices])
            if len(found) < len(of_differences):
                halves = graph.several("Split", 2, rest, axis=2, num_outputs=2)
        found.append([graph("MatMul", rest, matrix) for matrix in of_rest])
        real, imaginary = (joined(graph, each) for each in zip(*found, strict=True))
        return real, imaginary

    def back(self, spectrum: Spectrum, scale: str) -> Parts:
        """Spectra times a scale (B, n, bins) -> stretches, in two parts or one."""
        graph, counts = self.graph, self._counts
        scaled = [graph("Mul", part, scale) for part in spectrum]
        if len(counts) == 1:
            return [self._product(scaled, self._back[0])]
        bands = [graph.several("Split", len(counts), part, whole(*counts), axis=2) for part in scaled]
        *differences, rest = map(self._product, zip(*bands, strict=True), self._back)
        halves = [rest]
        for difference in reversed(differences):
            rest = joined(graph, halves)
            halves = [graph(kind, rest, difference) for kind in ("Add", "Sub")]
        return halves if self._synthesis is None else windowed(graph, halves, self._synthesis)

    def _product(self, parts: Sequence[str], matrices: Sequence[Tensor]) -> str:
        return self.graph("Add", *(self.graph("MatMul", *pair) for pair in zip(parts, matrices, strict=True)))


def fourier(size: int, bins: int, window: Tensor | None = None) -> Tensor:
    """The first bins of the real Fourier transform, real parts then imaginary ones, as a matrix (size, 2 * bins)."""
    angle = _angles(size, bins).T
    matrix = torch.cat([angle.cos(), -angle.sin()], 1)
    return (matrix if window is None else window.double()[:, None] * matrix).float()


def inverse_fourier(size: int, bins: int, window: Tensor | None = None) -> Tensor:
    """What turns them back into samples, zeros in the bins above, times a window: (2 * bins, size)."""
    angle = _angles(size, bins)
    twice = torch.full((bins, 1), 2.0, dtype=torch.float64)
    twice[0] = 1.0
    twice[size // 2 :] = 1.0
    matrix = torch.cat([twice * angle.cos(), -twice * angle.sin()]) / size
    return (matrix if window is None else matrix * window.double()).float()


def _angles(size: int, bins: int) -> Tensor:
    steps = torch.arange(bins)[:, None] * torch.arange(size) % size
    return 2 * math.pi / size * steps.double()


def joined(graph: Graph, parts: Parts) -> str:
    """All parts as one."""
    return graph("Concat", *parts, axis=2) if len(parts) > 1 else parts[0]


def windowed(graph: Graph, parts: Parts, window: Tensor | Array) -> list[str]:
    """Parts of equal size times a window (size,), or a window a stretch (n, size)."""
    pieces = np.split(np.asarray(window), len(parts), -1)
    return [graph("Mul", part, piece) for part, piece in zip(parts, pieces, strict=True)]


def stretches(graph: Graph, x: str, before: int, size: int, step: int) -> Parts:
    """Stretches of (B, n * step), `step` apart; the first starts `before` samples early, zeros beyond the ends: n of
    them, in parts of `step` samples."""
    last = ceil_div(size, step) - 1
    return whole_stretches(graph, graph.pad(x, before, last * step - before, 1), size, step)


def whole_stretches(graph: Graph, x: str, size: int, step: int) -> Parts:
    """All stretches of (B, n * step) that are whole: n + 1 - ceil(size / step) of them."""
    last = ceil_div(size, step) - 1
    steps = graph("Reshape", x, whole(0, -1, step))
    parts = [graph.slice(steps, piece, piece - last if piece < last else END, 1) for piece in range(last + 1)]
    parts[-1] = graph.slice(parts[-1], 0, size - last * step, 2) if size % step else parts[-1]
    return parts


def overlapped(graph: Graph, parts: Parts, step: int, size: int, before: int) -> str:
    """The sum of stretches in their places, undoing `stretches`: (B, n * step)."""
    last = ceil_div(size, step) - 1
    samples = summed(graph, parts, step, size)
    if before > last * step:  # the last samples are in no stretch
        return graph.pad(graph.slice(samples, before, END, 1), 0, before - last * step, 1)
    return graph.slice(samples, before, before - last * step or END, 1)


def summed(graph: Graph, parts: Parts, step: int, size: int) -> str:
    """The sum of stretches, in parts of equal size, in their places: (B, (n - 1 + ceil(size / step)) * step)."""
    pieces = ceil_div(size, step)
    parts = [graph.pad(parts[0], 0, -size % step, 2)] if size % step else parts
    each = pieces // len(parts)
    steps = [graph.slice(part, piece * step, (piece + 1) * step, 2) for part in parts for piece in range(each)]
    total = graph("Sum", *(graph.pad(one, piece, pieces - 1 - piece, 1) for piece, one in enumerate(steps)))
    return graph("Reshape", total, whole(0, -1))
