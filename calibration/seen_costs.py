"""Multiply-accumulates of a node whose shapes were seen on a frame."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


def macs_of(node: Any, shapes: Mapping[str, Sequence[int]], weights: Mapping[str, Any]) -> int:
    """Count those of a convolution, transposed, deformable or not, or of a product of matrices.

    Args:
        node: ``onnx.NodeProto``.
        shapes: Of values, by name.
        weights: Constants, by name, ``onnx.TensorProto``.

    Returns:
        0 for other nodes, and where a shape is not known.
    """

    def shape(name: str) -> tuple[int, ...]:
        return tuple(weights[name].dims) if name in weights else tuple(shapes.get(name, ()))

    given, made = shape(node.input[0]) if node.input else (), shape(node.output[0])
    if node.op_type == "Conv":
        return math.prod(made) * math.prod(shape(node.input[1])[1:]) if made else 0
    if node.op_type == "ConvTranspose":
        return math.prod(given) * math.prod(shape(node.input[1])[1:]) if given else 0
    if node.op_type in ("MatMul", "Gemm"):
        is_turned = any(entry.name == "transA" and entry.i for entry in node.attribute)
        return math.prod(made) * given[-2 if is_turned else -1] if made and given else 0
    if node.op_type == "ModulatedDeformConv":
        return math.prod(made) * math.prod(shape(node.input[3])[1:]) if made else 0
    return 0
