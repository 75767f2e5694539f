"""Float graphs as small as a network of the zoo can be thought, written without a tracer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from deblurrt.core.contract import FrameContract, Task
from deblurrt.core.optional import require
from deblurrt.core.tensors import Array
from deblurrt.export.export_config import ExportConfig
from deblurrt.export.graph_export import GraphExport
from deblurrt.export.parity import Window, sample_windows
from deblurrt.plugins.onnx_ops import add_bodies
from deblurrt.plugins.onnx_ops import node as plugin_node

onnxruntime = require("onnxruntime", purpose="run a graph")

#: what the files of these tests say of their weights
PROVENANCE = {"weights": "random:0", "model": "small"}
CHANNELS = 8


def contract_of(*, window: int = 1, scale: int = 1, multiple: int = 1) -> FrameContract:
    """Of a float network of that window, scale and multiple."""
    task: Task = "deblur_sr" if scale == 4 else "deblur"
    halo_px = 6 * multiple
    return FrameContract(
        task=task, window=window, scale=scale, multiple=multiple, min_size=multiple, halo_px=halo_px, io="float"
    )


def network(contract: FrameContract, gain: float = 1.0) -> onnx.ModelProto:
    """Two convolutions around a local pool; sides that are no multiple are an error, as in real networks.

    Args:
        contract: Decides window, scale and multiple.
        gain: By which values are larger inside, and no larger outside.
    """
    rng = np.random.default_rng(0)
    fold, unfold = contract.multiple, contract.multiple * contract.scale
    taken, given = 3 * contract.window * fold**2, 3 * unfold**2
    weights = {
        "head.weight": rng.normal(0, gain / np.sqrt(taken), (CHANNELS, taken, 1, 1)),
        "tail.weight": rng.normal(0, 0.1 / gain, (given, CHANNELS, 3, 3)),
        "tail.bias": rng.normal(0.5, 0.1, given),
    }
    nodes = [
        helper.make_node("SpaceToDepth", ["frames"], ["folded"], name="folded", blocksize=fold),
        helper.make_node("Conv", ["folded", "head.weight"], ["head"], name="head"),
        plugin_node("LocalAvgPool", ["head"], ["mean"], {"window": [3, 5]}),
        helper.make_node("Sub", ["head", "mean"], ["detail"], name="detail"),
        helper.make_node("Relu", ["detail"], ["edges"], name="edges"),
        helper.make_node("Conv", ["edges", "tail.weight", "tail.bias"], ["tail"], name="tail", pads=[1, 1, 1, 1]),
        helper.make_node("DepthToSpace", ["tail"], ["restored"], name="unfolded", blocksize=unfold),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "small",
        [value("frames", TensorProto.FLOAT, ["batch", 3 * contract.window, "height", "width"])],
        [value("restored", TensorProto.FLOAT, ["batch", 3, "restored_height", "restored_width"])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("deblurrt", 1)]
    made: onnx.ModelProto = add_bodies(helper.make_model(graph, opset_imports=opsets, ir_version=10))
    return made


def export(contract: FrameContract, **config: Any) -> onnx.ModelProto:
    """What ``GraphExport`` makes of ``network(contract)``."""
    work = GraphExport(contract, ExportConfig(**config), PROVENANCE, small_windows(contract))
    made: onnx.ModelProto = work.finish(network(contract))
    return made


def small_windows(contract: FrameContract) -> list[Window]:
    """Pictures that keep an export quick."""
    return sample_windows(contract.window, [(16, 24), (19, 13)])


def run(model: onnx.ModelProto, frames: Array) -> Array:
    """Run a file in ONNX Runtime as it is written."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    restored: Array = session.run(None, {"frames": frames})[0]
    return restored


def interface(model: onnx.ModelProto) -> list[tuple[str, int, list[int | str]]]:
    """Name, type and shape of what a file takes and gives."""
    return [
        (value.name, value.type.tensor_type.elem_type, _shape(value.type.tensor_type.shape.dim))
        for value in (*model.graph.input, *model.graph.output)
    ]


def _shape(dims: Sequence[Any]) -> list[int | str]:
    return [dim.dim_value or dim.dim_param for dim in dims]


def random_frames(contract: FrameContract, size: tuple[int, int]) -> Array:
    """What the bare network takes, ``float32`` in 0..1."""
    rng = np.random.default_rng(size[0])
    return rng.random((1, 3 * contract.window, *size), dtype=np.float32)


def random_bytes(contract: FrameContract, size: tuple[int, int]) -> Array:
    """What the file takes, ``uint8``."""
    window = (contract.window,) if contract.window > 1 else ()
    return np.random.default_rng(size[0]).integers(0, 256, (1, *window, *size, 3), dtype=np.uint8)
