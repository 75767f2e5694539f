"""Typed graphs: which nodes compute in half precision, and the casts between them and the rest.

Precision is decided here, node by node, and nowhere else: a builder that is strongly typed does what the file says.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Literal

from ..core.optional import require
from ..plugins.onnx_schemas import register_schemas
from ..plugins.plugin_op import DOMAIN

LowPrecision = Literal["fp16", "bf16"]

#: operators of the standard domain that may compute low; all others keep float32
LOW_OPERATORS = frozenset(
    [
        "Add",
        "AveragePool",
        "BatchNormalization",
        "Clip",
        "Concat",
        "Conv",
        "ConvTranspose",
        "DepthToSpace",
        "DequantizeLinear",
        "Div",
        "Expand",
        "Gather",
        "Gemm",
        "GlobalAveragePool",
        "Identity",
        "LeakyRelu",
        "MatMul",
        "Max",
        "MaxPool",
        "Min",
        "Mul",
        "Neg",
        "PRelu",
        "Pad",
        "Relu",
        "Reshape",
        "Resize",
        "Sigmoid",
        "Slice",
        "Softmax",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Sub",
        "Sum",
        "Tanh",
        "Tile",
        "Transpose",
        "Unsqueeze",
        "Where",
    ]
)
#: inputs that stay float32 whatever the node computes in: region and scales
FLOAT_INPUTS = {"Resize": (1, 2)}
#: operators that read any type and give whole numbers
SHAPE_READERS = frozenset({"Shape", "Size"})
#: TensorRT-RTX 1.7 cannot build transposed convolutions in bf16
NOT_IN_BF16 = frozenset({"ConvTranspose"})


class TypePlan:
    """Which nodes of a ``float32`` graph become low, and the types of all values.

    Args:
        model: ``onnx.ModelProto``; read only.
        precision: The low type.
        keep_fp32: Names of nodes that stay as they are.
    """

    def __init__(self, model: Any, precision: LowPrecision, keep_fp32: Collection[str] = ()) -> None:
        self._onnx = require("onnx", purpose="type a graph")
        self.low_type: int = getattr(self._onnx.TensorProto, "FLOAT16" if precision == "fp16" else "BFLOAT16")
        self.weights = {tensor.name: tensor for tensor in model.graph.initializer}
        #: names of all values and weights in ``float32``
        self.floats = self._float_values(model)
        forbidden = NOT_IN_BF16 if precision == "bf16" else frozenset()
        self.low = {
            node.name
            for node in model.graph.node
            if node.name not in keep_fp32 and node.op_type not in forbidden and self._may_be_low(node)
        }

    def _float_values(self, model: Any) -> set[str]:
        register_schemas()
        inferred = self._onnx.shape_inference.infer_shapes(model)
        values = (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
        single = self._onnx.TensorProto.FLOAT
        floats = {value.name for value in values if value.type.tensor_type.elem_type == single}
        return floats | {name for name, tensor in self.weights.items() if tensor.data_type == single}

    def _may_be_low(self, node: Any) -> bool:
        if node.op_type == "QuantizeLinear":
            return node.input[0] in self.floats
        is_known = node.domain == DOMAIN or (node.domain in ("", "ai.onnx") and node.op_type in LOW_OPERATORS)
        return is_known and bool(node.output) and all(name in self.floats for name in node.output if name)

    def smallest_constant(self, name: str) -> float | None:
        """Smallest magnitude of a constant but zero; None where it is none or only zero."""
        if name not in self.weights or name not in self.floats:
            return None
        array = abs(self._onnx.numpy_helper.to_array(self.weights[name]))
        return float(array[array > 0].min(initial=float("inf"))) if (array > 0).any() else None

    def reason_for_fp32(self, node: Any) -> str | None:
        """Why a node that is not low is not; None for nodes that compute no floats or only move them."""
        computes = node.op_type not in ("Cast", "CastLike", "Constant") and any(
            name in self.floats for name in node.output
        )
        return f"{node.op_type} is computed in float32" if computes else None

    def low_inputs(self, node: Any) -> Iterator[int]:
        """Places of the inputs that a low node takes in the low type."""
        left_out = FLOAT_INPUTS.get(node.op_type, ())
        return (place for place, name in enumerate(node.input) if name in self.floats and place not in left_out)

    def float_inputs(self, node: Any) -> Iterator[int]:
        """Places of the inputs that a node which is not low takes in ``float32``."""
        if node.op_type in SHAPE_READERS:
            return iter(())
        return (place for place, name in enumerate(node.input) if name in self.floats)


def type_graph(model: Any, precision: LowPrecision, keep_fp32: Collection[str] = ()) -> Any:
    """Rewrite a ``float32`` graph so that its nodes compute in half precision.

    Weights of low nodes are stored low. Casts stand only where a low node meets another, each value is
    cast once. Inputs and outputs of the graph keep their types.

    Args:
        model: ``onnx.ModelProto``, of standard operators and ours, which take either type; left as it is.
        precision: ``fp16`` or ``bf16``.
        keep_fp32: Names of nodes that stay ``float32``.

    Returns:
        A new ``onnx.ModelProto``.
    """
    return _Typing(model, precision, keep_fp32).run()


class _Typing:
    """One rewriting; remembers the casts and weights it has made."""

    def __init__(self, model: Any, precision: LowPrecision, keep_fp32: Collection[str]) -> None:
        self._onnx = require("onnx", purpose="type a graph")
        self._plan = TypePlan(model, precision, keep_fp32)
        self._model = type(model)()
        self._model.CopyFrom(model)
        #: names whose value is low
        self._is_low: set[str] = set()
        self._made: dict[tuple[str, bool], str] = {}
        self._nodes: list[Any] = []
        self._weights: list[Any] = []

    def run(self) -> Any:
        graph = self._model.graph
        for node in graph.node:
            is_low = node.name in self._plan.low
            for place in list(self._plan.low_inputs(node) if is_low else self._plan.float_inputs(node)):
                node.input[place] = self._in_type(node.input[place], low=is_low)
            if is_low:
                self._is_low.update(name for name in node.output if name)
            self._nodes.append(node)
        self._restore_outputs(graph)
        kept = list(self._nodes)
        used = {name for node in kept for name in node.input} | {value.name for value in graph.output}
        weights = [tensor for tensor in (*graph.initializer, *self._weights) if tensor.name in used]
        for field, values in ((graph.node, kept), (graph.initializer, weights)):
            copied = [type(value).FromString(value.SerializeToString()) for value in values]
            del field[:]
            field.extend(copied)
        del graph.value_info[:]
        return self._model

    def _in_type(self, name: str, *, low: bool) -> str:
        """The name under which a value has the wanted type; adds a cast or a stored copy where there is none."""
        if (name in self._is_low) == low:
            return name
        if (name, low) not in self._made:
            self._made[name, low] = self._stored(name) if name in self._plan.weights else self._cast(name, low=low)
        return self._made[name, low]

    def _stored(self, name: str) -> str:
        low_name = f"{name}.low"
        self._weights.append(low_tensor(self._plan.weights[name], self._plan.low_type, low_name))
        return low_name

    def _cast(self, name: str, *, low: bool) -> str:
        target = f"{name}.{'low' if low else 'fp32'}"
        kind = self._plan.low_type if low else self._onnx.TensorProto.FLOAT
        self._nodes.append(self._onnx.helper.make_node("Cast", [name], [target], name=target, to=kind))
        return target

    def _restore_outputs(self, graph: Any) -> None:
        """Give the graph's outputs in ``float32`` under their own names."""
        for value in graph.output:
            if value.name not in self._is_low:
                continue
            inner = f"{value.name}.inner"
            for node in self._nodes:
                node.input[:] = [inner if name == value.name else name for name in node.input]
                node.output[:] = [inner if name == value.name else name for name in node.output]
            single = self._onnx.TensorProto.FLOAT
            cast = self._onnx.helper.make_node("Cast", [inner], [value.name], name=f"{value.name}.cast", to=single)
            self._nodes.append(cast)


def low_tensor(tensor: Any, low_type: int, name: str) -> Any:
    """A ``float32`` tensor in a half type, rounded to nearest; what is too large becomes infinite."""
    onnx = require("onnx", purpose="type a graph")
    numpy = require("numpy", purpose="type a graph")
    array = onnx.numpy_helper.to_array(tensor)
    with numpy.errstate(over="ignore"):
        low = array.astype(onnx.helper.tensor_dtype_to_np_dtype(low_type))
    return onnx.numpy_helper.from_array(low, name)
