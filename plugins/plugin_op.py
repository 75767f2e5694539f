"""What every operator of our own says of itself, and the table of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.tensors import Array

#: ONNX domain, and TensorRT's namespace, of every operator
DOMAIN = "deblurrt"
#: version of the domain in ONNX files, and TensorRT's plugin version
DOMAIN_VERSION = 1
PLUGIN_VERSION = "1"
#: opset of the standard operators in bodies
BODY_OPSET = 20

Shape = tuple[int, ...]
Attributes = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PluginOp:
    """An operator of the domain ``deblurrt``.

    Attributes:
        name: Type of its nodes.
        attributes: Name of each attribute -> its default; lists are of whole numbers.
        inputs: Names, in order; the last ones may be optional as ``optional_inputs`` says.
        optional_inputs: How many of the last inputs may be left out.
        output_shape: From the shapes of the inputs and the attributes to that of the output.
        reference: The operator in NumPy, in ``float64``, written for clarity; takes the inputs, then
            the attributes by name.
        bodies: Name of a lowering -> function that gives its ``onnx.FunctionProto``; ``portable`` is
            always there and uses nothing that TensorRT does not import.
    """

    name: str
    attributes: Attributes
    inputs: tuple[str, ...]
    optional_inputs: int
    output_shape: Callable[[Sequence[Shape], Attributes], Shape]
    reference: Callable[..., Array]
    bodies: Mapping[str, Callable[[], Any]]
