"""Frame-by-frame rounds behind a step of the flow, so that a stream in ONNX has the voice's full quality."""

from typing import TypeAlias

import numpy as np
import onnx
from onnx import TensorProto, helper
from torch import Tensor

from flowvocoder.interop.onnx.graph import END, Given, Graph, whole
from flowvocoder.interop.onnx.postfilter import Frames, accelerated, wanted
from flowvocoder.interop.onnx.spectra import HALVINGS, joined, stretches, summed, whole_stretches, windowed
from flowvocoder.postfilter.chain import PostFilter
from flowvocoder.postfilter.frame_by_frame import constants
from flowvocoder.postfilter.geometry import FADE, geometry, in_whole_hops, momentum
from flowvocoder.postfilter.low_band import ROW
from flowvocoder.postfilter.rounds import Rounds
from flowvocoder.postfilter.schedule import Move
from flowvocoder.postfilter.settings import PostfilterSettings
from flowvocoder.units import ceil_div

Shapes: TypeAlias = list[tuple[int, int]]


def add_rounds(
    model: onnx.ModelProto, delay: int, states: Shapes, postfilter: PostFilter, settings: PostfilterSettings
) -> tuple[int, Shapes]:
    """Put what `postfilter.real_time.RealTimeIterations` does behind the audio of a step.

    Args:
        model: takes mel (B, n_mels, f), position () and length (B,), and gives audio (B, f * hop).
        delay, states: of that audio in samples, and the shapes of its own.

    Returns:
        Delay and shapes of the states with the rounds.
    """
    for node in model.graph.node:
        node.output[:] = ["flow" if name == "audio" else name for name in node.output]
    outputs = [value for value in model.graph.output if value.name != "audio"]
    del model.graph.value_info[:], model.graph.output[:]
    graph, work = Graph("rounds"), _Work(postfilter, settings)
    hop, late = work.hop, settings.look_ahead
    hops = in_whole_hops(delay, postfilter.consistency, late) // hop  # from a hop to the newest frame
    before, waiting = hops - work.now.first, hops * hop - delay
    new = [(before, postfilter.consistency.spec.n_mels), (work.samples, 1), *([(waiting, 1)] if waiting else [])]
    given = [f"state_{len(states) + number}" for number in range(len(new))]
    mel = graph("Concat", given[0], graph("Transpose", "mel", perm=[0, 2, 1]), axis=1)
    buffer, *late_flow = (graph("Squeeze", name, whole(2)) for name in given[1:])
    flow = graph("Concat", *late_flow, "flow", axis=1)
    frames = graph("Shape", "mel", start=2, end=3)
    count = graph("Mul", frames, whole(hop))
    hop_numbers = graph("Range", whole(0)[0], graph("Squeeze", frames, whole(0)), whole(1)[0])
    hop_numbers = graph("Unsqueeze", graph("Sub", graph("Add", hop_numbers, "position"), whole(hops)), whole(0, 2))
    length = graph("Unsqueeze", "length", whole(1, 2))
    scanned = [
        graph("Reshape", graph.slice(flow, 0, count, 1), whole(0, -1, hop)),
        *work.wanted(graph, mel, frames),
        *work.masks(graph, hop_numbers, length),
    ]
    # The first axis is the hop, the second the item.
    turned = [graph("Transpose", x, perm=[1, 0, 2, 3][: 3 + (0 < place < 4)]) for place, x in enumerate(scanned)]
    end, out = graph.several("Scan", 2, buffer, *turned, body=work.body(), num_scan_inputs=len(turned))
    left = [end, graph.slice(flow, count, END, 1)][: len(new) - 1]
    left = [graph.slice(mel, -before, END, 1), *(graph("Unsqueeze", x, whole(2)) for x in left)]
    inside = graph("Cast", graph("Less", graph("Sub", hop_numbers, whole(late)), length), to=1)
    audio = graph("Mul", graph("Transpose", out, perm=[1, 0, 2]), inside)
    audio = graph("Reshape", audio, whole(0, -1))
    model.graph.output.append(helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["batch", "samples"]))
    model.graph.output.extend(outputs)
    for name, shape, value in zip(given, new, left, strict=True):
        graph.nodes.append(helper.make_node("Identity", [value], [f"new_{name}"]))
        for values, prefix in ((model.graph.input, ""), (model.graph.output, "new_")):
            kind = helper.make_tensor_value_info(prefix + name, TensorProto.FLOAT, ["batch", *shape])
            values.append(kind)
    graph.add_to(model, audio, "audio")
    return (hops + late) * hop, [*states, *new]


class _Work:
    """A hop's rounds; as `postfilter.rounds.Rounds`, with masks in place of rows that are left out."""

    def __init__(self, postfilter: PostFilter, settings: PostfilterSettings):
        step, self._band, self._settings = postfilter.consistency, postfilter.low_band, settings
        self._steps = step, self._band.consistency
        rounds = Rounds(step.spec, constants(step, self._band), settings)
        self._tables, self._opening = rounds.windows, rounds.opening
        self.now, self.hop = geometry(step, settings.look_ahead), step.hop
        self._rows, self.samples = self.now.last - self.now.first + 1, self.now.known + self.now.beyond
        self._whole = ceil_div(step.left, step.hop)  # the first frame that does not reach over the start

    def wanted(self, graph: Graph, mel: str, frames: str) -> list[str]:
        """The levels of the frames of each hop, (B, f, J, bands + E), over all bands and over the low one."""
        found = []
        for step in self._steps:
            levels = wanted(graph, step, mel)
            rows = [graph.slice(levels, row, graph("Add", frames, whole(row)), 1) for row in range(self._rows)]
            found.append(graph("Concat", *(graph("Unsqueeze", each, whole(2)) for each in rows), axis=2))
        return found

    def masks(self, graph: Graph, hops: str, length: str) -> list[str]:
        """Which frames of a hop are corrected, (B, f, J, 1), and which samples they reach, (1, f, N), from the numbers
        of hops (1, f, 1) and lengths in frames (B, 1, 1)."""
        numbers = graph("Add", hops, np.arange(self.now.first, self.now.last + 1)[None, None])
        begun = graph(
            "And", graph("GreaterOrEqual", hops, whole(0)), graph("GreaterOrEqual", numbers, whole(self._whole))
        )
        inside = graph("And", begun, graph("Less", graph("Max", numbers, hops), length))
        frame = np.arange(self.samples)[None, None] // self.hop + self.now.first
        reached = graph("GreaterOrEqual", graph("Add", hops, frame), whole(self._whole))
        return [graph("Unsqueeze", graph("Cast", inside, to=1), whole(3)), graph("Cast", reached, to=1)]

    def body(self) -> onnx.GraphProto:
        """(buffer (B, N), newest (B, hop), levels, low levels, frames, samples) -> (buffer, samples (B, hop))."""
        graph, hop, now = Graph("hop"), self.hop, self.now
        x = self._shifted(graph)
        x = self._iterated(graph, x, self.samples, low=False)
        if self._settings.low_rounds:
            decimate, reach, count = self._band.decimate, self._band.reach, self.samples // self._band.decimate
            before = _filtered(graph, graph("Mul", x, "reached"), reach, self._band.down, ROW * decimate, self.samples)
            before = graph.slice(before, 0, count, 1)
            change = graph("Sub", self._iterated(graph, before, count, low=True), before)
            change = _filtered(graph, change, reach // decimate, self._band.up, ROW, count)
            change = graph.pad(graph.slice(change, 0, count * decimate, 1), 0, self.samples - count * decimate, 1)
            x = graph("Add", x, graph("Mul", graph("Mul", change, self._opening), "reached"))
        out = graph.slice(x, now.known - now.open, now.known - now.open + hop, 1)
        shapes: dict[str, list[str | int]] = {
            "buffer": ["batch", self.samples], "newest": ["batch", hop], "levels": ["batch", self._rows, "bands"],
            "low_levels": ["batch", self._rows, "low_bands"], "inside": ["batch", self._rows, 1],
            "reached": [1, self.samples], x: ["batch", self.samples], out: ["batch", hop],
        }  # fmt: skip
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
        return helper.make_graph(graph.nodes, "hop", values[:6], values[6:], graph.constants)

    def _shifted(self, graph: Graph) -> str:
        """As `Rounds._shifted`."""
        hop, known, beyond, short = self.hop, self.now.known, self.now.beyond, self.hop // FADE
        fixed = graph.slice("buffer", hop, known, 1)
        if beyond < short:
            return graph.pad(graph("Concat", fixed, "newest", axis=1), 0, beyond, 1)
        expected = graph.slice("buffer", known, END, 1)
        down = (1.0 - (np.arange(short, dtype=np.float32) + 0.5) / short).astype(np.float32)
        fade = graph("Sub", graph.slice(expected, 0, short, 1), graph.slice("newest", 0, short, 1))
        begun = graph("Add", "newest", graph.pad(graph("Mul", fade, down), 0, hop - short, 1))
        later = graph.slice(graph.pad(expected, 0, hop, 1), hop, END, 1)
        fade = graph("Sub", graph.slice("newest", hop - 1, hop, 1), graph.slice(later, 0, 1, 1))
        later = graph("Add", later, graph.pad(graph("Mul", fade, down), 0, beyond - short, 1))
        return graph("Concat", fixed, begun, later, axis=1)

    def _iterated(self, graph: Graph, x: str, length: int, low: bool) -> str:
        """A signal (B, length) after its rounds."""
        step, table = self._steps[low], self._tables[low]
        frames = Frames(graph, step, None, 0 if low else HALVINGS)
        levels = ("levels", "low_levels")[low]
        reach = (self._rows - 1 + ceil_div(step.size, step.hop)) * step.hop

        def change(x: str, _: Given) -> str:
            x = graph.pad(x, 0, reach - length, 1) if reach > length else graph.slice(x, 0, reach, 1)
            rows = frames.change(whole_stretches(graph, x, step.size, step.hop), levels, "inside")
            total = summed(graph, windowed(graph, rows, table), step.hop, step.size)
            return graph.slice(total, 0, length, 1) if reach > length else graph.pad(total, 0, length - reach, 1)

        count = self._settings.low_rounds if low else self._settings.rounds
        # So short a signal takes less time than the turns of a loop.
        return accelerated(graph, x, change, [Move(1.0, momentum(self._settings.look_ahead))] * count, loop=False)


def _filtered(graph: Graph, x: str, before: int, matrix: Tensor, step: int, length: int) -> str:
    """As `postfilter.rounds._rows`, of (B, length)."""
    parts = stretches(graph, graph.pad(x, 0, -length % step, 1), before, len(matrix), step)
    rows = graph("MatMul", joined(graph, parts), matrix)
    return graph("Reshape", rows, whole(0, -1))
