"""The pitch recursion as an ONNX function: a Scan over groups of samples."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from flowvocoder.flows.recursion.reference import GROUP, REACH, SPAN

DOMAIN, NAME = "flowvocoder", "PitchRecursion"

TAPS = 2 * REACH + 1

Part = tuple[list[onnx.NodeProto], list[tuple[str, np.ndarray]], str]
"""Nodes, constants, and the name of what they give: all samples that are known after a step, (B, past + its own)."""


def function(groups: int, past: int, opset: int, rounds: int = 1) -> onnx.FunctionProto:
    """(e (B, T), lag (B, G + 1) int64, taps (B, G + 1, TAPS), past (B, P)) -> x (B, T), as `reference.solve`.

    Args:
        groups: how many can be done at once whatever the lags are.
        past: P, samples before the first.
        rounds: of so many groups in one step of the Scan, whose steps cost more than what they compute. T is a multiple
            of all their samples. Where the lags of a step allow, fewer rounds of more groups do the same.
    """
    together = rounds * groups
    constants = {
        "one": [1], "minus_one": [-1], "zero": [0], "last": [2**62], "axis1": [1], "lag_axes": [0, 2, 3],
        "rows": [0, -1, together, 2], "tap_rows": [0, -1, together, 2 * TAPS], "steps": [0, -1, together * GROUP],
        "flat": [0, -1],
    }  # fmt: skip
    nodes = [_constant(name, np.array(values, np.int64)) for name, values in constants.items()]
    nodes += [
        # Every group's two nodes: (B, G, 2), then those of a step.
        *_nodes(
            ("Slice", ["lag", "zero", "minus_one", "axis1"], "lag_before"),
            ("Slice", ["lag", "one", "last", "axis1"], "lag_after"),
            ("Slice", ["taps", "zero", "minus_one", "axis1"], "taps_before"),
            ("Slice", ["taps", "one", "last", "axis1"], "taps_after"),
            ("Unsqueeze", ["lag_before", "minus_one"], "lag_before_column"),
            ("Unsqueeze", ["lag_after", "minus_one"], "lag_after_column"),
        ),
        helper.make_node("Concat", ["lag_before_column", "lag_after_column"], ["lag_sides"], axis=2),
        helper.make_node("Concat", ["taps_before", "taps_after"], ["tap_sides"], axis=2),
        *_nodes(
            ("Reshape", ["lag_sides", "rows"], "lag_steps"),
            ("Unsqueeze", ["lag_steps", "minus_one"], "lag_columns"),
            ("Reshape", ["tap_sides", "tap_rows"], "tap_steps"),
            ("Reshape", ["e", "steps"], "e_steps"),
        ),
        helper.make_node("ReduceMin", ["lag_steps", "lag_axes"], ["scan_shortest"], keepdims=0),
        helper.make_node("Transpose", ["lag_columns"], ["scan_lag"], perm=[1, 0, 2, 3, 4]),
        helper.make_node("Transpose", ["tap_steps"], ["scan_taps"], perm=[1, 0, 2, 3]),
        helper.make_node("Transpose", ["e_steps"], ["scan_e"], perm=[1, 0, 2]),
        helper.make_node("Scan", ["past", "scan_e", "scan_lag", "scan_taps", "scan_shortest"], ["end", "scan_x"],
                         body=_body(groups, past, rounds), num_scan_inputs=4),
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
    """A step of the Scan."""
    together = rounds * groups
    size, (before, after) = together * GROUP, places()
    group = np.arange(together)[:, None, None] * GROUP
    column = past - REACH + SPAN - 1 - np.arange(SPAN)
    initial = [
        ("sources", (group + column)[None].astype(np.int64)),  # (1, together, 1, SPAN)
        ("index_row", np.array([0, together * 2 * SPAN], np.int64)),
        ("places_before", before),
        ("places_after", after),
        ("tap_sides_now", np.array([TAPS, TAPS], np.int64)),
        ("matrix", np.array([0, together, 2 * SPAN, GROUP], np.int64)),
        ("start", np.array([past], np.int64)),
        ("before", np.array([size], np.int64)),
        ("end", np.array([2**62], np.int64)),
        ("axis", np.array([1], np.int64)),
    ]
    nodes = [
        helper.make_node("Split", ["taps_now", "tap_sides_now"], ["side_before", "side_after"], axis=2),
        *_nodes(
            ("MatMul", ["side_before", "places_before"], "spread_before"),
            ("MatMul", ["side_after", "places_after"], "spread_after"),
        ),
        helper.make_node("Concat", ["spread_before", "spread_after"], ["spread"], axis=2),
        *_nodes(
            ("Reshape", ["spread", "matrix"], "matrices"),
            ("Sub", ["sources", "lag_now"], "index_sides"),
            ("Reshape", ["index_sides", "index_row"], "index_now"),
        ),
    ]
    widths = [width for width in range(groups, together + 1, groups) if together % width == 0]
    steps, constants, known = _widest(widths, together, past)
    nodes += steps
    nodes += _nodes(
        ("Slice", [known, "start", "end", "axis"], "x_now"),
        ("Slice", [known, "before", "end", "axis"], "history_out"),
    )
    inputs = [("history", TensorProto.FLOAT), ("e_now", TensorProto.FLOAT), ("lag_now", TensorProto.INT64),
              ("taps_now", TensorProto.FLOAT), ("shortest_now", TensorProto.INT64)]  # fmt: skip
    return helper.make_graph(
        nodes,
        "groups",
        [helper.make_tensor_value_info(name, kind, None) for name, kind in inputs],
        # ONNX Runtime wants to know the number of axes of what a Scan gives.
        [helper.make_tensor_value_info("history_out", TensorProto.FLOAT, ["batch", past]),
         helper.make_tensor_value_info("x_now", TensorProto.FLOAT, ["batch", size])],
        [numpy_helper.from_array(array, name) for name, array in [*initial, *constants]],
    )  # fmt: skip


def _widest(widths: list[int], together: int, past: int) -> Part:
    """A step by rounds of the first number of groups, or of a later one that its shortest lag allows."""
    narrow, *wider = widths
    if not wider or wider[0] * GROUP + REACH > past:
        return _rounds(narrow, together)
    known, longer, allowed = (f"{name}_{wider[0]}" for name in ("known", "longer", "allowed"))
    branches = {
        f"{name}_branch": helper.make_graph(
            nodes,
            f"{name}_{wider[0]}",
            [],
            [helper.make_tensor_value_info(given, TensorProto.FLOAT, None)],
            [numpy_helper.from_array(array, constant) for constant, array in constants],
        )
        for name, (nodes, constants, given) in (
            ("then", _widest(wider, together, past)),
            ("else", _rounds(narrow, together)),
        )
    }
    nodes = [
        helper.make_node("GreaterOrEqual", ["shortest_now", longer], [allowed]),
        helper.make_node("If", [allowed], [known], **branches),
    ]
    return nodes, [(longer, np.array(wider[0] * GROUP + REACH, np.int64))], known


def _rounds(groups: int, together: int) -> Part:
    """A step by rounds of so many groups."""
    count = together // groups

    def named(name: str, number: int | None = None) -> str:
        return f"{name}_{groups}" if number is None else f"{name}_{groups}_{number}"

    nodes, known = [], "history"
    for name in ("matrices", "index_now", "e_now"):
        parts = [named(name, number) for number in range(count)]
        nodes.append(helper.make_node("Split", [name], parts, axis=1, num_outputs=count))
    for number in range(count):
        gathered, row, predicted, prediction, x, now = (
            named(name, number) for name in ("gathered", "row", "predicted", "prediction", "x", "now")
        )
        nodes += [
            helper.make_node("GatherElements", [known, named("index_now", number)], [gathered], axis=1),
            *_nodes(
                ("Reshape", [gathered, named("rows")], row),
                ("MatMul", [row, named("matrices", number)], predicted),
                ("Reshape", [predicted, named("flat")], prediction),
                ("Add", [named("e_now", number), prediction], x),
            ),
            helper.make_node("Concat", [known, x], [now], axis=1),
        ]
        known = now
    shapes = {"rows": [0, groups, 1, 2 * SPAN], "flat": [0, groups * GROUP]}
    return nodes, [(named(name), np.array(shape, np.int64)) for name, shape in shapes.items()], known


def places() -> tuple[np.ndarray, np.ndarray]:
    """Where the taps of the node before a group, and of that after it, go in its matrix: (TAPS, SPAN * GROUP) each."""
    import torch

    from flowvocoder.flows.recursion.reference import places_by_side

    before, after = places_by_side(torch.float32).flatten(2).numpy()
    return before, after


def _nodes(*specs: tuple[str, list[str], str]) -> list[onnx.NodeProto]:
    return [helper.make_node(kind, inputs, [output]) for kind, inputs, output in specs]


def _constant(name: str, array: np.ndarray) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array, name))
