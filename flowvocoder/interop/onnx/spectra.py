"""Fourier transforms in ONNX as products of matrices, and stretches of a signal."""

import math

import torch
from torch import Tensor

from flowvocoder.interop.onnx.graph import END, Graph, whole
from flowvocoder.units import ceil_div

SHORTEST_FOLDED = 512
"""Samples of a window that is worth folding: below, the folding costs what it saves."""

Spectrum = tuple[str, str]
"""Real and imaginary parts, (B, n, bins) each."""


def halves(graph: Graph, spectrum: str, bins: int) -> tuple[str, str]:
    """Real and imaginary parts."""
    return graph.slice(spectrum, 0, bins, 2), graph.slice(spectrum, bins, END, 2)


def magnitude(graph: Graph, spectrum: Spectrum, floor: float = 0.0) -> str:
    """Of every bin."""
    real, imaginary = (graph("Mul", part, part) for part in spectrum)
    power = graph("Add", real, imaginary)
    return graph("Sqrt", graph("Add", power, floor) if floor else power)


class Fourier:
    """Fourier transforms of stretches, of the first bins, and back.

    Real parts are of what is even around the middle and imaginary ones of what is odd, so in long windows each product
    is of half the samples.

    Args:
        size: of a stretch.
        window, synthesis: windows before the transform, and after the way back.
    """

    def __init__(self, graph: Graph, size: int, bins: int, window: Tensor, synthesis: Tensor):
        self.graph, self._size, self._folds = graph, size, size >= SHORTEST_FOLDED
        self._middle, self._mirrored = size // 2, (size - 1) // 2
        self._before, window = self._apart(window)
        self._after, synthesis = self._apart(synthesis)
        forth = fourier(size, bins, window).split(bins, 1)
        back = inverse_fourier(size, bins, synthesis).split(bins, 0)
        self._forth, self._back = ([half.contiguous() for half in halves] for halves in (forth, back))
        if self._folds:
            even, odd = slice(0, self._middle + 1), slice(1, self._mirrored + 1)
            self._forth = [forth[0][even].contiguous(), forth[1][odd].contiguous()]
            self._back = [back[0][:, even].contiguous(), back[1][:, odd].contiguous()]

    def _apart(self, window: Tensor) -> tuple[Tensor | None, Tensor]:
        """A window that is applied by itself, where halves cannot hold it, and one within the matrices."""
        if not self._folds or torch.allclose(window[1:], window[1:].flip(0), atol=1e-6):
            return None, window
        return window, torch.ones_like(window)

    def of(self, x: str) -> Spectrum:
        """Stretches (B, n, size) -> real and imaginary parts, (B, n, bins)."""
        graph, middle, mirrored = self.graph, self._middle, self._mirrored
        x = x if self._before is None else graph("Mul", x, self._before)
        parts = x, x
        if self._folds:
            far = graph.slice(x, self._size - 1, self._size - 1 - mirrored, 2, -1)
            even = graph("Add", graph.slice(x, 0, middle + 1, 2), graph.pad(far, 1, middle - mirrored, 2))
            parts = even, graph("Sub", graph.slice(x, 1, mirrored + 1, 2), far)
        real, imaginary = (graph("MatMul", *pair) for pair in zip(parts, self._forth, strict=True))
        return real, imaginary

    def back(self, spectrum: Spectrum, scale: str) -> str:
        """Spectra times a scale (B, n, bins) -> stretches (B, n, size)."""
        graph, middle, mirrored = self.graph, self._middle, self._mirrored
        even, odd = (graph("MatMul", graph("Mul", part, scale), matrix)
                     for part, matrix in zip(spectrum, self._back, strict=True))  # fmt: skip
        if not self._folds:
            return graph("Add", even, odd)
        near = graph("Add", even, graph.pad(odd, 1, middle - mirrored, 2))
        far = graph("Sub", graph.slice(even, 1, mirrored + 1, 2), odd)
        x = graph("Concat", near, graph.slice(far, mirrored - 1, -END, 2, -1), axis=2)
        return x if self._after is None else graph("Mul", x, self._after)


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


def stretches(graph: Graph, x: str, before: int, size: int, step: int) -> str:
    """Stretches of (B, n * step), `step` apart; the first starts `before` samples early, zeros beyond the ends:
    (B, n, size)."""
    last = ceil_div(size, step) - 1
    return joined(graph, graph.pad(x, before, last * step - before, 1), size, step)


def joined(graph: Graph, x: str, size: int, step: int) -> str:
    """All stretches of (B, n * step) that are whole: (B, n + 1 - ceil(size / step), size)."""
    last = ceil_div(size, step) - 1
    steps = graph("Reshape", x, whole(0, -1, step))
    parts = [graph.slice(steps, piece, piece - last if piece < last else END, 1) for piece in range(last + 1)]
    parts[-1] = graph.slice(parts[-1], 0, size - last * step, 2) if size % step else parts[-1]
    return graph("Concat", *parts, axis=2)


def overlapped(graph: Graph, rows: str, step: int, size: int, before: int) -> str:
    """The sum of stretches in their places, undoing `stretches`: (B, n, size) -> (B, n * step)."""
    last = ceil_div(size, step) - 1
    samples = summed(graph, rows, step, size)
    return graph.slice(samples, before, before - last * step if before < last * step else END, 1)


def summed(graph: Graph, rows: str, step: int, size: int) -> str:
    """The sum of stretches in their places: (B, n, size) -> (B, (n - 1 + ceil(size / step)) * step)."""
    last = ceil_div(size, step) - 1
    rows = graph.pad(rows, 0, -size % step, 2) if size % step else rows
    parts = [graph.slice(rows, piece * step, (piece + 1) * step, 2) for piece in range(last + 1)]
    total = graph("Sum", *(graph.pad(part, piece, last - piece, 1) for piece, part in enumerate(parts)))
    return graph("Reshape", total, whole(0, -1))
