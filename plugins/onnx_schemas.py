"""What ``onnx.checker`` and shape inference know of our operators."""

from __future__ import annotations

from typing import Any

from ..core.optional import require
from .ops import PLUGINS, plugin_op
from .plugin_op import DOMAIN, DOMAIN_VERSION, PLUGIN_MARKS, RESULT, Dim, PluginOp, Shape

PURPOSE = "describe operators of our own"
FLOAT_TYPES = ("tensor(float16)", "tensor(float)", "tensor(bfloat16)")


def register_schemas() -> None:
    """Tell ``onnx`` of this process about every operator of ``PLUGINS``; doing so again changes nothing."""
    defs = require("onnx.defs", purpose=PURPOSE)
    for name in PLUGINS:
        if not defs.has(name, DOMAIN):
            defs.register_schema(_schema(plugin_op(name)))


def _schema(op: PluginOp) -> Any:
    """Give the ``onnx.defs.OpSchema`` of an operator."""
    kind = require("onnx.defs", purpose=PURPOSE).OpSchema
    needed = len(op.inputs) - len(op.defaults)
    option = kind.FormalParameterOption
    options = [option.Single] * needed + [option.Optional] * len(op.defaults)
    schema = kind(
        op.name,
        DOMAIN,
        DOMAIN_VERSION,
        op.doc,
        inputs=[
            kind.FormalParameter(name, "T", param_option=choice)
            for name, choice in zip(op.inputs, options, strict=True)
        ],
        outputs=[kind.FormalParameter(RESULT, "T")],
        type_constraints=[("T", FLOAT_TYPES, "All inputs and the output are of one type.")],
        attributes=_attributes(op),
    )
    # onnx before 1.19 has no way to give a function; there the output has no shape
    if hasattr(schema, "set_type_and_shape_inference_function"):
        schema.set_type_and_shape_inference_function(lambda context: _infer(op, context))
    return schema


def _attributes(op: PluginOp) -> list[Any]:
    onnx = require("onnx", purpose=PURPOSE)
    attribute, kinds = onnx.defs.OpSchema.Attribute, onnx.defs.OpSchema.AttrType
    described = []
    for name, entry in op.attributes.items():
        if entry.default is None:
            described.append(attribute(name, kinds.INT if entry.length is None else kinds.INTS, required=True))
        else:
            described.append(attribute(name, onnx.helper.make_attribute(name, entry.default)))
    marks = [attribute(name, kinds.STRING, required=False) for name in PLUGIN_MARKS]
    return described + marks


def _infer(op: PluginOp, context: Any) -> None:
    """Infer type and shape of the output of a node; nothing where an input is not known."""
    onnx = require("onnx", purpose=PURPOSE)
    types = [context.get_input_type(index) for index in range(context.get_num_inputs()) if context.has_input(index)]
    if any(entry is None or not entry.tensor_type.HasField("shape") for entry in types):
        return
    given = {name: context.get_attribute(name) for name in op.attributes}
    value_of = onnx.helper.get_attribute_value
    attributes = op.complete({name: value_of(entry) for name, entry in given.items() if entry is not None})
    shape = op.output_shape([_shape(entry) for entry in types], attributes)
    context.set_output_type(0, onnx.helper.make_tensor_type_proto(types[0].tensor_type.elem_type, shape))


def _shape(entry: Any) -> Shape:
    return tuple(_dim(dim) for dim in entry.tensor_type.shape.dim)


def _dim(dim: Any) -> Dim:
    return int(dim.dim_value) if dim.HasField("dim_value") else dim.dim_param or None
