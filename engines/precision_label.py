"""Truth in label: what the convolutions of an engine really compute in, against what its file says."""

from __future__ import annotations

import math
import re
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.errors import QualityError
from .build_log import EngineLayer

#: names of element types, in ONNX files and in build logs
OF_ONNX = {1: "fp32", 2: "uint8", 3: "int8", 10: "fp16", 16: "bf16", 17: "fp8"}
OF_LOG = {"Float": "fp32", "Half": "fp16", "BFloat16": "bf16", "Int8": "int8", "FP8": "fp8", "UInt8": "uint8"}
#: cheap first; a layer may compute in what was asked for or in something cheaper, never in more
BITS = {"int8": 8, "fp8": 8, "fp16": 16, "bf16": 16, "fp32": 32}
UNKNOWN = "unknown"
#: share of the work that may lose its name: TensorRT-RTX merges small convolutions and turns those of three channels
#: into kernels of other kinds: 0.7 % in EACD in fp16, 3 % in a narrow EDPN in INT8, the most that was seen
MOST_UNKNOWN = 0.05
CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
#: what TensorRT-RTX appends where it splits or renames a node
COUNTER = re.compile(r"_U\d+$")
#: kernels the compiler fuses around a convolution lose its name
FUSED = re.compile(r"^__myl_(Corr|Deco)")


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution of an ONNX file.

    Attributes:
        name: Of its node.
        macs: Multiply-accumulates at the typical size.
        kernel: Shape of its weights.
        dtype: What it computes in, as the file says.
    """

    name: str
    macs: int
    kernel: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class PrecisionLabel:
    """What was built.

    Attributes:
        shares: Share of the multiply-accumulates of convolutions per type.
        dearer: Convolutions that compute in more bits than the file says, with both types.
    """

    shares: Mapping[str, float]
    dearer: tuple[tuple[str, str, str], ...]

    def describe(self) -> str:
        """Such as ``98.2 % fp16, 1.8 % fp32``."""
        return ", ".join(f"{100 * share:.1f} % {dtype}" for dtype, share in self.shares.items())

    def check(self) -> None:
        """Refuse an engine that computes in more bits than its file says, or of which too little is known.

        Raises:
            QualityError: Names the first layers.
        """
        unknown = self.shares.get(UNKNOWN, 0.0)
        if unknown > MOST_UNKNOWN:
            raise QualityError(
                f"what {unknown:.1%} of the convolutions' work computes in cannot be read from what the builder told; "
                "--allow-mixed accepts it"
            )
        if not self.dearer:
            return
        some = ", ".join(f"{name} ({got} for {wanted})" for name, wanted, got in self.dearer[:3])
        more = f" and {len(self.dearer) - 3} more" if len(self.dearer) > 3 else ""
        raise QualityError(
            f"the builder computes {len(self.dearer)} convolutions in more bits than the file says: {some}{more}; "
            f"as built: {self.describe()}; --allow-mixed accepts it"
        )


def convolutions(model: Any, shapes: Mapping[str, Sequence[int]]) -> list[Convolution]:
    """List the convolutions of a graph.

    Args:
        model: ``onnx.ModelProto``, bodies of our operators inlined.
        shapes: Of its values at the typical size, by name.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    found = []
    for node in model.graph.node:
        if node.op_type not in CONVOLUTIONS or node.domain not in ("", "ai.onnx"):
            continue
        kernel = tuple(shapes.get(node.input[1], ()))
        outside = shapes.get(node.output[0] if node.op_type == "Conv" else node.input[0], ())
        macs = math.prod(outside) * math.prod(kernel[1:]) if outside and kernel else 0
        found.append(Convolution(node.name, macs, kernel, _dtype(node, weights, makers)))
    return found


def label(
    layers: Iterable[EngineLayer], wanted: Sequence[Convolution], inspected: Mapping[str, str] | None = None
) -> PrecisionLabel:
    """Find for each convolution of a file the layer that computes it.

    By name where the compiler kept it; kernels that were fused are told apart by their weights, in order.

    Args:
        layers: Of the build log.
        wanted: Of the file.
        inspected: Node -> type, as the engine inspector says.
    """
    named: dict[str, str] = dict(inspected or {})
    fused: dict[tuple[int, ...], deque[str]] = defaultdict(deque)
    for layer in layers:
        dtype = OF_LOG.get(layer.inputs[0].dtype, UNKNOWN) if layer.inputs else UNKNOWN
        if FUSED.match(layer.name):
            fused[_outline(layer.constants[0].shape if layer.constants else ())].append(dtype)
        else:
            named[COUNTER.sub("", layer.name)] = dtype
    return _label(wanted, [_type_of(entry, named, fused) for entry in wanted])


def _type_of(entry: Convolution, named: Mapping[str, str], fused: Mapping[tuple[int, ...], deque[str]]) -> str:
    if entry.name in named:
        return named[entry.name]
    waiting = fused.get(_outline(entry.kernel))
    return waiting.popleft() if waiting else UNKNOWN


def _outline(kernel: Sequence[int]) -> tuple[int, ...]:
    """What stays of a kernel's shape when the compiler fills up its input channels."""
    return (*kernel[:1], *kernel[2:])


def _label(wanted: Sequence[Convolution], got: Sequence[str]) -> PrecisionLabel:
    macs: dict[str, int] = defaultdict(int)
    for entry, dtype in zip(wanted, got, strict=True):
        macs[dtype] += entry.macs
    total = sum(macs.values()) or 1
    shares = {dtype: count / total for dtype, count in sorted(macs.items(), key=lambda item: -item[1]) if count}
    dearer = tuple(
        (entry.name, entry.dtype, dtype)
        for entry, dtype in zip(wanted, got, strict=True)
        if BITS.get(dtype, 0) > BITS.get(entry.dtype, 32)
    )
    return PrecisionLabel(shares, dearer)


def _dtype(node: Any, weights: Mapping[str, Any], makers: Mapping[str, Any]) -> str:
    """What a convolution computes in: the type of its weights; 8 bits only where what it takes has them too."""
    name = node.input[1]
    taken = makers.get(node.input[0])
    has_low_input = taken is not None and taken.op_type == "DequantizeLinear"
    while name in makers:
        maker = makers[name]
        if maker.op_type == "DequantizeLinear" and not has_low_input:
            # weights alone are stored in 8 bits: unpacked to the type of their scales
            name = maker.input[1]
            continue
        if maker.op_type == "Cast":
            return OF_ONNX.get(next(entry.i for entry in maker.attribute if entry.name == "to"), UNKNOWN)
        name = maker.input[0] if maker.input else ""
    tensor = weights.get(name)
    if tensor is None:
        return UNKNOWN
    return OF_ONNX.get(tensor.data_type, UNKNOWN)
