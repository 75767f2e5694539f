"""From a PyTorch network to the float graph: traced once, for any batch and size."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..core.causes import cause
from ..core.contract import LARGEST_PX, FrameContract
from ..core.errors import UsageError
from ..core.module_paths import SCOPES_KEY, module_of
from ..core.optional import require
from .operator_swaps import operators_as_nodes
from .student_graph import IR_VERSION, OPSET

if TYPE_CHECKING:
    from torch import nn

#: sides of the picture a network is traced with, in multiples, different from each other and from one
TRACE_MULTIPLES = (6, 8)
#: smallest side it is traced with, pixels: torch takes a side of one for a constant
TRACE_LEAST_PX = 32


def float_graph(network: nn.Module, contract: FrameContract) -> Any:
    """Trace a network into an ONNX model with free batch, height and width.

    Nodes are named by their module's path and the operation, ``body.0.shrink.0/conv2d_4``; our own
    operators are nodes without bodies.

    Args:
        network: In evaluation mode, on the CPU.
        contract: Of the network; only multiples of ``contract.multiple`` are traced.

    Returns:
        ``onnx.ModelProto``: input ``frames`` ``float32 [batch, 3 * window, height, width]``, output
        ``restored``.

    Raises:
        UsageError: The network cannot be traced; the message names the line.
        MissingExtraError: torch or onnxscript is not installed.
    """
    torch = require("torch", purpose="export a network")
    require("onnxscript", purpose="export a network")
    from ..models.network_copies import without_weight_norm
    from ..models.torch_runs import multiple_hint

    traced = without_weight_norm(network)
    tall, wide = (_trace_px(count, contract) for count in TRACE_MULTIPLES)
    frames = torch.zeros(2, 3 * contract.window, tall, wide)
    try:
        with _quietly(), operators_as_nodes(traced):
            program = torch.onnx.export(
                traced,
                (frames,),
                dynamo=True,
                dynamic_shapes=(_dynamic_shape(contract),),
                opset_version=OPSET,
                input_names=["frames"],
                output_names=["restored"],
                external_data=False,
                optimize=False,
                verbose=False,
            )
            _simplify(program.model)
    except Exception as error:  # the tracer raises whatever the network's own code raises
        raise UsageError(
            f"{type(network).__name__} cannot be traced: {cause(error)}{multiple_hint(traced, contract)}"
        ) from error
    model = program.model_proto
    model.ir_version = IR_VERSION
    model.producer_name = "deblurrt"
    _name_nodes(model)
    _name_sides(model)
    return model


def _simplify(model: Any) -> None:
    """Fold constants and drop what nothing uses, in place.

    The tracer's own optimiser also drops an ``Add`` of 1e-8, which it takes for zero: the guard of a division.
    """
    optimizer = require("onnxscript.optimizer", purpose="export a network")
    passes = require("onnx_ir.passes.common", purpose="export a network")
    passes.InlinePass()(model)
    optimizer.fold_constants(model)
    for simplify in (
        passes.RemoveUnusedNodesPass(),
        passes.RemoveUnusedFunctionsPass(),
        passes.RemoveUnusedOpsetsPass(),
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.DeduplicateInitializersPass(),
        passes.CommonSubexpressionEliminationPass(),
        passes.OutputFixPass(),
        passes.NameFixPass(),
    ):
        simplify(model)


def _trace_px(count: int, contract: FrameContract) -> int:
    least = max(TRACE_LEAST_PX, contract.min_size + 1)
    return max(count, -(-least // contract.multiple) + count - TRACE_MULTIPLES[0]) * contract.multiple


def _dynamic_shape(contract: FrameContract) -> dict[int, Any]:
    dim = require("torch", purpose="export a network").export.Dim
    multiple = contract.multiple
    least, most = max(2, -(-contract.min_size // multiple)), LARGEST_PX // multiple
    sides = [dim(name, min=least, max=most) for name in ("rows", "columns")]
    tall, wide = (multiple * side if multiple > 1 else side for side in sides)
    return {0: dim("batch", min=1, max=64), 2: tall, 3: wide}


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep the tracer's progress and deprecations to itself."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _name_nodes(model: Any) -> None:
    """Name nodes by module and operation, and drop what else the tracer noted, such as paths of this machine."""
    for node in model.graph.node:
        kept = {entry.key: entry.value for entry in node.metadata_props if entry.key == SCOPES_KEY}
        module = module_of(node)
        module = "" if module.startswith("_empty") else module
        node.name = f"{module}/{node.name.removeprefix('node_')}" if module else node.name.removeprefix("node_")
        del node.metadata_props[:]
        for key, value in kept.items():
            node.metadata_props.add(key=key, value=value)
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
        value.doc_string = ""
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    model.graph.doc_string = ""
    model.doc_string = ""


def _name_sides(model: Any) -> None:
    """Call the free sides of input and output ``height`` and ``width``."""
    for value in (*model.graph.input, *model.graph.output):
        for axis, name in ((0, "batch"), (2, "height"), (3, "width")):
            dim = value.type.tensor_type.shape.dim[axis]
            if dim.HasField("dim_param"):
                dim.dim_param = name if value.name == "frames" else f"restored_{name}" if axis else name
    # sizes inside were named after the tracer's symbols, which no longer exist
    del model.graph.value_info[:]
