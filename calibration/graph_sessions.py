"""Graphs in ONNX Runtime for calibration: frugal with memory, nothing fused that the file does not say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.contract import FrameContract
from ..core.errors import ModelFileError
from ..core.optional import require
from ..core.pictures import Pixels
from ..core.tensors import Array
from ..runtime.session import finish, prepare
from .clips import Window

Run = Callable[[Sequence[str] | None, Mapping[str, Array]], list[Array]]
#: restores a window of pictures
Restore = Callable[[Window], Pixels]


def open_graph(model: Any, *, is_plain: bool = False) -> Run:
    """Run a graph whose 8-bit parts are computed step by step, in ``float32`` between rounding and rounding.

    Args:
        model: ``onnx.ModelProto``.
        is_plain: Whether nothing at all is rewritten, which taps inside and 8-bit floats need.

    Raises:
        ModelFileError: ONNX Runtime refuses the graph.
    """
    runtime = require("onnxruntime", purpose="calibrate a network")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    # values are freed as soon as their last taker has run, and given back: peaks decide what a machine needs
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    levels, serialized = runtime.GraphOptimizationLevel, model.SerializeToString()
    # of heavy networks every copy of the weights counts; one that was made for this session goes here
    del model
    options.graph_optimization_level = levels.ORT_DISABLE_ALL if is_plain else levels.ORT_ENABLE_ALL
    if is_plain:
        # by place in the graph, so that a value is looked at and freed as soon as it is there
        options.execution_order = runtime.ExecutionOrder.PRIORITY_BASED
    try:
        session = runtime.InferenceSession(serialized, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no base of their own
        raise ModelFileError(f"ONNX Runtime refuses the graph: {_first_line(error)}") from error

    def run(names: Sequence[str] | None, feed: Mapping[str, Array]) -> list[Array]:
        try:
            values: list[Array] = session.run(None if names is None else list(names), dict(feed))
        except Exception as error:
            raise ModelFileError(f"the network cannot be run on a frame: {_first_line(error)}") from error
        return values

    return run


def open_restorer(model: Any, contract: FrameContract, *, is_plain: bool = False) -> Restore:
    """Restore pictures with a graph, prepared and finished as the runtime does.

    Raises:
        ModelFileError: ONNX Runtime refuses the graph.
    """
    run = open_graph(model, is_plain=is_plain)
    taken, given = model.graph.input[0].name, [model.graph.output[0].name]

    def restore(window: Window) -> Pixels:
        restored = run(given, {taken: prepare(list(window), contract)})[0]
        return finish(restored, contract, (window[0].shape[0], window[0].shape[1]))

    return restore


def cropped(window: Window, side_px: int, rng: np.random.Generator, fixed: tuple[int, int] | None) -> Window:
    """Cut one piece out of all pictures of a window; at random, or the middle where the graph fixes the size."""
    height, width = window[0].shape[:2]
    tall, wide = fixed or (min(height, side_px), min(width, side_px))
    if tall > height or wide > width:
        raise ModelFileError(
            f"the file is fixed to frames of {tall}x{wide}, those to calibrate on are {height}x{width}; give larger "
            "frames, or a file of any size"
        )
    if fixed:
        top, left = (height - tall) // 2, (width - wide) // 2
    else:
        top, left = int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1))
    return tuple(np.ascontiguousarray(pixels[top : top + tall, left : left + wide]) for pixels in window)


def fixed_size(model: Any, contract: FrameContract) -> tuple[int, int] | None:
    """Height and width of the frames a graph is fixed to; None where they are free."""
    dims = model.graph.input[0].type.tensor_type.shape.dim
    sides = dims[-3:-1] if contract.io == "uint8" else dims[-2:]
    if not all(dim.HasField("dim_value") for dim in sides):
        return None
    return int(sides[0].dim_value), int(sides[1].dim_value)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
