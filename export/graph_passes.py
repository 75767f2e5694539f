"""What is done to a graph between tracing and writing, in one visible order."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Any

from ..core.errors import ContractError
from ..core.optional import require
from ..plugins.onnx_ops import strip_bodies
from ..plugins.plugin_op import DOMAIN

logger = logging.getLogger(__name__)

Pass = Callable[[Any], Any]


def fix_sizes(model: Any, batch: int, height: int, width: int) -> Any:
    """Give a graph with free sizes fixed ones; the sizes inside follow when it is cleaned up.

    Args:
        model: ``onnx.ModelProto``; changed in place.
        batch: Frames at once.
        height: Of the input, pixels.
        width: Likewise.
    """
    sizes = {"batch": batch, "height": height, "width": width}
    for dim in model.graph.input[0].type.tensor_type.shape.dim:
        if dim.dim_param in sizes:
            dim.dim_value = sizes[dim.dim_param]
    return model


def clean_up(model: Any) -> Any:
    """Fold constants and drop what nothing uses (onnxslim); our operators and their bodies stay.

    A graph onnxslim cannot handle is left as it is, with a warning: it is correct, only longer.
    """
    slim = require("onnxslim", purpose="clean up an exported graph").slim
    bodies, inputs, outputs = copy.deepcopy(list(model.functions)), list(model.graph.input), list(model.graph.output)
    strip_bodies(model)
    try:
        cleaned = slim(model)
    except Exception as error:  # a third party's optimiser over any user's graph
        model.functions.extend(bodies)
        logger.warning("onnxslim left the graph as it was (%s)", str(error).splitlines()[0] if str(error) else error)
        return model
    if [value.name for value in cleaned.graph.input] != [value.name for value in inputs]:
        raise ContractError("cleaning up changed the graph's inputs; export it with --dynamic")
    del cleaned.graph.output[:]
    cleaned.graph.output.extend(outputs)
    # onnxslim 0.1.98 makes the single-precision constants of a body double
    del cleaned.functions[:]
    cleaned.functions.extend(bodies)
    return cleaned


def split_pools(model: Any) -> Any:
    """Turn local pools of fixed size into two plain average pools and a pad, the cheapest exact form.

    One pass along the height, one along the width; where the window covers the map, a mean over it,
    repeated. Pools of free size stay as they are.
    """
    onnx = require("onnx", purpose="export a network")
    shapes = _shapes(onnx, model)
    nodes: list[Any] = []
    constants: list[Any] = []
    for node in model.graph.node:
        shape = shapes.get(node.input[0]) if node.op_type == "LocalAvgPool" and node.domain == DOMAIN else None
        if shape is None:
            nodes.append(node)
            continue
        made, new = _plain_pools(onnx, node, shape)
        nodes += made
        constants += new
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(constants)
    return model


def _shapes(onnx: Any, model: Any) -> dict[str, tuple[int, ...]]:
    """Fixed shapes of values, as far as they can be inferred."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    values = (*inferred.graph.value_info, *inferred.graph.input)
    dims = {value.name: value.type.tensor_type.shape.dim for value in values}
    return {
        name: tuple(dim.dim_value for dim in shape)
        for name, shape in dims.items()
        if shape and all(dim.HasField("dim_value") for dim in shape)
    }


def _plain_pools(onnx: Any, node: Any, shape: tuple[int, ...]) -> tuple[list[Any], list[Any]]:
    """Average pools of one axis each, then a pad that repeats the border."""
    helper = onnx.helper
    attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    window = [min(side, wanted) for side, wanted in zip(shape[2:], attributes["window"], strict=True)]
    name, source = node.name, node.input[0]
    nodes = []
    for axis, side in enumerate(window):
        if side == 1:
            continue
        kernel = [side, 1] if axis == 0 else [1, side]
        pooled = f"{name}.mean{axis}"
        nodes.append(helper.make_node("AveragePool", [source], [pooled], name=pooled, kernel_shape=kernel))
        source = pooled
    before = [(side - 1) // 2 for side in window]
    after = [side - 1 - less for side, less in zip(window, before, strict=True)]
    pads = onnx.numpy_helper.from_array(_int64([0, 0, *before, 0, 0, *after]), f"{name}.pads")
    nodes.append(helper.make_node("Pad", [source, pads.name], list(node.output), name=f"{name}.pad", mode="edge"))
    for made in nodes:
        made.metadata_props.extend(node.metadata_props)
    return nodes, [pads]


def _int64(values: list[int]) -> Any:
    return require("numpy", purpose="export a network").array(values, "int64")


#: for graphs of fixed size, in this order
STATIC_PASSES: tuple[Pass, ...] = (clean_up, split_pools)
#: for graphs of free size
DYNAMIC_PASSES: tuple[Pass, ...] = (clean_up,)
