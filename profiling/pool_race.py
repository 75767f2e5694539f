"""Local average pooling: ONNX's own operator against our separable form, on one map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.artifacts import OnnxFile, write_onnx
from ..core.optional import require
from ..core.tensors import Array
from ..export.parity import ParityGate
from ..export.student_graph import IR_VERSION, OPSET
from ..plugins.local_avg_pool import local_avg_pool
from ..plugins.onnx_ops import add_bodies, inline_bodies, node
from ..plugins.plugin_op import DOMAIN, DOMAIN_VERSION
from ..runtime.backend import open_backend
from .network_race import RUNTIMES
from .races import Contestant, RacePlan, RaceResult, opened_late, race, runs_of

#: MPRNet-SR's attention at 180x320 and its published window
SHAPE = (1, 64, 180, 320)
WINDOW = (96, 96)
#: sums of 9,216 values between 0 and 1, divided again
GATE = ParityGate(max_abs_relative=1e-5)
PLAIN, TWICE, OURS = "AveragePool 96x96", "AveragePool 1x96, then 96x1", "LocalAvgPool"


@dataclass(frozen=True, slots=True)
class PoolResult:
    """Lines of the table for one runtime.

    Attributes:
        runtime: Its name in the tables.
        race: The forms; differences are from ``float64``.
    """

    runtime: str
    race: RaceResult

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"runtime": self.runtime, **self.race.to_dict()}


def pool_results(plan: RacePlan, shape: tuple[int, ...] = SHAPE, window: tuple[int, int] = WINDOW) -> list[PoolResult]:
    """Let every form of the pool run in every runtime.

    Args:
        plan: How to measure.
        shape: ``[batch, channel, height, width]`` of the map, at least as large as the window.
        window: Height and width, pixels.

    Raises:
        MissingExtraError: onnx is not installed.
        BackendError: A runtime does not load the plain form.
    """
    features = np.random.default_rng(0).random(shape, np.float32)
    expected = local_avg_pool(features, window)
    results = []
    for runtime, backend in RUNTIMES.items():
        plan.tell(f"pooling in {runtime}: {plan.rounds} rounds")
        contestants: dict[str, Contestant] = {}
        for name, model in pool_graphs(shape, window).items():
            graph = inline_bodies(model) if backend == "openvino" else model
            file = write_onnx(graph, plan.folder / f"{backend}_{len(contestants)}.onnx", True)
            contestants[name] = opened_late(_opening(backend, file, features, plan))
        results.append(PoolResult(runtime, race(contestants, plan.rounds, expected=expected, gate=GATE)))
    return results


def _opening(backend: str, file: OnnxFile, features: Array, plan: RacePlan) -> Callable[[], Contestant]:
    return lambda: runs_of(open_backend(backend, file, plan.config), features)


def pool_graphs(shape: tuple[int, ...], window: tuple[int, int]) -> dict[str, Any]:
    """Every form of one pool, by name.

    Args:
        shape: ``[batch, channel, height, width]``, at least as large as the window.
        window: Height and width, pixels.

    Returns:
        ``onnx.ModelProto`` with ``x`` and ``y``, ``float32`` of that shape; the plain form first.
    """
    make = require("onnx", purpose="write the graphs of a pool").helper.make_node
    pads = [(side - 1) // 2 for side in window], [side // 2 for side in window]
    border = np.array([*pads[0], *pads[1]], np.int64)
    fill = make("Pad", ["means", "border", "", "axes"], ["y"], mode="edge")
    plain = make("AveragePool", ["x"], ["means"], kernel_shape=window)
    across = make("AveragePool", ["x"], ["rows"], kernel_shape=(1, window[1]))
    down = make("AveragePool", ["rows"], ["means"], kernel_shape=(window[0], 1))
    constants = {"border": border, "axes": np.array([2, 3], np.int64)}
    ours = node("LocalAvgPool", ["x"], ["y"], {"window": window})
    return {
        PLAIN: _graph([plain, fill], shape, constants),
        TWICE: _graph([across, down, fill], shape, constants),
        OURS: add_bodies(_graph([ours], shape, {})),
    }


def _graph(nodes: list[Any], shape: tuple[int, ...], constants: dict[str, Array]) -> Any:
    onnx = require("onnx", purpose="write the graphs of a pool")
    helper = onnx.helper
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in ("x", "y")]
    fixed = [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "pool", values[:1], values[1:], fixed)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, DOMAIN_VERSION)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
