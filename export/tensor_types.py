"""Element type and shape of every value of a graph, found node by node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.optional import require
from ..core.tensors import Array
from ..plugins.ops import PLUGINS, plugin_op
from ..plugins.plugin_op import DOMAIN, Dim, Shape

PURPOSE = "read a graph"
STANDARD_DOMAINS = ("", "ai.onnx")
#: values of at most so many elements are computed, for shapes depend on them; larger ones are pictures or weights
MOST_FOLDED = 4096


@dataclass(frozen=True, slots=True)
class TensorType:
    """What is known of a value.

    Attributes:
        kind: A number of ``onnx.TensorProto.DataType``.
        shape: Sides, a name or None for one that is not fixed; None where not even the rank is known.
    """

    kind: int
    shape: Shape | None = None

    @property
    def fixed_shape(self) -> tuple[int, ...] | None:
        """The shape, where every side is a number."""
        if self.shape is None or not all(isinstance(side, int) for side in self.shape):
            return None
        return tuple(side for side in self.shape if isinstance(side, int))


def tensor_types(model: Any, input_shapes: Mapping[str, Sequence[int]] | None = None) -> dict[str, TensorType]:
    """Infer types and shapes of all values of a graph; shape arithmetic is computed, nothing else is run.

    Args:
        model: ``onnx.ModelProto``; not changed. Values inside subgraphs and bodies are left out.
        input_shapes: Shapes that inputs are given; those in the file hold for the rest.

    Returns:
        By name. What cannot be inferred, and what is no tensor, is missing.
    """
    walk = _Walk(model, input_shapes or {})
    for node in model.graph.node:
        walk.visit(node)
    return {name: _tensor_type(proto) for name, proto in walk.types.items() if proto.HasField("tensor_type")}


def opset_of(model: Any) -> int:
    """Version of the standard operators a model imports; 1 where it does not say."""
    return max((int(entry.version) for entry in model.opset_import if entry.domain in STANDARD_DOMAINS), default=1)


def _tensor_type(proto: Any) -> TensorType:
    tensor = proto.tensor_type
    shape = tuple(_side(dim) for dim in tensor.shape.dim) if tensor.HasField("shape") else None
    return TensorType(int(tensor.elem_type), shape)


def _side(dim: Any) -> Dim:
    return int(dim.dim_value) if dim.HasField("dim_value") else dim.dim_param or None


class _Walk:
    """One way through a graph; ``types`` fills up with ``onnx.TypeProto`` by name."""

    def __init__(self, model: Any, input_shapes: Mapping[str, Sequence[int]]) -> None:
        self._onnx = require("onnx", purpose=PURPOSE)
        self._opset, self._ir_version = opset_of(model), model.ir_version
        self._opsets = list(model.opset_import)
        self._constants: dict[str, Array] = {}
        self.types: dict[str, Any] = {}
        for value in model.graph.input:
            self.types[value.name] = self._input_type(value, input_shapes.get(value.name))
        for tensor in model.graph.initializer:
            self.types[tensor.name] = self._onnx.helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))
            if int(np.prod(tensor.dims)) <= MOST_FOLDED:
                self._constants[tensor.name] = self._onnx.numpy_helper.to_array(tensor)

    def _input_type(self, value: Any, shape: Sequence[int] | None) -> Any:
        if shape is None:
            return value.type
        return self._onnx.helper.make_tensor_type_proto(value.type.tensor_type.elem_type, list(shape))

    def visit(self, node: Any) -> None:
        """Infer what a node gives."""
        if self._fold(node):
            return
        inferred = self._of_plugin(node) if node.domain == DOMAIN else self._of_schema(node)
        self.types.update({name: proto for name, proto in inferred.items() if name and proto.WhichOneof("value")})

    def _of_plugin(self, node: Any) -> dict[str, Any]:
        given = [self.types.get(name) for name in node.input if name]
        if node.op_type not in PLUGINS or not given or given[0] is None:
            return {}
        make, value_of = self._onnx.helper.make_tensor_type_proto, self._onnx.helper.get_attribute_value
        op, known = plugin_op(node.op_type), [_tensor_type(proto) for proto in given if proto is not None]
        shape = None
        if len(known) == len(given) and all(entry.shape is not None for entry in known):
            attributes = op.complete({entry.name: value_of(entry) for entry in node.attribute})
            shape = op.output_shape([entry.shape or () for entry in known], attributes)
        return {node.output[0]: make(known[0].kind, shape)}

    def _of_schema(self, node: Any) -> dict[str, Any]:
        defs = self._onnx.defs
        if node.domain not in STANDARD_DOMAINS or not defs.has(node.op_type, self._opset, ""):
            return {}
        names = [name for name in node.input if name]
        constants = {
            name: self._onnx.numpy_helper.from_array(self._constants[name], name)
            for name in names
            if name in self._constants
        }
        try:
            inferred: dict[str, Any] = self._onnx.shape_inference.infer_node_outputs(
                defs.get_schema(node.op_type, self._opset, ""),
                node,
                {name: self.types[name] for name in names if name in self.types},
                constants,
                opset_imports=self._opsets,
                ir_version=self._ir_version,
            )
        except Exception:  # inference over any user's graph; what it cannot tell stays unknown
            return {}
        return inferred

    def _fold(self, node: Any) -> bool:
        """Compute a node of small constants, or the size of a value of fixed shape."""
        value = self._size(node) if node.op_type in ("Shape", "Size") else None
        if value is None and not self._is_foldable(node):
            return False
        values = [value] if value is not None else self._computed(node)
        for name, array in zip(node.output, values, strict=False):
            if name and array.size <= MOST_FOLDED:
                self._constants[name] = array
            kind = self._onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
            self.types[name] = self._onnx.helper.make_tensor_type_proto(kind, array.shape)
        return bool(values)

    def _size(self, node: Any) -> Array | None:
        """What ``Shape`` or ``Size`` gives, where the sides asked for are known."""
        proto = self.types.get(node.input[0])
        shape = _tensor_type(proto).shape if proto is not None and proto.HasField("tensor_type") else None
        if shape is None:
            return None
        ends = {entry.name: entry.i for entry in node.attribute}
        sides = shape[ends.get("start", 0) : ends.get("end", len(shape))]
        if not all(isinstance(side, int) for side in sides):
            return None
        return np.array(sides if node.op_type == "Shape" else np.prod(sides), np.int64)

    def _is_foldable(self, node: Any) -> bool:
        has_graph = any(entry.HasField("g") or entry.graphs for entry in node.attribute)
        is_known = all(not name or name in self._constants for name in node.input)
        is_made = bool(node.input) or node.op_type == "Constant"
        return node.domain in STANDARD_DOMAINS and is_known and is_made and not has_graph

    def _computed(self, node: Any) -> list[Array]:
        evaluator = require("onnx.reference", purpose=PURPOSE).ReferenceEvaluator
        feeds = {name: self._constants[name] for name in node.input if name}
        try:
            values = evaluator(node, opsets={"": self._opset}).run(None, feeds)
        except Exception:  # the reference lacks some operators; their shapes are inferred instead
            return []
        return [np.asarray(value) for value in values]
