"""Graphs of one operator of ours, and numbers for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from deblurrt.core.optional import require
from deblurrt.plugins.onnx_ops import node
from deblurrt.plugins.ops import PLUGINS, plugin_op
from deblurrt.plugins.plugin_op import DOMAIN, Attributes, Example

onnxruntime = require("onnxruntime", purpose="run a graph")

Arrays = dict[str, NDArray[Any]]
Shapes = Mapping[str, Sequence[int | str]]

OPSET = 20
FLOAT, HALF, BFLOAT = int(TensorProto.FLOAT), int(TensorProto.FLOAT16), int(TensorProto.BFLOAT16)

#: every example of every operator, so that a new one is tested for free
EXAMPLES = [(operator, number) for operator in PLUGINS for number in range(len(plugin_op(operator).examples))]


def example_of(case: tuple[str, int]) -> tuple[str, Example]:
    operator, number = case
    return operator, plugin_op(operator).examples[number]


def random_inputs(operator: str, shapes: Sequence[Sequence[int]], seed: int = 0) -> Arrays:
    """Normal numbers for the inputs of an operator, by name."""
    generator = np.random.default_rng(seed)
    names = plugin_op(operator).inputs
    return {name: generator.normal(size=shape).astype(np.float32) for name, shape in zip(names, shapes, strict=False)}


def graph_of(
    operator: str,
    inputs: Shapes,
    attributes: Attributes,
    *,
    constants: Mapping[str, NDArray[Any]] | None = None,
    kind: int = FLOAT,
    opset: int = OPSET,
) -> onnx.ModelProto:
    """One node ``result`` without a body; the rest of its inputs are constants."""
    constants = constants or {}
    made = node(operator, [*inputs, *constants], ["result"], attributes)
    return model_of([made], inputs, constants, kind, opset)


def model_of(
    nodes: Sequence[onnx.NodeProto],
    inputs: Shapes,
    constants: Mapping[str, NDArray[Any]],
    kind: int = FLOAT,
    opset: int = OPSET,
) -> onnx.ModelProto:
    """Wrap nodes that give ``result``, ``[batch, channel, height, width]``."""
    values = [helper.make_tensor_value_info(name, kind, list(shape)) for name, shape in inputs.items()]
    result = helper.make_tensor_value_info("result", kind, ["batch", "channels", "result_height", "result_width"])
    fixed = [
        helper.make_tensor(name, kind, array.shape, array.astype(np.float32).flatten().tolist())
        for name, array in constants.items()
    ]
    graph = helper.make_graph(nodes, "tiny", values, [result], fixed)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def free_shapes(operator: str, arrays: Arrays) -> tuple[Shapes, Arrays]:
    """Split inputs into maps, with free batch and sides, and weights, which are constants."""
    weights = {name: array for name, array in arrays.items() if name in ("weight", "bias")}
    maps = {
        name: ("batch", array.shape[1], f"{name}_height", f"{name}_width")
        for name, array in arrays.items()
        if name not in weights
    }
    return maps, weights


def run(model: onnx.ModelProto, arrays: Arrays) -> NDArray[Any]:
    """Run a model in ONNX Runtime; arrays it has no input for are left out."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    wanted = {entry.name for entry in session.get_inputs()}
    (result,) = session.run(None, {name: array for name, array in arrays.items() if name in wanted})
    return np.asarray(result)


def worst(result: NDArray[Any], expected: NDArray[Any]) -> float:
    """Largest difference; shapes must be equal, broadcasting would hide an error."""
    assert result.shape == expected.shape
    return float(np.abs(result.astype(np.float64) - expected.astype(np.float64)).max())
