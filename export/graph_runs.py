"""Graphs in ONNX Runtime, to be compared with others."""

from __future__ import annotations

from typing import Any

from ..core.errors import QualityError
from ..core.optional import require
from ..core.tensors import Array
from .parity import Run


def onnx_run(model: Any) -> Run:
    """Run a graph in ONNX Runtime with its basic rewritings alone, which are those every processor gets.

    They fold constants, drop needless nodes and multiply factors into convolutions; rewritings for one
    processor are left out.

    Raises:
        QualityError: ONNX Runtime refuses the graph, at once or at a size.
    """
    runtime = require("onnxruntime", purpose="compare a graph")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    try:
        session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no base of their own
        raise QualityError(f"ONNX Runtime refuses the graph: {_first_line(error)}") from error

    def run(frames: Array) -> Array:
        try:
            restored: Array = session.run(None, {"frames": frames})[0]
        except Exception as error:
            raise QualityError(f"ONNX Runtime fails on {list(frames.shape)}: {_first_line(error)}") from error
        return restored

    return run


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
