"""The script behind the table of parameters and multiplications."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from helpers import docs_script
from torch.utils.flop_counter import FlopCounterMode

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return docs_script("macs")


def test_sizes_give_the_published_numbers_of_parameters(script: ModuleType) -> None:
    # "13.92M" in table 1 of Kong et al. 2020; "112M" in table 2 of Lee et al. 2023.
    assert script.HIFIGAN.counted()[0] / 1e6 == pytest.approx(13.92, abs=0.03)
    assert script.BIGVGAN.counted()[0] / 1e6 == pytest.approx(112, abs=0.6)


def test_exported_products_are_those_of_the_layers(script: ModuleType, tmp_path: Path) -> None:
    from onnx import TensorProto, helper, numpy_helper

    shapes = {"w": (8, 20, 3), "m": (8, 50), "e": (4, 50, 6)}
    layers = [torch.nn.functional.conv1d, torch.matmul, torch.matmul]
    x = torch.randn(4, 20, 9)
    with FlopCounterMode(display=False) as counter:
        y = layers[0](x, torch.randn(shapes["w"])).transpose(1, 2)
        layers[2](layers[1](y, torch.randn(shapes["m"])), torch.randn(shapes["e"]))
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
             helper.make_node("Transpose", ["c"], ["t"], perm=[0, 2, 1]),
             helper.make_node("MatMul", ["t", "m"], ["a"]), helper.make_node("MatMul", ["a", "e"], ["y"])]  # fmt: skip
    random = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(random.standard_normal(shape, np.float32), name) for name, shape in shapes.items()
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")]
    model = helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], weights), ir_version=9,
                              opset_imports=[helper.make_opsetid("", 18)])  # fmt: skip
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    assert script.exported(tmp_path / "m.onnx", {"x": x.numpy()}) == counter.get_total_flops() / 2
