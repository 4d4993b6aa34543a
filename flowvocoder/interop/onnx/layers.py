"""Layers of the post-filter's networks as ONNX operators."""

import math

import torch
from torch import Tensor

from flowvocoder.interop.onnx.graph import Graph
from flowvocoder.postfilter.guide import GuideLayer
from flowvocoder.postfilter.refiner import RefinerLayer

ALL = slice(None)
"""Of the rows or columns of a matrix."""


def convnext(graph: Graph, x: str, layer: GuideLayer | RefinerLayer, before: int, after: int) -> str:
    """A ConvNeXt block over time, (B, J, C) -> (B, J, C), zeros beyond the ends.

    Args:
        before, after: frames next to its own that a frame's result is made from.
    """
    conv = layer.over_time
    assert conv.bias is not None
    h = graph("Transpose", x, perm=[0, 2, 1])
    h = graph("Conv", h, conv.weight, conv.bias, group=len(conv.weight), pads=[before, after])
    h = norm(graph, graph("Transpose", h, perm=[0, 2, 1]), layer.norm)
    h = linear(graph, h, layer.inner, kind="hidden")
    erf = graph("Add", graph("Erf", graph("Mul", h, math.sqrt(0.5))), 1.0)
    h = graph("Mul", graph("Mul", h, 0.5), erf)  # GELU
    return graph("Add", x, graph("Mul", linear(graph, h, layer.outer, kind="hidden"), layer.scale))


def linear(
    graph: Graph,
    x: str,
    layer: torch.nn.Linear,
    rows: Tensor | slice = ALL,
    columns: Tensor | slice = ALL,
    kind: str = "constant",
) -> str:
    """A linear layer, or some of its outputs (rows), of inputs in another order (columns); `kind` of its weights."""
    weight = layer.weight[rows][:, columns]
    return graph("Add", graph("MatMul", x, graph.constant(weight.T.contiguous(), kind)), layer.bias[rows])


def norm(graph: Graph, x: str, layer: torch.nn.LayerNorm) -> str:
    """Over the last axis."""
    return graph("LayerNormalization", x, layer.weight, layer.bias, axis=-1, epsilon=layer.eps)
