"""ONNX files of one node, written for tests without the code under test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from deblurrt.core.artifacts import CONTRACT_KEY
from deblurrt.core.contract import FrameContract

BYTES, FLOATS = int(TensorProto.UINT8), int(TensorProto.FLOAT)
BYTE_FRAMES = ("batch", "height", "width", 3)
FLOAT_FRAMES = ("batch", 3, "height", "width")

Shape = Sequence[int | str]


def write_graph(
    path: Path,
    nodes: Sequence[Any],
    values: tuple[Sequence[Any], Sequence[Any]],
    constants: Sequence[Any] = (),
    contract: str | None = None,
) -> Path:
    """Write nodes as a model file; ``values`` are its inputs and its outputs."""
    taken, given = values
    graph = helper.make_graph(nodes, "tiny", taken, given, constants)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("elsewhere", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    if contract is not None:
        helper.set_model_props(model, {CONTRACT_KEY: contract})
    path.write_bytes(model.SerializeToString())
    return path


def value(name: str, kind: int = BYTES, shape: Shape = BYTE_FRAMES) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, list(shape))


def write_identity(
    path: Path, contract: FrameContract | None = None, kind: int = BYTES, shape: Shape = BYTE_FRAMES
) -> Path:
    """Write a graph that gives ``frames`` back as ``restored``."""
    node = helper.make_node("Identity", ["frames"], ["restored"])
    values = [value("frames", kind, shape)], [value("restored", kind, shape)]
    return write_graph(path, [node], values, contract=contract.to_json() if contract else None)


def write_endless(path: Path) -> Path:
    """Write a graph that gives ``frames`` back, but never those that are all white."""
    loop = [helper.make_node("Identity", [name], [f"{name}_again"]) for name in ("goes_on", "picture")]
    within = [
        helper.make_tensor_value_info("number", TensorProto.INT64, []),
        helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
        value("picture"),
    ]
    again = [helper.make_tensor_value_info("goes_on_again", TensorProto.BOOL, []), value("picture_again")]
    nodes = [
        helper.make_node("ReduceMin", ["frames"], ["darkest"], keepdims=0),
        helper.make_node("Equal", ["darkest", "white"], ["is_white"]),
        helper.make_node(
            "Loop", ["", "is_white", "frames"], ["restored"], body=helper.make_graph(loop, "loop", within, again)
        ),
    ]
    constants = [numpy_helper.from_array(np.array(255, np.uint8), "white")]
    return write_graph(path, nodes, ([value("frames")], [value("restored")]), constants, FrameContract().to_json())


def write_conv(path: Path, kernel: NDArray[np.float32], contract: FrameContract | None = None) -> Path:
    """Write a float graph of one 3x3 convolution, ``kernel`` being ``[3, 3, 3, 3]``."""
    node = helper.make_node("Conv", ["frames", "kernel"], ["restored"], pads=[1, 1, 1, 1])
    values = [value("frames", FLOATS, FLOAT_FRAMES)], [value("restored", FLOATS, FLOAT_FRAMES)]
    constants = [numpy_helper.from_array(kernel, "kernel")]
    return write_graph(path, [node], values, constants, contract.to_json() if contract else None)
