"""The deployment graph: bytes of frames in, bytes of pictures out, around any float graph.

Everything between a decoded frame and the network is a node of the file: reflect padding to the multiple, layout,
range, the window of frames; and behind it crop, clamp, rounding. No runtime can do it differently.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..core.contract import FrameContract
from ..core.errors import UsageError
from ..core.optional import require

#: what the network's own input and output are called inside
INNER_INPUT, INNER_OUTPUT = "network.frames", "network.restored"
#: what the names of the nodes around the network begin with
WRAPPING = "deployment/"


def deployed_contract(contract: FrameContract) -> FrameContract:
    """What the deployment graph of a network needs of frames.

    Reflecting needs a side larger than what is added; smaller frames are padded by the session.
    """
    return replace(contract, io="uint8", min_size=max(contract.min_size, contract.multiple))


def check_size(size: tuple[int, int], contract: FrameContract) -> None:
    """Refuse to fix frames to a size that cannot be filled up inside the file.

    Raises:
        UsageError: A side is smaller than what the deployment graph of the network needs.
    """
    least = deployed_contract(contract).min_size
    if min(size) < least:
        tall, wide = (max(side, least) for side in size)
        raise UsageError(
            f"the size is {size[0]}x{size[1]}, the network takes frames from {least}x{least}; "
            f"give {tall}x{wide}, smaller frames are filled up when they are restored"
        )


def deployment_graph(model: Any, contract: FrameContract) -> Any:
    """Wrap a float graph.

    Args:
        model: ``onnx.ModelProto`` with ``frames`` ``float32 [batch, 3 * window, height, width]`` and
            ``restored``; used up.
        contract: Of the float graph.

    Returns:
        ``onnx.ModelProto``: ``frames`` ``uint8 [batch, height, width, 3]``, with a window of three
        ``[batch, 3, height, width, 3]``; ``restored`` ``uint8 [batch, height * scale, width * scale, 3]``;
        any size from ``deployed_contract(contract).min_size``.
    """
    onnx = require("onnx", purpose="export a network")
    _rename(model.graph, {"frames": INNER_INPUT, "restored": INNER_OUTPUT})
    nodes = _Nodes(onnx)
    nodes.prepare(contract)
    inner = list(model.graph.node)
    count = len(nodes.made)
    nodes.finish(contract)
    del model.graph.node[:]
    model.graph.node.extend([*nodes.made[:count], *inner, *nodes.made[count:]])
    model.graph.initializer.extend(nodes.constants)
    # sizes inside are called as those of the frames were, which are now those before padding
    del model.graph.value_info[:]
    del model.graph.input[:]
    del model.graph.output[:]
    window = [contract.window] if contract.window > 1 else []
    uint8, value = onnx.TensorProto.UINT8, onnx.helper.make_tensor_value_info
    model.graph.input.append(value("frames", uint8, ["batch", *window, "height", "width", 3]))
    model.graph.output.append(value("restored", uint8, ["batch", "restored_height", "restored_width", 3]))
    return model


def bare_graph(model: Any, contract: FrameContract) -> Any:
    """Unwrap what ``deployment_graph`` wrapped.

    Args:
        model: ``onnx.ModelProto`` as ``deployment_graph`` gives; used up.
        contract: Its own, or that of the float graph.

    Returns:
        ``onnx.ModelProto`` with ``frames`` ``float32 [batch, 3 * window, height, width]`` and ``restored``.
    """
    onnx = require("onnx", purpose="convert a model file")
    graph = model.graph
    dims = graph.input[0].type.tensor_type.shape.dim
    sides = [dim.dim_value or dim.dim_param for dim in dims[-3:-1]]
    if isinstance(sides[0], int):
        sides = [max(-(-side // contract.multiple) * contract.multiple, contract.min_size) for side in sides]
    inner = [node for node in graph.node if not node.name.startswith(WRAPPING)]
    del graph.node[:]
    graph.node.extend(inner)
    _rename(graph, {INNER_INPUT: "frames", INNER_OUTPUT: "restored"})
    used = {name for node in inner for name in node.input}
    constants = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(constants)
    del graph.value_info[:]
    del graph.input[:]
    del graph.output[:]
    single, value = onnx.TensorProto.FLOAT, onnx.helper.make_tensor_value_info
    batch = dims[0].dim_value or "batch"
    graph.input.append(value("frames", single, [batch, 3 * contract.window, *sides]))
    given = [contract.scale * side if isinstance(side, int) else f"restored_{side}" for side in sides]
    graph.output.append(value("restored", single, [batch, 3, *given]))
    return model


def _rename(graph: Any, names: dict[str, str]) -> None:
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [names.get(name, name) for name in values]


class _Nodes:
    """Nodes and constants in the making; names start with ``frames.`` before the network, ``picture.`` behind it."""

    def __init__(self, onnx: Any) -> None:
        self.made: list[Any] = []
        self.constants: list[Any] = []
        self._onnx = onnx

    def prepare(self, contract: FrameContract) -> None:
        """From bytes to what the network takes."""
        rows = 2 if contract.window > 1 else 1
        # TensorRT takes bytes at the ends of a graph only: the first node casts them, and so does the last
        floats = self._add("Cast", "frames.float", ["frames"], to=self._onnx.TensorProto.FLOAT)
        self._add("Shape", "frames.size", [floats], start=rows, end=rows + 2)
        if contract.multiple > 1:
            before, after = self._constant("frames.no_pad", [0] * (2 * rows + 3)), self._constant("frames.no_end", [0])
            self._fill(contract.multiple)
            self._add("Concat", "frames.pads", [before, "frames.fill", after], axis=0)
            floats = self._add("Pad", "frames.padded", [floats, "frames.pads"], mode="reflect")
        if contract.window > 1:
            planes = self._add("Transpose", "frames.planes", [floats], perm=[0, 1, 4, 2, 3])
            shape = self._joined_shape(planes, contract)
            planes = self._add("Reshape", "frames.joined", [planes, shape])
        else:
            planes = self._add("Transpose", "frames.planes", [floats], perm=[0, 3, 1, 2])
        if contract.range == "0..255":
            self._add("Identity", INNER_INPUT, [planes])
        else:
            self._add("Mul", INNER_INPUT, [planes, self._constant("frames.unit", np.float32(1 / 255))])

    def _fill(self, multiple: int) -> None:
        """How many rows and columns are missing to the multiple.

        Written so that size and fill add up to a product: from ``Mod`` TensorRT-RTX 1.7 concludes that sizes
        may be negative, and refuses every resize of a free size behind it.
        """
        step = self._constant("frames.multiple", [multiple])
        self._add("Add", "frames.reach", ["frames.size", self._constant("frames.most", [multiple - 1])])
        self._add("Div", "frames.steps", ["frames.reach", step])
        self._add("Mul", "frames.whole", ["frames.steps", step])
        self._add("Sub", "frames.fill", ["frames.whole", "frames.size"])

    def _joined_shape(self, planes: str, contract: FrameContract) -> str:
        """Three frames of three colours become nine channels."""
        self._add("Shape", "frames.sides", [planes], start=3, end=5)
        self._add("Shape", "frames.batch", [planes], start=0, end=1)
        channels = self._constant("frames.channels", [3 * contract.window])
        return self._add("Concat", "frames.shape", ["frames.batch", channels, "frames.sides"], axis=0)

    def finish(self, contract: FrameContract) -> None:
        """From what the network gives to bytes."""
        grey = INNER_OUTPUT
        if contract.range == "0..1":
            grey = self._add("Mul", "picture.grey", [grey, self._constant("picture.peak", np.float32(255))])
        dark, bright = self._constant("picture.dark", np.float32(0)), self._constant("picture.bright", np.float32(255))
        self._add("Clip", "picture.clipped", [grey, dark, bright])
        self._add("Round", "picture.rounded", ["picture.clipped"])
        picture = self._add("Transpose", "picture.whole", ["picture.rounded"], perm=[0, 2, 3, 1])
        if contract.multiple > 1:
            size = "frames.size"
            if contract.scale > 1:
                size = self._add("Mul", "picture.size", [size, self._constant("picture.scale", contract.scale)])
            start, axes = self._constant("picture.start", [0, 0]), self._constant("picture.axes", [1, 2])
            picture = self._add("Slice", "picture.cropped", [picture, start, size, axes])
        self._add("Cast", "picture.bytes", [picture], to=self._onnx.TensorProto.UINT8)
        # the network may have a node of that name, its output has another now
        self.made[-1].output[0] = "restored"

    def _constant(self, name: str, value: Any) -> str:
        array = np.asarray(value, None if isinstance(value, np.floating) else np.int64)
        self.constants.append(self._onnx.numpy_helper.from_array(array, name))
        return name

    def _add(self, operator: str, name: str, inputs: list[str], **attributes: object) -> str:
        node = self._onnx.helper.make_node(operator, inputs, [name], name=f"{WRAPPING}{name}", **attributes)
        self.made.append(node)
        return name
