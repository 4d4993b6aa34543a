"""The refiner of whole signals: its network, and its masks of long frames, then of short ones."""

import numpy as np
import torch

from flowvocoder.interop.onnx.graph import END, whole
from flowvocoder.interop.onnx.layers import convnext, linear, norm
from flowvocoder.interop.onnx.signal import Signal
from flowvocoder.interop.onnx.spectra import (
    Fourier,
    Spectrum,
    inverse_fourier,
    magnitude,
    overlapped,
    stretches,
    summed,
    whole_stretches,
)
from flowvocoder.postfilter.refiner import (
    FAINT,
    FAINT_PITCH,
    GREATEST,
    KERNEL,
    LEAST,
    LOWEST_LEVEL,
    MEL_AHEAD,
    MOST,
    SHORT_FRAMES,
    SHORTER,
    STATED,
    Refiner,
    RefinerLayer,
)


class Refined:
    """`Refinement` over a whole signal."""

    def __init__(self, signal: Signal, refiner: Refiner):
        self.graph, self._signal, self._net = signal.graph, signal, refiner
        bins, short_bins = len(refiner.share), len(refiner.short_share)
        self._long = Fourier(signal.graph, refiner.size, refiner.hop, bins, refiner.window, refiner.synthesis)
        self._short = Fourier(signal.graph, refiner.short_size, refiner.short_hop, short_bins,
                              refiner.short_window, refiner.short_synthesis, halvings=0)  # fmt: skip

    def refined(self, audio: str) -> str:
        """(B, F * hop) -> (B, F * hop), zeros after the end of each item."""
        graph, net, bins = self.graph, self._net, len(self._net.share)
        ends = self._signal.inside(net.hop)
        audio = graph("Mul", audio, ends)
        spectrum = self._long.of(stretches(graph, audio, net.left, net.size, net.hop))
        said = self._said(spectrum, self._in_short(audio))
        inside = graph("Unsqueeze", self._signal.inside(1), whole(2))
        share = torch.cat([net.share[self._long.order], net.short_share.repeat(SHORT_FRAMES)])
        scale = graph("Sub", graph("Exp", graph("Mul", graph("Mul", said, share), inside)), 1.0)
        long, short = graph.several("Split", 2, scale, whole(bins, len(share) - bins), axis=2)
        samples = summed(graph, self._long.back(spectrum, long), net.hop, net.size)
        change = graph.slice(samples, net.left, net.left - (net.size - net.hop), 1)
        audio = graph("Mul", graph("Add", audio, change), ends)
        before = graph.slice(samples, net.left - net.short_left, net.left, 1)
        short = graph("Reshape", short, whole(0, -1, len(net.short_share)))
        parts = self._short.back(self._in_short(audio, before), short)
        change = overlapped(graph, parts, net.short_hop, net.short_size, net.short_left)
        return graph("Mul", graph("Add", audio, change), ends)

    def _in_short(self, audio: str, before: str | None = None) -> Spectrum:
        """Spectra of short frames, (B, F * SHORT_FRAMES, bins) each.

        Args:
            before: what long frames have put before the start; None: zeros.
        """
        graph, net = self.graph, self._net
        given = graph.pad(audio, net.short_left, 0, 1) if before is None else graph("Concat", before, audio, axis=1)
        given = graph.pad(given, 0, net.short_size - net.short_hop - net.short_left, 1)
        return self._short.of(whole_stretches(graph, given, net.short_size, net.short_hop))

    def _said(self, spectrum: Spectrum, short: Spectrum) -> str:
        """What the network says, within MOST: of a long frame's bins in their order, then of its short ones'."""
        graph, net, bins = self.graph, self._net, len(self._net.share)
        seen, before = self._seen(spectrum, short), (2 + MEL_AHEAD) * net.spec.n_mels
        columns, rows = torch.arange(net.start.in_features), torch.arange(net.last.out_features)
        columns[before : before + bins] = before + self._long.order
        rows[:bins] = self._long.order
        h = linear(graph, seen, net.start, columns=columns)
        for layer in net.layers:
            assert isinstance(layer, RefinerLayer)
            h = convnext(graph, h, layer, KERNEL - 1, 0)
        said = linear(graph, norm(graph, h, net.norm), net.last, rows=rows)
        return graph("Div", said, graph("Add", graph("Mul", graph("Abs", said), 1.0 / MOST), 1.0))

    def _seen(self, spectrum: Spectrum, short: Spectrum) -> str:
        """As `Refiner._seen`, bins of long frames in their order."""
        graph, net, order = self.graph, self._net, self._long.order
        last = graph("Add", self._signal.frames, whole(MEL_AHEAD)[0])
        places = graph("Range", whole(0)[0], last, whole(1)[0])
        stated = graph("Mul", self._signal.up_to_last(self._signal.mel, places), float(net.nats))
        now, *later = (graph.slice(stated, n, n - MEL_AHEAD or END, 1) for n in range(MEL_AHEAD + 1))
        ahead = [graph("Div", graph("Add", each, STATED[0]), STATED[1]) for each in (now, *later)]
        level = graph("Sub", now, net.unit)
        used = magnitude(graph, spectrum, FAINT[0])
        bands = graph("MatMul", used, net.filterbank.T[order].contiguous())
        own = graph("Log", graph("Max", bands, float(net.spec.floor)))
        missing = graph("Mul", graph("Clip", graph("Sub", now, own), -1.0, 1.0), 4.0)
        least = graph("Max", graph("MatMul", level, net.to_bins[:, order]), LOWEST_LEVEL)
        long = graph("Clip", graph("Sub", graph("Log", used), least), LEAST, GREATEST)
        least = graph("Max", graph("MatMul", level, net.to_short_bins), LOWEST_LEVEL - SHORTER)
        least = graph("Unsqueeze", graph("Sub", least, SHORTER), whole(2))
        in_short = graph("Log", magnitude(graph, short, FAINT[1]))
        in_short = graph("Reshape", in_short, whole(0, -1, SHORT_FRAMES, len(net.short_share)))
        in_short = graph("Clip", graph("Sub", in_short, least), LEAST, GREATEST)
        in_short = graph("Reshape", in_short, whole(0, -1, SHORT_FRAMES * len(net.short_share)))
        return graph("Concat", *ahead, missing, long, in_short, self._pitch(spectrum), axis=2)

    def _pitch(self, spectrum: Spectrum) -> str:
        """The waveform of the lowest harmonics, (B, F, values)."""
        graph, values = self.graph, self._net.pitch_values
        bins = values // 2 + 1
        lowest = np.ascontiguousarray(self._long.order.argsort()[:bins].numpy())
        both = graph("Concat", *(graph("Gather", part, lowest, axis=2) for part in spectrum), axis=2)
        pitch = graph("MatMul", both, inverse_fourier(values, bins))
        rms = graph("Sqrt", graph("ReduceMean", graph("Mul", pitch, pitch), whole(2)))
        return graph("Div", pitch, graph("Add", rms, FAINT_PITCH))
