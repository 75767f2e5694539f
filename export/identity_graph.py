"""The shipped ``identity``: a model file that gives every frame back, for measuring and for tests."""

from __future__ import annotations

from pathlib import Path

from ..core.artifacts import CONTRACT_KEY, OnnxFile, write_onnx
from ..core.contract import FrameContract
from ..core.optional import require
from .student_graph import IR_VERSION, OPSET


def onnx_from_identity(path: Path, force: bool = False) -> OnnxFile:
    """Write a graph of one Identity node, ``uint8 [batch, height, width, 3]`` in and out.

    Raises:
        OutputError: The file exists or cannot be written.
    """
    onnx = require("onnx", purpose="write a model file")
    helper, shape = onnx.helper, ["batch", "height", "width", 3]
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, shape) for name in ("frames", "restored")]
    node = helper.make_node("Identity", ["frames"], ["restored"], name="identity")
    graph = helper.make_graph([node], "identity", values[:1], values[1:])
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="deblurrt")
    helper.set_model_props(model, {CONTRACT_KEY: FrameContract(halo_px=0, pad="none").to_json()})
    onnx.checker.check_model(model, full_check=True)
    return write_onnx(model, path, force)
