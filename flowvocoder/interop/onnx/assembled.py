"""Models that are put together: the post-filter alone, and whole mels as a step of zero state before it."""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from flowvocoder.interop.onnx.graph import Graph, whole
from flowvocoder.interop.onnx.postfilter import add_postfilter
from flowvocoder.postfilter.chain import PostFilter
from flowvocoder.postfilter.settings import PostfilterSettings
from flowvocoder.streaming.flow import FlowStep
from flowvocoder.units import ceil_div

OPSET, IR = 18, 10


def postfilter_model(postfilter: PostFilter, settings: PostfilterSettings) -> onnx.ModelProto:
    """(audio (B, F * hop_length), mel (B, n_mels, F), length (B,)) -> audio, as `PostFilter.forward`."""
    inputs = [_input("audio", ["batch", "samples"]), *_mel_and_length(postfilter.consistency.spec.n_mels)]
    model = helper.make_model(
        helper.make_graph([], "postfilter", inputs, [_input("filtered", ["batch", "samples"])]),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR,
    )
    graph = Graph()
    graph.add_to(model, add_postfilter(graph, postfilter, settings, "audio", "mel", "length"), "filtered")
    return model


def add_whole(model: onnx.ModelProto, step: FlowStep, postfilter: PostFilter, settings: PostfilterSettings) -> None:
    """Make the model of a step one of whole mels: (mel, noise, length) -> audio after the post-filter."""
    rest, late = ceil_div(step.delay, step.rate), step.delay * step.block
    begin, end = Graph("begin"), Graph()
    items = begin("Shape", "mel", start=0, end=1)
    given = {
        "mel": begin.pad("mel", 0, rest, 2),
        "noise": begin.pad("noise", 0, rest * step.rate, 2),
        "position": begin.constant(np.array(0, np.int64)),
    }
    for index, shape in enumerate(step.state_shapes):
        given[f"state_{index}"] = begin("ConstantOfShape", begin("Concat", items, whole(*shape), axis=0))
    for node in model.graph.node:
        node.input[:] = [given.get(name, name) for name in node.input]
        node.output[:] = ["flow" if name == "audio" else name for name in node.output]
    nodes = [*begin.nodes, *model.graph.node]
    del model.graph.node[:], model.graph.input[:], model.graph.output[:]
    del model.graph.value_info[:]  # of as many frames as come in, which the step now gets more of
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(begin.constants)
    samples = end("Mul", end("Shape", "mel", start=2, end=3), whole(step.rate * step.block))
    flow = end.slice("flow", late, end("Add", samples, whole(late)), 1)
    mel, length = _mel_and_length(step.n_mels)
    model.graph.input.extend([mel, _input("noise", ["batch", step.block, "blocks"]), length])
    model.graph.output.append(_input("audio", ["batch", "samples"]))
    end.add_to(model, add_postfilter(end, postfilter, settings, flow, "mel", "length"), "audio")


def _mel_and_length(n_mels: int) -> list[onnx.ValueInfoProto]:
    return [_input("mel", ["batch", n_mels, "frames"]), _input("length", ["batch"], TensorProto.INT64)]


def _input(name: str, shape: Sequence[str | int], kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)
