"""Fourier transforms as products of matrices are PyTorch's, and stretches go back to their places."""

import numpy as np
import pytest
import torch

onnxruntime = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")

from flowvocoder.interop.onnx.assembled import IR, OPSET  # noqa: E402
from flowvocoder.interop.onnx.graph import Graph  # noqa: E402
from flowvocoder.interop.onnx.spectra import Fourier, overlapped, stretches  # noqa: E402


@pytest.mark.parametrize("halvings", [0, 1, 2, 3])
@pytest.mark.parametrize(
    ("size", "step", "bins"),
    [(64, 16, 33), (64, 16, 20), (64, 32, 7), (48, 12, 25), (60, 15, 31), (50, 16, 26)],  # the last has unequal parts
)
def test_spectra_and_the_way_back_are_those_of_pytorch(size: int, step: int, bins: int, halvings: int) -> None:
    generator, count = torch.Generator().manual_seed(size + step), 9
    signal = torch.randn(2, count * step, generator=generator)
    window, synthesis = torch.rand(2, size, generator=generator) + 0.5  # not symmetrical
    scale = torch.rand(2, count, bins, generator=generator)
    graph = Graph()
    fourier = Fourier(graph, size, step, bins, window, synthesis, halvings)
    spectrum = fourier.of(stretches(graph, "signal", step, size, step))
    back = overlapped(graph, fourier.back(spectrum, graph.constant(scale[..., fourier.order])), step, size, step)
    kinds = onnx.TensorProto.FLOAT
    ends = {"real": spectrum[0], "imaginary": spectrum[1], "out": back}
    nodes = [*graph.nodes, *(onnx.helper.make_node("Identity", [value], [name]) for name, value in ends.items())]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            nodes, "spectra", [onnx.helper.make_tensor_value_info("signal", kinds, ["batch", "samples"])],
            [onnx.helper.make_tensor_value_info(name, kinds, None) for name in ends], graph.constants,
        ),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR,
    )  # fmt: skip
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    real, imaginary, out = session.run(list(ends), {"signal": signal.numpy()})

    rows = torch.nn.functional.pad(signal, (step, size)).unfold(1, size, step)[:, :count]
    expected = torch.fft.rfft(rows * window)[..., :bins]
    order = fourier.order.numpy()
    assert sorted(order.tolist()) == list(range(bins))
    assert np.allclose(real, expected.real.numpy()[..., order], atol=1e-4)
    assert np.allclose(imaginary, expected.imag.numpy()[..., order], atol=1e-4)
    filtered = torch.fft.irfft(expected * scale, size) * synthesis
    summed = torch.zeros(2, count * step + 2 * size)
    for number in range(count):
        summed[:, number * step : number * step + size] += filtered[:, number]
    assert np.allclose(out, summed[:, step : step + count * step].numpy(), atol=1e-4)
