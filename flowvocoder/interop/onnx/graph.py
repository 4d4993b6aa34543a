"""A graph of ONNX operators, written one after the other."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

Array = npt.NDArray[np.generic]
END = 2**62
"""As the end of a slice: to the last."""

Given = str | Tensor | Array | float
"""The name of a value, or a constant."""


class Graph:
    """Nodes and their constants, with names of their own, to be put at the end of a model.

    Args:
        prefix: of all names.
    """

    def __init__(self, prefix: str = "post"):
        self._prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._known: dict[bytes, str] = {}
        self._numbers = itertools.count()  # of nodes, also of those in loops

    def __call__(self, kind: str, *inputs: Given, **attributes: Any) -> str:
        """Adds a node and returns the name of its output."""
        return self.several(kind, 1, *inputs, **attributes)[0]

    def several(self, kind: str, outputs: int, *inputs: Given, **attributes: Any) -> list[str]:
        """Adds a node of several outputs and returns their names."""
        names = [given if isinstance(given, str) else self.constant(given) for given in inputs]
        place = next(self._numbers)
        made = [f"{self._prefix}_{place}_{number}" for number in range(outputs)]
        self.nodes.append(helper.make_node(kind, names, made, **attributes))
        return made

    def constant(self, given: Tensor | Array | float, kind: str = "constant") -> str:
        """The name of a constant: numbers are float32, tensors and arrays what they are; each is stored once.

        Args:
            kind: a part of the name, by which `storage` knows weights of hidden layers.
        """
        array = given.detach().numpy() if isinstance(given, Tensor) else np.asarray(given)
        array = np.ascontiguousarray(array, np.float32) if array.dtype == np.float64 else array
        key = repr((array.dtype, array.shape)).encode() + array.tobytes()
        if key not in self._known:
            self._known[key] = f"{self._prefix}_{kind}_{len(self.constants)}"
            self.constants.append(numpy_helper.from_array(array, self._known[key]))
        return self._known[key]

    def loop(self, times: int, state: Sequence[str], body: Callable[..., Sequence[str]]) -> list[str]:
        """The state after so many times of what `body` makes of it.

        Args:
            state: names of float32 values that keep their shapes.
            body: (number of the turn, *state) -> state. What it adds to this graph is in the loop.
        """
        place = next(self._numbers)
        number, going, *before = (f"{self._prefix}_{place}_in_{n}" for n in range(2 + len(state)))
        outside, self.nodes = self.nodes, []
        after = [self("Identity", going), *body(number, *before)]
        inside, self.nodes = self.nodes, outside
        kinds = {number: TensorProto.INT64, going: TensorProto.BOOL, after[0]: TensorProto.BOOL}
        inputs, outputs = (
            [
                helper.make_tensor_value_info(n, kinds.get(n, TensorProto.FLOAT), [] if n in kinds else None)
                for n in names
            ]
            for names in ([number, going, *before], after)
        )
        turn = helper.make_graph(inside, f"{self._prefix}_{place}", inputs, outputs)
        return self.several("Loop", len(state), whole(times)[0], "", *state, body=turn)

    def slice(self, x: str, start: int | str, end: int | str, axis: int, step: int = 1) -> str:
        """x[start:end:step] along an axis; bounds are numbers or names of arrays of one."""
        bounds = [whole(b) if isinstance(b, int) else b for b in (start, end)]
        return self("Slice", x, *bounds, whole(axis), whole(step))

    def pad(self, x: str, before: int | str, after: int | str, axis: int) -> str:
        """x with zeros before and after along an axis."""
        if isinstance(before, int) and isinstance(after, int):
            sizes: Given = whole(before, after)
        else:
            both = [self.constant(whole(b)) if isinstance(b, int) else b for b in (before, after)]
            sizes = self("Concat", *both, axis=0)
        return self("Pad", x, sizes, 0.0, whole(axis))

    def add_to(self, model: onnx.ModelProto, output: str, name: str) -> None:
        """Put the graph at the end of a model, whose output is then `output`, called `name`."""
        self.nodes.append(helper.make_node("Identity", [output], [name]))
        model.graph.node.extend(self.nodes)
        model.graph.initializer.extend(self.constants)


def whole(*numbers: int) -> Array:
    """An array of int64."""
    return np.array(numbers, np.int64)
