"""Shapes of all values of a graph at one size of frame, those that are computed inside included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import ModelFileError
from ..core.optional import require

Shape = tuple[int, ...]
Integers = NDArray[np.int64]

#: larger constants are weights, whose values decide no shape
MOST_FOLDED = 1024
#: rounds of inference; each makes known what the one before left computed, such as one local pool behind another
MOST_ROUNDS = 500


def value_shapes(model: Any, size: tuple[int, int]) -> dict[str, Shape]:
    """Infer the shapes of all values for one frame at a time.

    Shape inference alone stops at sizes that the graph computes; here those are evaluated and put in.

    Args:
        model: ``onnx.ModelProto`` without functions; left as it is.
        size: Height and width of the frames, pixels; of a bare network, of what it takes.

    Returns:
        By name, weights included; values whose shape is still unknown are left out.

    Raises:
        ModelFileError: The graph contradicts itself at this size.
    """
    onnx = require("onnx", purpose="work out sizes")
    skeleton, constants = _skeleton(onnx, model)
    _fix(onnx, skeleton.graph.input[0], size)
    shapes: dict[str, Shape] = {}
    for _ in range(MOST_ROUNDS):
        try:
            inferred = onnx.shape_inference.infer_shapes(skeleton, data_prop=True)
        except onnx.shape_inference.InferenceError as error:
            reason = str(error).strip().splitlines()[0]
            raise ModelFileError(f"the graph does not fit frames of {size[0]}x{size[1]} ({reason})") from error
        shapes = _static(inferred.graph)
        if not _fold(onnx, skeleton.graph, shapes, constants):
            break
    return shapes


def _skeleton(onnx: Any, model: Any) -> tuple[Any, dict[str, Any]]:
    """Copy a graph with its weights as inputs, so that only small constants are carried along."""
    skeleton = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    graph = skeleton.graph
    graph.name = "shapes"
    graph.node.extend(model.graph.node)
    graph.input.extend(model.graph.input[:1])
    graph.output.extend(onnx.ValueInfoProto(name=value.name) for value in model.graph.output)
    constants = {}
    for tensor in model.graph.initializer:
        if np.prod(tensor.dims, dtype=np.int64) <= MOST_FOLDED and not tensor.external_data:
            graph.initializer.append(tensor)
            constants[tensor.name] = onnx.numpy_helper.to_array(tensor)
        else:
            kind = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            graph.input.append(kind)
    return skeleton, constants


def _fix(onnx: Any, value: Any, size: Sequence[int]) -> None:
    """Give the input one frame of a size."""
    kind = value.type.tensor_type
    dims = kind.shape.dim
    axes = (-3, -2) if kind.elem_type == onnx.TensorProto.UINT8 else (-2, -1)
    for axis, side in zip(axes, size, strict=True):
        dims[axis].dim_value = side
    if not dims[0].HasField("dim_value"):
        dims[0].dim_value = 1


def _static(graph: Any) -> dict[str, Shape]:
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim):
            shapes[value.name] = tuple(dim.dim_value for dim in kind.shape.dim)
    return shapes


def _fold(onnx: Any, graph: Any, shapes: Mapping[str, Shape], constants: dict[str, Any]) -> int:
    """Replace nodes that only compute sizes by what they give; gives their number."""
    kept, count = [], 0
    for node in graph.node:
        values = _value(node, shapes, constants)
        if values is None:
            kept.append(node)
            continue
        count += 1
        for name, array in zip(node.output, values, strict=False):
            constants[name] = array
            graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))
    if count:
        del graph.node[:]
        graph.node.extend(kept)
    return count


def _value(node: Any, shapes: Mapping[str, Shape], constants: Mapping[str, Any]) -> list[Any] | None:
    """What a node of sizes gives; None for all others."""
    if node.op_type == "Shape" and node.input[0] in shapes:
        bounds = {entry.name: entry.i for entry in node.attribute}
        return [np.array(shapes[node.input[0]][bounds.get("start", 0) : bounds.get("end")], np.int64)]
    given = [name for name in node.input if name]
    if (not given and node.op_type != "Constant") or any(name not in constants for name in given):
        return None
    if sum(np.size(constants[name]) for name in given) > MOST_FOLDED:
        return None
    evaluator = require("onnx.reference", purpose="work out sizes").ReferenceEvaluator
    try:
        values: list[Any] = evaluator(node).run(None, {name: constants[name] for name in given})
    except Exception:  # the evaluator knows fewer operators and types than ONNX; what it cannot do stays a node
        return None
    return values if all(np.size(value) <= MOST_FOLDED for value in values) else None
