"""Calls of the kernels as C structures (``csrc/kernels.h``), made from shapes and attributes."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .ops import plugin_op
from .plugin_op import Attributes

Shapes = Sequence[tuple[int, ...]]

#: codes of ``csrc/kernels.h``; those above 0 are CUDA's
OK, BAD_SHAPE, BAD_TYPE, SMALL_WORKSPACE = 0, -1, -2, -3
#: NumPy name of an element type -> its number in the interface
TYPES = {"float32": 0, "float16": 1}
_PAIR = ctypes.c_int32 * 2


class DeformConvCall(ctypes.Structure):
    """``DeblurrtDeformConv``."""

    _fields_: ClassVar = [
        *((name, ctypes.c_int32) for name in ("type", "batch", "in_channels", "height", "width")),
        *((name, ctypes.c_int32) for name in ("out_channels", "out_height", "out_width")),
        *((name, _PAIR) for name in ("kernel", "stride", "pad", "dilation")),
        *((name, ctypes.c_int32) for name in ("groups", "offset_groups")),
    ]


class LocalAvgPoolCall(ctypes.Structure):
    """``DeblurrtLocalAvgPool``."""

    _fields_: ClassVar = [
        *((name, ctypes.c_int32) for name in ("type", "maps", "height", "width")),
        ("window", _PAIR),
    ]


Call = DeformConvCall | LocalAvgPoolCall


def _deform_conv(type_: int, shapes: Shapes, attributes: Attributes) -> DeformConvCall:
    (batch, channels, height, width), offset, _, weight = shapes[:4]
    pairs = (weight[2:], attributes["strides"], attributes["pads"], attributes["dilations"])
    groups = (attributes["groups"], attributes["offset_groups"])
    sides = (batch, channels, height, width, weight[0], *offset[2:])
    return DeformConvCall(type_, *sides, *(_PAIR(*pair) for pair in pairs), *groups)


def _local_avg_pool(type_: int, shapes: Shapes, attributes: Attributes) -> LocalAvgPoolCall:
    ((batch, channels, height, width),) = shapes
    return LocalAvgPoolCall(type_, batch * channels, height, width, _PAIR(*attributes["window"]))


@dataclass(frozen=True, slots=True)
class KernelSymbol:
    """How an operator is called in C.

    Attributes:
        name: Of the function; ``NAME_workspace`` tells how much memory it works with.
        call: Its first argument, from the element type, the shapes of the inputs and all attributes.
        inputs: How many tensors it reads; those that are left out are null.
    """

    name: str
    call: Callable[[int, Shapes, Attributes], Call]
    inputs: int


#: type of a node -> its function
KERNELS: dict[str, KernelSymbol] = {
    "LocalAvgPool": KernelSymbol("deblurrt_local_avg_pool", _local_avg_pool, 1),
    "ModulatedDeformConv": KernelSymbol("deblurrt_deform_conv", _deform_conv, 5),
}


@dataclass(frozen=True, slots=True)
class KernelCall:
    """A call without its pointers.

    Attributes:
        op: Type of the node.
        structure: First argument of the function.
        dtype: Of all tensors.
        output_shape: Of the result.
    """

    op: str
    structure: Call
    dtype: np.dtype[np.floating]
    output_shape: tuple[int, ...]


def kernel_call(op: str, dtype: np.dtype[np.floating], shapes: Shapes, attributes: Attributes) -> KernelCall:
    """Describe a call.

    Args:
        op: Type of the node.
        dtype: ``float32`` or ``float16``.
        shapes: Of the inputs.
        attributes: Settings; those with a default may be missing.

    Raises:
        ContractError: Shapes and attributes do not fit each other.
    """
    definition = plugin_op(op)
    complete = definition.complete(attributes)
    shape = definition.output_shape(shapes, complete)
    output_shape = tuple(int(side) for side in shape if side is not None)
    return KernelCall(op, KERNELS[op].call(TYPES[dtype.name], shapes, complete), dtype, output_shape)
