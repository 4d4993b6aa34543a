"""The pitch recursion as an ONNX function: a Scan over groups of samples."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from flowvocoder.flows.recursion.reference import GROUP, REACH, SPAN

DOMAIN, NAME = "flowvocoder", "PitchRecursion"

TAPS = 2 * REACH + 1


def function(groups: int, past: int, opset: int, rounds: int = 1) -> onnx.FunctionProto:
    """(e (B, T), lag (B, G + 1) int64, taps (B, G + 1, TAPS), past (B, P)) -> x (B, T), as `reference.solve`.

    Args:
        groups: how many are done at once; what no lag is shorter than.
        past: P, samples before the first.
        rounds: of so many groups in one step of the Scan, whose steps cost more than what they compute. T is a multiple
            of all their samples.
    """
    body, groups = _body(groups, past, rounds), rounds * groups
    size = groups * GROUP
    constants = {
        "width": [size], "one": [1], "minus_one": [-1], "zero": [0], "last": [2**62], "axis1": [1], "axis3": [3],
        "rows": [0, -1, groups, 2], "tap_rows": [0, -1, groups, 2 * TAPS], "steps": [0, -1, size],
        "index_rows": [0, -1, groups * 2 * SPAN], "flat": [0, -1],
    }  # fmt: skip
    nodes = [_constant(name, np.array(values, np.int64)) for name, values in constants.items()]
    group = np.arange(groups)[:, None, None] * GROUP
    column = past - REACH + SPAN - 1 - np.arange(SPAN)
    nodes += [
        _constant("sources", (group + column)[None, None].astype(np.int64)),  # (1, 1, groups, 1, SPAN)
        # Every group's two nodes: (B, G, 2), then `groups` of them a step.
        *_nodes(
            ("Slice", ["lag", "zero", "minus_one", "axis1"], "lag_before"),
            ("Slice", ["lag", "one", "last", "axis1"], "lag_after"),
            ("Slice", ["taps", "zero", "minus_one", "axis1"], "taps_before"),
            ("Slice", ["taps", "one", "last", "axis1"], "taps_after"),
        ),
        helper.make_node("Unsqueeze", ["lag_before", "minus_one"], ["lag_before_column"]),
        helper.make_node("Unsqueeze", ["lag_after", "minus_one"], ["lag_after_column"]),
        helper.make_node("Concat", ["lag_before_column", "lag_after_column"], ["lag_sides"], axis=2),
        helper.make_node("Concat", ["taps_before", "taps_after"], ["tap_sides"], axis=2),
        *_nodes(
            ("Reshape", ["lag_sides", "rows"], "lag_steps"),
            ("Unsqueeze", ["lag_steps", "minus_one"], "lag_columns"),
            ("Sub", ["sources", "lag_columns"], "index"),
            ("Reshape", ["index", "index_rows"], "index_steps"),
            ("Reshape", ["tap_sides", "tap_rows"], "tap_steps"),
            ("Reshape", ["e", "steps"], "e_steps"),
        ),
        helper.make_node("Transpose", ["index_steps"], ["scan_index"], perm=[1, 0, 2]),
        helper.make_node("Transpose", ["tap_steps"], ["scan_taps"], perm=[1, 0, 2, 3]),
        helper.make_node("Transpose", ["e_steps"], ["scan_e"], perm=[1, 0, 2]),
        helper.make_node("Scan", ["past", "scan_e", "scan_index", "scan_taps"], ["end", "scan_x"],
                         body=body, num_scan_inputs=3),
        helper.make_node("Transpose", ["scan_x"], ["x_steps"], perm=[1, 0, 2]),
        helper.make_node("Reshape", ["x_steps", "flat"], ["x"]),
    ]  # fmt: skip
    return helper.make_function(
        DOMAIN, NAME, ["e", "lag", "taps", "past"], ["x"], nodes, [helper.make_opsetid("", opset)]
    )


def schema() -> onnx.defs.OpSchema:
    """What the exporter must know of the function."""
    parameter = onnx.defs.OpSchema.FormalParameter
    kinds = {"e": "float", "lag": "int64", "taps": "float", "past": "float"}
    inputs = [parameter(name, f"tensor({kind})") for name, kind in kinds.items()]
    return onnx.defs.OpSchema(NAME, DOMAIN, 1, inputs=inputs, outputs=[parameter("x", "tensor(float)")])


def _body(groups: int, past: int, rounds: int) -> onnx.GraphProto:
    size = groups * GROUP
    initial = [
        ("places", places()),
        ("matrix", np.array([0, rounds * groups, GROUP, 2 * SPAN], np.int64)),
        ("column", np.array([0, groups, 2 * SPAN, 1], np.int64)),
        ("row", np.array([0, size], np.int64)),
        ("start", np.array([past], np.int64)),
        ("before", np.array([rounds * size], np.int64)),
        ("end", np.array([2**62], np.int64)),
        ("axis", np.array([1], np.int64)),
    ]
    nodes = _nodes(
        ("MatMul", ["taps_now", "places"], "spread"),
        ("Reshape", ["spread", "matrix"], "matrices"),
    )
    for name in ("matrices", "index_now", "e_now"):
        parts = [f"{name}_{number}" for number in range(rounds)]
        nodes.append(helper.make_node("Split", [name], parts, axis=1, num_outputs=rounds))
    known = "history"
    for number in range(rounds):
        names = {name: f"{name}_{number}" for name in ("gathered", "columns", "predicted", "prediction", "x", "known")}
        nodes += [
            helper.make_node("GatherElements", [known, f"index_now_{number}"], [names["gathered"]], axis=1),
            *_nodes(
                ("Reshape", [names["gathered"], "column"], names["columns"]),
                ("MatMul", [f"matrices_{number}", names["columns"]], names["predicted"]),
                ("Reshape", [names["predicted"], "row"], names["prediction"]),
                ("Add", [f"e_now_{number}", names["prediction"]], names["x"]),
            ),
            helper.make_node("Concat", [known, names["x"]], [names["known"]], axis=1),
        ]
        known = names["known"]
    nodes += _nodes(
        ("Slice", [known, "start", "end", "axis"], "x_now"),
        ("Slice", [known, "before", "end", "axis"], "history_out"),
    )
    inputs = [("history", TensorProto.FLOAT), ("e_now", TensorProto.FLOAT), ("index_now", TensorProto.INT64),
              ("taps_now", TensorProto.FLOAT)]  # fmt: skip
    return helper.make_graph(
        nodes,
        "groups",
        [helper.make_tensor_value_info(name, kind, None) for name, kind in inputs],
        # ONNX Runtime wants to know the number of axes of what a Scan gives.
        [helper.make_tensor_value_info("history_out", TensorProto.FLOAT, ["batch", past]),
         helper.make_tensor_value_info("x_now", TensorProto.FLOAT, ["batch", rounds * size])],
        [numpy_helper.from_array(array, name) for name, array in initial],
    )  # fmt: skip


def places() -> np.ndarray:
    """Where the taps of a group's two nodes go in its matrix: (2 * TAPS, GROUP * 2 * SPAN), as in `reference`."""
    import torch

    from flowvocoder.flows.recursion.reference import tap_places

    return tap_places(torch.float32, torch.device("cpu")).numpy()


def _nodes(*specs: tuple[str, list[str], str]) -> list[onnx.NodeProto]:
    return [helper.make_node(kind, inputs, [output]) for kind, inputs, output in specs]


def _constant(name: str, array: np.ndarray) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array, name))
