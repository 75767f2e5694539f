"""How large every value of a graph is at one size of frames; shape arithmetic is computed on the way."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..core.artifacts import CONTRACT_KEY
from ..core.contract import FrameContract
from ..core.errors import ContractError, ModelFileError
from ..core.optional import require
from ..plugins.onnx_ops import inline_bodies
from ..plugins.ops import plugin_op
from ..plugins.plugin_op import DOMAIN

PURPOSE = "estimate memory"
#: values of more elements are no shape arithmetic, and are not computed
MOST_COMPUTED = 4096
#: operators that tell sizes of what they take, and nothing else of it
SIZE_READERS = frozenset({"Shape", "Size"})


@dataclass(slots=True)
class GraphSizes:
    """A graph whose sizes are all known.

    Attributes:
        nodes: In order, bodies of our operators and of local functions in place; those that depend on frames.
            Operators of ours without a body stay, as a plugin's.
        sizes: Memory of every value that depends on frames, bytes.
        weights: Memory of every constant that those nodes take, bytes.
        shapes: Of every value and constant.
        values: Small constants, and what follows from them and from sizes.
        inputs: Names of the graph's inputs.
        outputs: Names of its results.
    """

    nodes: list[Any] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    weights: dict[str, int] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


def graph_sizes(model: Any, shapes: Mapping[str, Sequence[int]], folder: Path | None = None) -> GraphSizes:
    """Work out the size of every value.

    Args:
        model: ``onnx.ModelProto``; left as it is.
        shapes: Of the inputs, by name; they may be missing where the file fixes them.
        folder: Where weights beside the file lie; None: they are inside.

    Raises:
        ModelFileError: A size cannot be worked out; names the node.
        MissingExtraError: onnx is not installed.
    """
    return _Walk(inline_bodies(model) if _has_bodies(model) else model, shapes, folder).run()


def sizes_at(model: Any, size: tuple[int, int], folder: Path | None = None, batch: int = 1) -> GraphSizes:
    """Work out the size of every value for one frame, or several at once.

    Args:
        model: ``onnx.ModelProto``; its first input takes frames.
        size: Height and width of frames, pixels.
        folder: Where weights beside the file lie; None: they are inside.
        batch: Frames at once.

    Raises:
        ModelFileError: A size cannot be worked out; names the node.
        MissingExtraError: onnx is not installed.
    """
    return graph_sizes(model, {model.graph.input[0].name: _input_shape(model, size, batch)}, folder)


def _input_shape(model: Any, size: tuple[int, int], batch: int) -> list[int]:
    """Shape of frames as the input takes them; what the file fixes stays."""
    dims = model.graph.input[0].type.tensor_type.shape.dim
    text = next((entry.value for entry in model.metadata_props if entry.key == CONTRACT_KEY), None)
    contract = FrameContract.from_json(text) if text is not None else FrameContract(io="float")
    shape = [dim.dim_value or 1 for dim in dims]
    shape[0] = dims[0].dim_value or batch
    first = len(shape) - 3 if contract.io == "uint8" else len(shape) - 2
    multiple = 1 if contract.io == "uint8" else contract.multiple
    for axis, side in enumerate(size, first):
        shape[axis] = dims[axis].dim_value or -(-side // multiple) * multiple
    return shape


def _has_bodies(model: Any) -> bool:
    """Whether operators are to be replaced by others; ours without bodies are plugins."""
    return bool(model.functions) or any(node.domain not in ("", "ai.onnx", DOMAIN) for node in model.graph.node)


def run_order(sizes: GraphSizes) -> list[Any]:
    """Order nodes as TensorRT-RTX 1.7 runs them: what the last input of one needs first, then the input before it."""
    makers = {name: index for index, node in enumerate(sizes.nodes) for name in node.output if name}
    ordered: list[Any] = []
    seen: set[int] = set()
    waiting = [(makers[name], False) for name in sizes.outputs if name in makers]
    while waiting:
        index, is_ready = waiting.pop()
        if is_ready:
            ordered.append(sizes.nodes[index])
        elif index not in seen:
            seen.add(index)
            waiting.append((index, True))
            waiting += [(makers[name], False) for name in sizes.nodes[index].input if name in makers]
    return ordered


class _Walk:
    """One pass over the nodes; types are ``onnx.TypeProto``, values of small constants are arrays."""

    def __init__(self, model: Any, shapes: Mapping[str, Sequence[int]], folder: Path | None) -> None:
        self._onnx: Any = require("onnx", purpose=PURPOSE)
        self._reference: Any = require("onnx.reference", purpose=PURPOSE)
        self._graph = model.graph
        self._opset = list(model.opset_import)
        self._version = next((entry.version for entry in self._opset if entry.domain in ("", "ai.onnx")), 1)
        self._folder = str(folder or "")
        self._types: dict[str, Any] = {}
        self._values: dict[str, Any] = {}
        self._constants: set[str] = set()
        self._found = GraphSizes()
        self._take_inputs(shapes)

    def run(self) -> GraphSizes:
        """Walk over all nodes."""
        for node in self._graph.node:
            self._visit(node)
        self._found.outputs = tuple(value.name for value in self._graph.output)
        self._found.shapes = {name: tuple(_shape(kind)) for name, kind in self._types.items()}
        self._found.values = self._values
        return self._found

    def _take_inputs(self, shapes: Mapping[str, Sequence[int]]) -> None:
        make = self._onnx.helper.make_tensor_type_proto
        for tensor in self._graph.initializer:
            self._types[tensor.name] = make(tensor.data_type, list(tensor.dims))
            self._constants.add(tensor.name)
            if math.prod(tensor.dims) <= MOST_COMPUTED:
                self._values[tensor.name] = self._onnx.numpy_helper.to_array(tensor, self._folder)
        taken = [value for value in self._graph.input if value.name not in self._constants]
        for value in taken:
            tensor_type = value.type.tensor_type
            shape = list(shapes.get(value.name, [dim.dim_value for dim in tensor_type.shape.dim]))
            if not all(shape):
                raise ModelFileError(f"input {value.name!r} is free, its shape is needed to size the graph")
            self._types[value.name] = make(tensor_type.elem_type, shape)
            self._found.sizes[value.name] = _bytes(self._types[value.name], self._onnx)
        self._found.inputs = tuple(value.name for value in taken)

    def _visit(self, node: Any) -> None:
        inputs = [name for name in node.input if name]
        if node.op_type in SIZE_READERS:
            self._read_size(node)
        elif all(name in self._values for name in inputs) and self._compute(node):
            pass
        else:
            self._infer(node)
            is_constant = node.op_type not in SIZE_READERS and not any(name in self._found.sizes for name in inputs)
            self._keep(node, inputs, is_constant)

    def _read_size(self, node: Any) -> None:
        shape = _shape(self._types[node.input[0]])
        if node.op_type == "Size":
            self._set(node.output[0], np.array(math.prod(shape), np.int64))
            return
        marks = {entry.name: entry.i for entry in node.attribute}
        self._set(node.output[0], np.array(shape[marks.get("start", 0) : marks.get("end", len(shape))], np.int64))

    def _set(self, name: str, value: Any) -> None:
        array = np.asarray(value)
        kind = self._onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        self._types[name] = self._onnx.helper.make_tensor_type_proto(kind, list(array.shape))
        self._values[name] = array
        self._constants.add(name)

    def _compute(self, node: Any) -> bool:
        """Compute a node of small constants; False where that is not possible or gives much."""
        helper = self._onnx.helper
        values = {name: self._values[name] for name in node.input if name}
        inputs = [helper.make_value_info(name, self._types[name]) for name in values]
        outputs = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
        graph = helper.make_graph([node], "arithmetic", inputs, outputs)
        model = helper.make_model(graph, opset_imports=self._opset, ir_version=10)
        try:
            results = self._reference.ReferenceEvaluator(model).run(None, values)
        except Exception:  # the evaluator raises whatever numpy does; inference is asked then
            return False
        if any(np.size(result) > MOST_COMPUTED for result in results):
            return False
        for output, result in zip(outputs, results, strict=True):
            self._set(output.name, result)
        return True

    def _infer(self, node: Any) -> None:
        if node.domain == DOMAIN:
            self._infer_plugin(node)
            return
        onnx = self._onnx
        types = {name: self._types[name] for name in node.input if name}
        data = {name: onnx.numpy_helper.from_array(self._values[name], name) for name in types if name in self._values}
        try:
            schema = onnx.defs.get_schema(node.op_type, self._version, node.domain)
            made = onnx.shape_inference.infer_node_outputs(schema, node, types, data, opset_imports=self._opset)
        except Exception as error:  # onnx raises several kinds of its own
            raise ModelFileError(f"node {node.name!r} ({node.op_type}) cannot be sized: {_first(error)}") from error
        for name in node.output:
            if name and (name not in made or not _is_known(made[name])):
                raise ModelFileError(
                    f"node {node.name!r} ({node.op_type}): the size of {name!r} does not follow from that of frames"
                )
        self._types |= made

    def _infer_plugin(self, node: Any) -> None:
        op, kinds = plugin_op(node.op_type), [self._types[name] for name in node.input if name]
        attributes = op.complete({entry.name: self._onnx.helper.get_attribute_value(entry) for entry in node.attribute})
        try:
            shape = op.output_shape([tuple(_shape(kind)) for kind in kinds], attributes)
        except ContractError as error:
            raise ModelFileError(f"node {node.name!r} ({node.op_type}) cannot be sized: {error}") from error
        make = self._onnx.helper.make_tensor_type_proto
        self._types[node.output[0]] = make(kinds[0].tensor_type.elem_type, shape)

    def _keep(self, node: Any, inputs: Sequence[str], is_constant: bool) -> None:
        if is_constant:
            self._constants.update(node.output)
            return
        self._found.nodes.append(node)
        for name in inputs:
            if name in self._constants:
                self._found.weights[name] = _bytes(self._types[name], self._onnx)
        for name in node.output:
            if name:
                self._found.sizes[name] = _bytes(self._types[name], self._onnx)


def _shape(kind: Any) -> list[int]:
    return [dim.dim_value for dim in kind.tensor_type.shape.dim]


def _is_known(kind: Any) -> bool:
    return kind.tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.tensor_type.shape.dim)


def _bytes(kind: Any, onnx: Any) -> int:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.tensor_type.elem_type)
    return math.prod(_shape(kind)) * int(dtype.itemsize)


def _first(error: Exception) -> str:
    lines: Iterator[str] = iter(str(error).strip().splitlines())
    return next(lines, type(error).__name__)
