"""Vocos (Siuzdak 2023, arXiv:2306.00814) in ONNX Runtime, to be measured beside ours."""

import copy
from pathlib import Path

import torch
from torch import Tensor, nn

from flowvocoder.extras import library


class _Spectrum(nn.Module):
    """Mel (B, n_mels, F) -> magnitudes, cosines and sines of phases, (B, F, bins) each, with the bins in that order."""

    def __init__(self, backbone: nn.Module, out: nn.Linear, order: Tensor):
        super().__init__()
        self.backbone, self.out = backbone, copy.deepcopy(out)
        places = torch.cat([order, order + len(order)])
        with torch.no_grad():
            self.out.weight.copy_(out.weight[places])
            self.out.bias.copy_(out.bias[places])

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        magnitude, phase = self.out(self.backbone(mel)).chunk(2, 2)
        return magnitude.exp().clip(max=100.0), phase.cos(), phase.sin()


def write_vocos(path: Path, backbone: nn.Module, head: nn.Module, n_mels: int, hop: int) -> None:
    """Write mel (B, n_mels, F) -> audio (B, F * hop) as a file, its inverse transform as products of matrices.

    Args:
        backbone, head: of the package, with a transform of 4 * hop samples.

    Raises:
        ConfigError: the export tools are not installed.
    """
    onnx = library("onnx", "onnx")
    library("onnxscript", "onnx")
    from flowvocoder.interop.onnx.assembled import OPSET
    from flowvocoder.interop.onnx.graph import Graph
    from flowvocoder.interop.onnx.spectra import Fourier, overlapped

    names, size, graph = ["magnitude", "cosine", "sine"], 4 * hop, Graph()
    # Four overlapping squared Hann windows sum to 1.5.
    fourier = Fourier(graph, size, hop, size // 2 + 1, torch.ones(size), torch.hann_window(size) / 1.5)
    module = _Spectrum(backbone, head.out, fourier.order).eval()  # type: ignore[arg-type]
    shapes = {"mel": {0: torch.export.Dim("batch", min=1), 2: torch.export.Dim("frames", min=2)}}
    exported = torch.onnx.export(module, (torch.zeros(2, n_mels, 16),), dynamo=True, opset_version=OPSET, verbose=False,
                                 input_names=["mel"], output_names=names, dynamic_shapes=shapes)  # fmt: skip
    assert exported is not None
    model, frames = exported.model_proto, fourier.back((names[1], names[2]), names[0])
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info("audio", onnx.TensorProto.FLOAT, ["batch", "samples"]))
    graph.add_to(model, overlapped(graph, frames, hop, size, (size - hop) // 2), "audio")
    path.write_bytes(model.SerializeToString())
