"""Multiply-accumulates of a graph, by the type they are computed in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..core.optional import require
from ..plugins.onnx_schemas import register_schemas
from ..plugins.plugin_op import DOMAIN

#: names of ONNX's element types
PRECISIONS = {1: "fp32", 10: "fp16", 11: "fp64", 16: "bf16"}


def macs_by_precision(model: Any, shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """Count the multiply-accumulates of convolutions and matrix products for inputs of given shapes.

    A transposed convolution counts with its full product, a deformable one without its sampling.

    Args:
        model: ``onnx.ModelProto``; bodies of our operators are not looked into.
        shapes: Of the inputs, by name.

    Returns:
        Count by ``fp32``, ``fp16``, ``bf16``; only types that occur. Nodes whose shapes cannot be inferred
        are left out.
    """
    onnx = require("onnx", purpose="count costs")
    sized = type(model)()
    sized.CopyFrom(model)
    for value in sized.graph.input:
        for dim, side in zip(value.type.tensor_type.shape.dim, shapes.get(value.name, ()), strict=False):
            dim.dim_value = side
    for value in sized.graph.output:
        value.type.tensor_type.ClearField("shape")
    del sized.functions[:]
    register_schemas()
    known = _values(onnx.shape_inference.infer_shapes(sized, data_prop=True).graph)
    counts: dict[str, int] = {}
    for node in model.graph.node:
        macs = _macs(node, known)
        if macs:
            kind = PRECISIONS.get(known[node.input[0]][0], "other")
            counts[kind] = counts.get(kind, 0) + macs
    return counts


def _values(graph: Any) -> dict[str, tuple[int, tuple[int, ...]]]:
    """Element type and shape of every value whose shape is known; 0 stands for an unknown side."""
    values = {
        value.name: (value.type.tensor_type.elem_type, tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim))
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
    return values | {tensor.name: (tensor.data_type, tuple(tensor.dims)) for tensor in graph.initializer}


def _macs(node: Any, known: Mapping[str, tuple[int, tuple[int, ...]]]) -> int:
    names = [*node.input[:4], *node.output[:1]]
    shapes = [known[name][1] if name in known else () for name in names]
    given, made = shapes[0], shapes[-1]
    if node.op_type == "Conv":
        return math.prod(made) * math.prod(shapes[1][1:])
    if node.op_type == "ConvTranspose":
        return math.prod(given) * math.prod(shapes[1][1:])
    if node.op_type in ("MatMul", "Gemm") and given:
        return math.prod(made) * given[-1]
    if node.domain == DOMAIN and node.op_type == "ModulatedDeformConv":
        return math.prod(made) * math.prod(shapes[3][1:])
    return 0
