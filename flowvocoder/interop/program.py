"""Programs of `torch.export`, which Python and, by PyTorch's native runtime, C++ run."""

import io
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowvocoder.checkpoint import Checkpoint
from flowvocoder.files import writing
from flowvocoder.flows.streaming import StreamPosition, StreamState
from flowvocoder.interop.onnx.export import quiet, traced
from flowvocoder.interop.onnx.metadata import metadata
from flowvocoder.interop.onnx.modules import StepExport, exportable
from flowvocoder.postfilter.chain import PostFilter
from flowvocoder.units import ceil_div

MOST = 2**20
"""Mel frames of a program, 3.4 hours at 22 050 Hz: all of them are one piece, since a graph has no loop over pieces."""

CONTIGUOUS = {"memory_format": torch.contiguous_format}


class WholeVocoder(nn.Module):
    """Synthesis of a whole mel, with the post-filter.

    Shape:
        mel: (1, n_mels, F), noise: (1, M, N) -> audio (1, F * hop_length)
    """

    def __init__(self, checkpoint: Checkpoint):
        super().__init__()
        self.step = exportable(checkpoint.model)
        self.postfilter = checkpoint.postfilter or PostFilter(checkpoint.experiment.mel)
        self.settings = checkpoint.card.postfilter

    def forward(self, mel: Tensor, noise: Tensor) -> Tensor:
        return self.postfilter.stages(self.settings, piece=MOST).push(mel, self._flow(mel, noise), ends=True)

    def _flow(self, mel: Tensor, noise: Tensor) -> Tensor:
        step = self.step
        rest = ceil_div(step.delay, step.rate)
        start = torch.zeros((), dtype=torch.int64, device=mel.device)
        length = torch.full((mel.shape[0],), mel.shape[2], device=mel.device)
        mel = F.pad(mel.transpose(1, 2), (0, 0, 0, rest))
        noise = F.pad(noise.transpose(1, 2), (0, 0, 0, rest * step.rate))
        audio: Tensor = step(mel, noise, StreamPosition(start, length, traced=True), StreamState())
        late = step.delay * step.block
        return audio[:, late : late + audio.shape[1] - rest * step.rate * step.block]


def export_pt2(checkpoint: Checkpoint, path: Path, step: bool) -> None:
    """Write a program of one whole mel, or of one streaming step of the flow.

    Python needs `import flowvocoder.flows.recursion.operator` before it loads one, C++ the same operator
    (docs/examples/vocode.cpp). A whole mel has an even number of frames, 16 at least.

    Raises:
        ConfigError: the model cannot be exported.
        OutputError: the file cannot be written.
    """
    if step:
        module = StepExport(checkpoint.model)
        program, flow = traced(module, batch=2)[0], module.step
    else:
        whole = WholeVocoder(checkpoint).eval()
        program, flow = _traced_whole(whole), whole.step
    with quiet():
        program = without_gaps(program.run_decompositions())
        written = io.BytesIO()
        extra = {"flowvocoder.json": json.dumps(metadata(checkpoint, flow, "step" if step else "whole"))}
        torch.export.save(program, written, extra_files=extra)
    with writing(path) as temporary:
        temporary.write_bytes(written.getbuffer())


def _traced_whole(module: WholeVocoder) -> torch.export.ExportedProgram:
    step = module.step
    pairs = torch.export.Dim("pairs", min=8, max=MOST // 2)
    frames = 8 * ((step.delay // step.rate) + 4)
    mel, noise = torch.zeros(1, step.n_mels, frames), torch.zeros(1, step.block, frames * step.rate)
    shapes = ({2: 2 * pairs}, {2: 2 * step.rate * pairs})
    with quiet(), torch.no_grad():
        return torch.export.export(module, (mel, noise), dynamic_shapes=shapes, strict=False)


def without_gaps(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Copies what is a view with gaps in memory: from those PyTorch 2.11's native runtime computes nonsense.

    There `x[..., :4] * 0.98` of an x with five columns reads what nobody wrote: found by comparing every value of a
    program with Python's.
    """
    graph = program.graph
    for node in list(graph.nodes):
        value = node.meta.get("val")
        if node.op != "call_function" or not isinstance(value, Tensor) or _dense(value):
            continue
        with graph.inserting_after(node):
            copy = graph.call_function(
                torch.ops.aten.clone.default, (node,), {"memory_format": torch.contiguous_format}
            )
        copy.meta = {**node.meta, "val": value.clone(memory_format=torch.contiguous_format)}
        # What is given out stays: the program names it, and nothing is computed from it.
        node.replace_all_uses_with(
            copy, delete_user_cb=lambda user, copy=copy: user is not copy and user.op != "output"
        )
    program.graph_module.recompile()
    return program


def _dense(x: Tensor) -> bool:
    """Whether a tensor's elements fill a stretch of memory, in whatever order."""
    filled = 1
    for stride, size in sorted(zip(x.stride(), x.shape, strict=True)):
        if size != 1 and stride != filled:
            return False
        filled *= size
    return True
