"""The deployment graph: everything around the network, inside the file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from deblurrt.core.contract import FrameContract
from deblurrt.core.optional import require
from deblurrt.core.tensors import Array
from deblurrt.export.deployment import deployed_contract, deployment_graph
from deblurrt.runtime.session import finish, prepare

NOISE = np.random.default_rng(0)
#: enlarging by repetition
REPEAT: dict[str, Any] = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}


def float_graph(contract: FrameContract) -> onnx.ModelProto:
    """The last three channels, enlarged by repetition, and inputs that are no multiple fail."""
    nodes: list[Any] = [
        helper.make_node("Slice", ["frames", "first", "last", "axis"], ["three"]),
        helper.make_node("Resize", ["three", "", "scales"], ["restored"], **REPEAT),
    ]
    channels = 3 * contract.window
    constants = [
        helper.make_tensor("first", TensorProto.INT64, [1], [channels - 3]),
        helper.make_tensor("last", TensorProto.INT64, [1], [channels]),
        helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
        helper.make_tensor("scales", TensorProto.FLOAT, [4], [1, 1, contract.scale, contract.scale]),
    ]
    value = helper.make_tensor_value_info
    inputs = [value("frames", TensorProto.FLOAT, ["batch", channels, "height", "width"])]
    outputs = [value("restored", TensorProto.FLOAT, ["batch", 3, "tall", "wide"])]
    graph = helper.make_graph(nodes, "float", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


onnxruntime = require("onnxruntime", purpose="run a graph")


def run(model: onnx.ModelProto, frames: Array) -> Array:
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    restored: Array = session.run(None, {"frames": frames})[0]
    return restored


def pictures(count: int, size: Sequence[int]) -> list[Array]:
    return [NOISE.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(count)]


@pytest.mark.parametrize("scale", [1, 4])
@pytest.mark.parametrize("window", [1, 3])
@pytest.mark.parametrize("multiple", [1, 8])
@pytest.mark.parametrize("size", [(16, 24), (9, 31), (8, 8)])
def test_bytes_in_are_bytes_out_at_any_size(scale: int, window: int, multiple: int, size: tuple[int, int]) -> None:
    contract = FrameContract(
        task="deblur_sr" if scale == 4 else "deblur", scale=scale, window=window, multiple=multiple, io="float"
    )
    frames = pictures(window, size)
    given = np.stack(frames)[None] if window == 3 else frames[0][None]
    restored = run(deployment_graph(float_graph(contract), contract), given)
    assert restored.dtype == np.uint8
    assert np.array_equal(restored[0], frames[-1].repeat(scale, axis=0).repeat(scale, axis=1))


def test_sizes_named_inside_are_not_those_of_the_frames() -> None:
    """ONNX Runtime lets values of one size share memory; a cleaned-up graph calls its padded sizes height and width."""
    contract = FrameContract(multiple=8, io="float")
    model = float_graph(contract)
    model.graph.value_info.append(
        helper.make_tensor_value_info("three", TensorProto.FLOAT, ["batch", 3, "height", "width"])
    )
    relu = helper.make_node("Relu", ["three"], ["positive"])
    model.graph.node.insert(1, relu)
    model.graph.node[2].input[0] = "positive"
    (frame,) = pictures(1, (9, 31))
    assert np.array_equal(run(deployment_graph(model, contract), frame[None])[0], frame)


def test_preparation_is_the_one_a_session_makes_for_the_bare_network() -> None:
    """What the network sees inside the file is what ``prepare`` gives it outside."""
    contract = FrameContract(multiple=8, io="float", window=3)
    frames = pictures(3, (11, 21))
    model = deployment_graph(float_graph(contract), contract)
    model.graph.output.append(helper.make_tensor_value_info("network.frames", TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    _, inside = session.run(None, {"frames": np.stack(frames)[None]})
    # multiplying by 1/255 and dividing by 255 differ in the last bit
    assert np.abs(inside - prepare(frames, contract)).max() < 1e-7


def test_values_are_clamped_and_rounded_to_even() -> None:
    contract = FrameContract(io="float", range="0..255")
    model = float_graph(contract)
    add = helper.make_node("Add", ["network.out", "shift"], ["restored"])
    model.graph.node[-1].output[0] = "network.out"
    model.graph.node.append(add)
    model.graph.initializer.append(helper.make_tensor("shift", TensorProto.FLOAT, [3, 1, 1], [0.5, -300, 300]))
    frames = np.array([[[[0, 5, 5], [1, 5, 5]]]], np.uint8)
    restored = run(deployment_graph(model, contract), frames)
    assert restored.tolist() == [[[[0, 0, 255], [2, 0, 255]]]]
    floats = np.array([[[[0.5, 1.5]], [[-3, 300]], [[0, 0]]]], np.float32)
    assert finish(floats, contract, (1, 2)).tolist() == [[[0, 0, 0], [2, 255, 0]]]


def test_contract_asks_for_sides_that_can_be_reflected() -> None:
    assert deployed_contract(FrameContract(multiple=8, io="float")) == FrameContract(multiple=8, min_size=8)
    assert deployed_contract(FrameContract(min_size=21, io="float")) == FrameContract(min_size=21)
