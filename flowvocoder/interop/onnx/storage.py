"""Weights of a file in fewer bits. ONNX Runtime makes 32 of them when it loads, and computes with these."""

import math
import re
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Storage = Literal["float32", "float16", "int8"]

LARGE = 4096
"""Numbers from which on a constant is kept in fewer bits."""

HIDDEN = re.compile(r"encoder\.(first|second)\.|gates\.|log_scale\.features\.|steps\.\d+\.(first|second)\.|_hidden_")
"""Names of weights whose products an activation follows. Others scale, shift or transform the signal itself, or decide
on its lags: rounded to 8 bits, these would give another draw."""


def store(model: onnx.ModelProto, storage: Storage) -> None:
    """Keep large constants in 16 bits; with `int8`, weights of hidden layers in 8, a scale for each output."""
    if storage == "float32":
        return
    nodes, scales = [], []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or math.prod(tensor.dims) < LARGE:
            continue
        name, array = tensor.name, numpy_helper.to_array(tensor)
        if storage == "int8" and HIDDEN.search(name):
            whole, scale = eight_bits(array, -1 if "_hidden_" in name else 0)
            tensor.CopyFrom(numpy_helper.from_array(whole, f"{name}_whole"))
            scales.append(numpy_helper.from_array(scale, f"{name}_scale"))
            nodes.append(helper.make_node("Cast", [tensor.name], [f"{name}_wide"], to=TensorProto.FLOAT))
            nodes.append(helper.make_node("Mul", [f"{name}_wide", scales[-1].name], [name]))
        else:
            tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float16), f"{name}_half"))
            nodes.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    model.graph.initializer.extend(scales)
    nodes += model.graph.node
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def eight_bits(weight: npt.NDArray[np.float32], outputs: int) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """A matrix as whole numbers from -127 to 127 times a scale for each place along the axis `outputs`.

    >>> whole, scale = eight_bits(np.array([[0.5, -1.0], [0.0, 0.0]], np.float32), 0)
    >>> whole.tolist(), scale.tolist() == [[np.float32(1 / 127)], [1.0]]
    ([[64, -127], [0, 0]], True)
    """
    others = tuple(axis for axis in range(weight.ndim) if axis != outputs % weight.ndim)
    largest = np.abs(weight).max(others, keepdims=True)
    scale = np.where(largest > 0, largest / 127, 1.0).astype(np.float32)
    return np.rint(weight / scale).astype(np.int8), scale
