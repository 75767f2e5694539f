"""Transposed convolutions written as plain ones: exactly the same sums, in a form that every runtime has in 8 bits.

One of stride 1 is a convolution with turned weights. One of stride 2 gives four pictures, one for each place modulo 2,
that a pixel shuffle joins; what the transposed one would have cut off at the edges is cut off behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.optional import require
from ..core.tensors import Array

#: domain of standard operators
STANDARD = ("", "ai.onnx")
#: a kernel the stride does not divide is filled up with zeros; 8 bits make up for this many times the products
MOST_PRODUCTS = 2.0
#: what names of new nodes and values end in
TURNED, PLACES, JOINED, CUT = "/turned", "/places", "/joined", "/cut"

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Form:
    """How a transposed convolution becomes a plain one.

    Attributes:
        stride: Of both axes.
        kernel: Of the plain convolution.
        begin: Zeros around its input, top and left.
        end: Likewise, bottom and right.
        crop_begin: Rows and columns that are cut off behind the shuffle, top and left.
        crop_end: Likewise, bottom and right.
        dilation: Of both axes.
        group: As it was.
    """

    stride: int
    kernel: Pair
    begin: Pair
    end: Pair
    crop_begin: Pair
    crop_end: Pair
    dilation: Pair
    group: int


def forward_convolutions(model: Any, most_stride: int | None = None) -> Any:
    """Write transposed convolutions as plain ones, named as before.

    Left as they are: those with computed weights, with strides that differ, with groups or gaps beside a stride, with
    more padding than kernel, and those that would take more than ``MOST_PRODUCTS`` times the products.

    Args:
        model: ``onnx.ModelProto``; changed in place.
        most_stride: Largest stride that is rewritten; None: any.
    """
    known = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes: list[Any] = []
    weights: list[Any] = []
    for node in model.graph.node:
        form = _form(node, known) if node.op_type == "ConvTranspose" and node.domain in STANDARD else None
        if form is None or (most_stride is not None and form.stride > most_stride):
            nodes.append(node)
            continue
        writing = _Writing(node, form, known)
        nodes += writing.nodes()
        weights += writing.weights
    if weights:
        _replace(model, nodes, weights)
    return model


def _form(node: Any, known: Mapping[str, Any]) -> _Form | None:
    """Read a node; None where it is left as it is."""
    helper = require("onnx", purpose="rewrite a graph").helper
    attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    if any(name and name not in known for name in node.input[1:]) or len(known[node.input[1]].dims) != 4:
        return None
    if attributes.get("auto_pad", b"NOTSET") != b"NOTSET" or "output_shape" in attributes:
        return None
    kernel = tuple(known[node.input[1]].dims)[2:]
    strides, dilations = attributes.get("strides", [1, 1]), attributes.get("dilations", [1, 1])
    group, stride = attributes.get("group", 1), strides[0]
    is_plain = group == 1 and list(dilations) == [1, 1]
    if strides[0] != strides[1] or (stride > 1 and not is_plain):
        return None
    pads, more = attributes.get("pads", [0] * 4), attributes.get("output_padding", [0, 0])
    taps = tuple(-(-side // stride) for side in kernel)
    reach = [dilation * (tap - 1) for dilation, tap in zip(dilations, taps, strict=True)]
    # rows behind the last product: what the kernel was filled up by, and what the node asks to be cut off
    behind = [stride * taps[axis] - kernel[axis] + pads[2 + axis] - more[axis] for axis in (0, 1)]
    begin, end = (_less(reach, pads[:2], stride), _less(reach, behind, stride))
    if min(*begin, *end) < 0 or stride**2 * taps[0] * taps[1] > MOST_PRODUCTS * kernel[0] * kernel[1]:
        return None
    crops = [(cut[0] % stride, cut[1] % stride) for cut in (pads[:2], behind)]
    return _Form(stride, (taps[0], taps[1]), begin, end, crops[0], crops[1], (dilations[0], dilations[1]), group)


def _less(reach: list[int], cut: list[int], stride: int) -> Pair:
    """Zeros around the input: whole steps of what is cut off need not be computed at all."""
    return reach[0] - cut[0] // stride, reach[1] - cut[1] // stride


class _Writing:
    """The nodes of one transposed convolution.

    Attributes:
        weights: New constants.
    """

    def __init__(self, node: Any, form: _Form, known: Mapping[str, Any]) -> None:
        self._onnx = require("onnx", purpose="rewrite a graph")
        self._node, self._form, self._known = node, form, known
        self.weights: list[Any] = []

    def nodes(self) -> list[Any]:
        """Write the convolution and what joins its places."""
        form, result = self._form, self._node.output[0]
        is_cut = any((*form.crop_begin, *form.crop_end))
        names = [result] if form.stride == 1 else [result + PLACES, *([result + JOINED] if is_cut else []), result]
        return list(self._written(names))

    def _written(self, names: list[str]) -> Iterator[Any]:
        form, node, result = self._form, self._node, self._node.output[0]
        kernel = turned(self._array(node.input[1]), form.stride, form.group)
        taken = [node.input[0], self._constant(result + TURNED, kernel)]
        if len(node.input) > 2 and node.input[2]:
            bias = np.tile(self._array(node.input[2]), form.stride**2)
            taken.append(self._constant(f"{result}{TURNED}_bias", bias))
        rest: dict[str, Any] = {"group": form.group} if form.group != 1 else {}
        if form.dilation != (1, 1):
            rest["dilations"] = list(form.dilation)
        pads = [*form.begin, *form.end]
        yield self._made("Conv", taken, names[0], node.name, kernel_shape=list(form.kernel), pads=pads, **rest)
        if form.stride > 1:
            joined = names[1]
            yield self._made("DepthToSpace", names[:1], joined, result + JOINED, blocksize=form.stride, mode="DCR")
        if len(names) > 2:
            yield self._made("Slice", [joined, *self._bounds()], names[2], result + CUT)

    def _bounds(self) -> list[str]:
        """Constants of a slice along height and width."""
        last = np.iinfo(np.int64).max
        ends = [-cut if cut else last for cut in self._form.crop_end]
        values = {"begin": list(self._form.crop_begin), "end": ends, "axes": [2, 3]}
        return [self._constant(f"{self._node.output[0]}{CUT}/{key}", np.array(entry)) for key, entry in values.items()]

    def _array(self, name: str) -> Array:
        values: Array = self._onnx.numpy_helper.to_array(self._known[name])
        return values

    def _made(self, operator: str, taken: list[str], given: str, name: str, **attributes: Any) -> Any:
        node = self._onnx.helper.make_node(operator, taken, [given], name=name, **attributes)
        node.metadata_props.extend(self._node.metadata_props)
        return node

    def _constant(self, name: str, values: Array) -> str:
        self.weights.append(self._onnx.numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name


def turned(weights: Array, stride: int, group: int = 1) -> Array:
    """Weights of the plain convolution.

    Args:
        weights: Of the transposed one, ``[taken, given / group, height, width]``.
        stride: Of both axes.
        group: 1 beside a stride.

    Returns:
        ``[stride * stride * given, taken / group, …]``: the places of one row of the result first, and for each all
        its channels, as a pixel shuffle in depth-column-row order takes them.
    """
    taken, given, *sides = weights.shape
    taps = [-(-side // stride) for side in sides]
    filled = np.zeros((taken, given, taps[0] * stride, taps[1] * stride), weights.dtype)
    filled[:, :, : sides[0], : sides[1]] = weights
    # place r of the result sums tap stride * t + r over the input t steps before it
    parts = filled.reshape(group, taken // group, given, taps[0], stride, taps[1], stride)[:, :, :, ::-1, :, ::-1]
    ordered: Array = parts.transpose(4, 6, 0, 2, 1, 3, 5).reshape(-1, taken // group, *taps)
    return ordered


def _replace(model: Any, nodes: list[Any], weights: list[Any]) -> None:
    """Put in new nodes, and weights instead of those nobody takes any more."""
    graph = model.graph
    used = {name for node in nodes for name in node.input} | {value.name for value in graph.output}
    kept = [tensor for tensor in (*graph.initializer, *weights) if tensor.name in used]
    kept = [type(tensor).FromString(tensor.SerializeToString()) for tensor in kept]
    nodes = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)
