"""The deployment graph of a student network: uint8 frames in, uint8 frames out, any size.

Written node by node rather than traced, so that a light install can rebuild the shipped files from
their weights and so that every byte of pixel arithmetic is chosen:

* folding pixels into channels and back moves uint8, a quarter of the bytes of float;
* the picture stays in 0..255 inside; 1/255 is folded into the first and the last convolution;
* the correction is added to the folded picture, before clamping and rounding.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..core.artifacts import CONTRACT_KEY, PROVENANCE_KEY, SUMMARY_KEY, OnnxFile, write_onnx
from ..core.contract import FrameContract
from ..core.errors import ModelFileError
from ..core.optional import require
from ..models.student_config import StudentConfig

Weights = Mapping[str, NDArray[np.float32]]
Io = Literal["uint8", "float"]

OPSET = 20
IR_VERSION = 10
MIDDLE = 127.5


def student_contract(config: StudentConfig, io: Io = "uint8") -> FrameContract:
    """What a student network needs of frames."""
    return FrameContract(multiple=config.multiple, min_size=config.multiple, halo_px=config.halo_px, io=io)


def onnx_from_student(
    config: StudentConfig,
    weights: Weights,
    path: Path,
    provenance: Mapping[str, object],
    *,
    io: Io = "uint8",
    force: bool = False,
) -> OnnxFile:
    """Write the graph of a student network.

    Input ``frames`` and output ``restored`` are ``uint8 [batch, height, width, 3]`` RGB of any size,
    or with ``io="float"`` the bare network's ``float32 [batch, 3, height, width]`` in 0..1, height
    and width multiples of ``config.multiple``.

    Args:
        config: Size of the network.
        weights: Its state dict as arrays.
        path: Where the file goes.
        provenance: Where the weights come from; stored in the file.
        io: ``uint8`` for the deployment graph, ``float`` for the bare network.
        force: Whether an existing file is replaced.

    Raises:
        ModelFileError: ``weights`` are not those of ``config``, by name or by shape.
        OutputError: The file exists or cannot be written.
    """
    return write_onnx(student_model(config, weights, provenance, io=io), path, force)


def student_model(config: StudentConfig, weights: Weights, provenance: Mapping[str, object], *, io: Io) -> Any:
    """Make the graph that ``onnx_from_student`` writes, an ``onnx.ModelProto``.

    Raises:
        ModelFileError: ``weights`` are not those of ``config``, by name or by shape.
    """
    onnx = require("onnx", purpose="write a model file")
    _check_weights(config, weights)
    graph = _Graph(weights)
    if io == "uint8":
        _add_unfold(graph, _add_network(graph, config, _add_fold(graph, config)))
    else:
        _add_float_unfold(graph, config, _add_network(graph, config, _add_float_fold(graph, config)))
    helper = onnx.helper
    kind = onnx.TensorProto.UINT8 if io == "uint8" else onnx.TensorProto.FLOAT
    frame_shape = ["batch", "height", "width", 3] if io == "uint8" else ["batch", 3, "height", "width"]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "student",
            [helper.make_tensor_value_info("frames", kind, frame_shape)],
            [helper.make_tensor_value_info("restored", kind, frame_shape)],
            [onnx.numpy_helper.from_array(array, name) for name, array in graph.constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="deblurrt",
    )
    metadata = {
        CONTRACT_KEY: student_contract(config, io).to_json(),
        PROVENANCE_KEY: json.dumps(dict(provenance), sort_keys=True),
        SUMMARY_KEY: json.dumps(_summary(config, graph), sort_keys=True),
    }
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    return model


def weight_shapes(config: StudentConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a student network's weights, as in its state dict."""
    widths, folded = config.widths, 3 * config.unshuffle**2
    convolutions = {"head": (widths[0], folded, 3), "tail": (folded, widths[0], 3)}
    for side, counts in (("encoder", config.encoder_blocks), ("decoder", config.decoder_blocks)):
        for level, (width, blocks) in enumerate(zip(widths, counts, strict=False)):
            names = (f"{side}.{level}.{block}.{part}" for block in range(blocks) for part in ("conv1", "conv2"))
            convolutions |= dict.fromkeys(names, (width, width, 3))
    for level, (fine, coarse) in enumerate(pairwise(widths)):
        convolutions |= {f"down.{level}": (coarse, fine, 3), f"up.{level}": (fine * 4, coarse, 1)}
    shapes: dict[str, tuple[int, ...]] = {}
    for name, (after, before, kernel) in convolutions.items():
        shapes |= {f"{name}.weight": (after, before, kernel, kernel), f"{name}.bias": (after,)}
    return shapes


def _check_weights(config: StudentConfig, weights: Weights) -> None:
    shapes = weight_shapes(config)
    for problem, names in (("lack", shapes.keys() - weights.keys()), ("have also", weights.keys() - shapes.keys())):
        if names:
            raise ModelFileError(f"the weights {problem} {_shortened(names)}; are they of another network?")
    for name, shape in shapes.items():
        if weights[name].shape != shape:
            got = f"{list(weights[name].shape)}, expected {list(shape)}"
            raise ModelFileError(f"weight {name} is {got}; are the weights of another network?")


def _shortened(names: Iterable[str]) -> str:
    first, *others = sorted(names)
    return f"{first} and {len(others)} more" if others else first


def _summary(config: StudentConfig, graph: _Graph) -> dict[str, object]:
    operators: dict[str, int] = {}
    for node in graph.nodes:
        operators[node.op_type] = operators.get(node.op_type, 0) + 1
    parameters = sum(array.size for name, array in graph.constants.items() if name in graph.weights)
    macs = {"fp32": config.macs_per_pixel}
    return {"operators": operators, "parameters": parameters, "macs_per_pixel": macs}


class _Graph:
    """Nodes and constants in the making; every method returns the name of the value it adds."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.nodes: list[Any] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self._helper = require("onnx", purpose="write a model file").helper

    def constant(self, name: str, values: Sequence[int] | Sequence[float] | float | int, kind: type) -> str:
        self.constants[name] = np.array(values, kind)
        return name

    def add(self, operator: str, name: str, inputs: Sequence[str], **attributes: object) -> str:
        self.nodes.append(self._helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def conv(self, name: str, value: str, stride: int = 1, gain_in: float = 1.0, gain_out: float = 1.0) -> str:
        for part, gain in (("weight", gain_in * gain_out), ("bias", gain_out)):
            key = f"{name}.{part}"
            self.constants[key] = (self.weights[key] * np.float32(gain)).astype(np.float32)
        kernel = self.constants[f"{name}.weight"].shape[-1]
        pads, strides = [kernel // 2] * 4, [stride, stride]
        inputs = [value, f"{name}.weight", f"{name}.bias"]
        return self.add("Conv", name, inputs, pads=pads, strides=strides, kernel_shape=[kernel, kernel])

    def residual_block(self, name: str, value: str) -> str:
        hidden = self.add("Relu", f"{name}.relu", [self.conv(f"{name}.conv1", value)])
        return self.add("Add", f"{name}.add", [value, self.conv(f"{name}.conv2", hidden)])


def _add_network(graph: _Graph, config: StudentConfig, folded: str) -> str:
    """Add all convolutions; takes and gives the folded picture in 0..255."""
    graph.constant("middle", MIDDLE, np.float32)
    features = graph.conv("head", graph.add("Sub", "centred", [folded, "middle"]), gain_in=1 / 255)
    skips: list[str] = []
    for level, blocks in enumerate(config.encoder_blocks):
        for block in range(blocks):
            features = graph.residual_block(f"encoder.{level}.{block}", features)
        if level < len(config.widths) - 1:
            skips.append(features)
            features = graph.conv(f"down.{level}", features, stride=2)
    for level in reversed(range(len(skips))):
        wide = graph.conv(f"up.{level}", features)
        raised = graph.add("DepthToSpace", f"up.{level}.shuffle", [wide], blocksize=2, mode="CRD")
        features = graph.add("Add", f"skip.{level}", [raised, skips[level]])
        for block in range(config.decoder_blocks[level]):
            features = graph.residual_block(f"decoder.{level}.{block}", features)
    correction = graph.conv("tail", features, gain_out=255)
    return graph.add("Add", "corrected", [folded, correction])


def _add_fold(graph: _Graph, config: StudentConfig) -> str:
    """Pad to the multiple and fold ``unshuffle`` x ``unshuffle`` pixels into channels, as float."""
    fold = config.unshuffle
    graph.constant("multiple", config.multiple, np.int64)
    graph.constant("no_pad", [0, 0, 0, 0, 0], np.int64)
    graph.constant("no_pad_end", [0], np.int64)
    graph.add("Shape", "size", ["frames"], start=1, end=3)
    graph.add("Neg", "size.neg", ["size"])
    graph.add("Mod", "fill", ["size.neg", "multiple"])
    graph.add("Concat", "pads", ["no_pad", "fill", "no_pad_end"], axis=0)
    graph.add("Pad", "padded", ["frames", "pads"], mode="reflect")
    graph.add("Shape", "padded.size", ["padded"], start=1, end=3)
    graph.constant("fold", fold, np.int64)
    graph.add("Div", "folded.size", ["padded.size", "fold"])
    graph.constant("batch_any", [-1], np.int64)
    graph.add("Split", "folded.height", ["folded.size"], axis=0, num_outputs=2)
    graph.nodes[-1].output.append("folded.width")
    graph.constant("fold_1", [fold], np.int64)
    graph.constant("colors", [3], np.int64)
    graph.add(
        "Concat", "blocks.shape", ["batch_any", "folded.height", "fold_1", "folded.width", "fold_1", "colors"], axis=0
    )
    graph.add("Reshape", "blocks", ["padded", "blocks.shape"])
    graph.add("Transpose", "blocks.channels", ["blocks"], perm=[0, 5, 2, 4, 1, 3])
    graph.constant("folded.channels", [3 * fold * fold], np.int64)
    graph.add("Concat", "folded.shape", ["batch_any", "folded.channels", "folded.height", "folded.width"], axis=0)
    graph.add("Reshape", "folded.bytes", ["blocks.channels", "folded.shape"])
    float_type = require("onnx", purpose="write a model file").TensorProto.FLOAT
    return graph.add("Cast", "folded", ["folded.bytes"], to=float_type)


def _add_unfold(graph: _Graph, corrected: str) -> None:
    """Clamp, round, unfold channels into pixels and cut the padding off, as uint8."""
    uint8 = require("onnx", purpose="write a model file").TensorProto.UINT8
    graph.constant("darkest", 0.0, np.float32)
    graph.constant("brightest", 255.0, np.float32)
    graph.add("Clip", "clipped", [corrected, "darkest", "brightest"])
    graph.add("Round", "rounded", ["clipped"])
    graph.add("Cast", "bytes", ["rounded"], to=uint8)
    graph.add(
        "Concat", "bytes.shape", ["batch_any", "colors", "fold_1", "fold_1", "folded.height", "folded.width"], axis=0
    )
    graph.add("Reshape", "bytes.blocks", ["bytes", "bytes.shape"])
    graph.add("Transpose", "bytes.pixels", ["bytes.blocks"], perm=[0, 4, 2, 5, 3, 1])
    graph.add("Concat", "unfolded.shape", ["batch_any", "padded.size", "colors"], axis=0)
    graph.add("Reshape", "unfolded", ["bytes.pixels", "unfolded.shape"])
    graph.constant("crop_start", [0, 0], np.int64)
    graph.constant("crop_axes", [1, 2], np.int64)
    graph.add("Slice", "restored", ["unfolded", "crop_start", "size", "crop_axes"])


def _add_float_fold(graph: _Graph, config: StudentConfig) -> str:
    """Fold pixels of a float picture into channels and bring it to 0..255."""
    fold = config.unshuffle
    graph.constant("fold", fold, np.int64)
    graph.constant("fold_1", [fold], np.int64)
    graph.constant("batch_any", [-1], np.int64)
    graph.constant("colors", [3], np.int64)
    graph.constant("folded.channels", [3 * fold * fold], np.int64)
    graph.add("Shape", "size", ["frames"], start=2, end=4)
    graph.add("Div", "folded.size", ["size", "fold"])
    graph.add("Split", "folded.height", ["folded.size"], axis=0, num_outputs=2)
    graph.nodes[-1].output.append("folded.width")
    blocks = ["batch_any", "colors", "folded.height", "fold_1", "folded.width", "fold_1"]
    graph.add("Concat", "blocks.shape", blocks, axis=0)
    graph.add("Reshape", "blocks", ["frames", "blocks.shape"])
    graph.add("Transpose", "blocks.channels", ["blocks"], perm=[0, 1, 3, 5, 2, 4])
    graph.add("Concat", "folded.shape", ["batch_any", "folded.channels", "folded.height", "folded.width"], axis=0)
    graph.add("Reshape", "folded.unit", ["blocks.channels", "folded.shape"])
    return graph.add("Mul", "folded", ["folded.unit", graph.constant("peak", 255, np.float32)])


def _add_float_unfold(graph: _Graph, config: StudentConfig, corrected: str) -> None:
    """Bring the picture back to 0..1 and unfold channels into pixels; nothing is clamped."""
    graph.add("Div", "corrected.unit", [corrected, "peak"])
    graph.add("DepthToSpace", "restored", ["corrected.unit"], blocksize=config.unshuffle, mode="CRD")
