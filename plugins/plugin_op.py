"""What every operator of our own says of itself, and the names all of them share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ..core.errors import ContractError
from ..core.tensors import Array

#: ONNX domain, and TensorRT's namespace, of every operator
DOMAIN = "deblurrt"
#: version of the domain in ONNX files, and TensorRT's plugin version
DOMAIN_VERSION = 1
PLUGIN_VERSION = "1"
#: opset of the standard operators in bodies; newer ones have all of them unchanged
BODY_OPSET = 20
#: what a body of standard operators calls the result
RESULT = "y"
#: TensorRT takes a plugin of its own rather than a body only where nodes carry these
PLUGIN_MARKS = {"plugin_namespace": DOMAIN, "plugin_version": PLUGIN_VERSION}

#: ``portable`` uses nothing TensorRT and OpenVINO lack, ``onnxruntime`` what ONNX Runtime is quickest with
Lowering = Literal["portable", "onnxruntime"]
LOWERINGS: tuple[str, ...] = get_args(Lowering)

#: a number where it is known, a name or None where it is not
Dim = int | str | None
Shape = tuple[Dim, ...]
Attributes = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Attribute:
    """A setting of an operator: a whole number or a list of them.

    Attributes:
        length: How many numbers the list has; None for a single number.
        default: What holds where a node does not say; None where every node must.
    """

    length: int | None = None
    default: int | tuple[int, ...] | None = None

    def fits(self, value: object) -> bool:
        """Whether ``value`` is a whole number, or a list of the right length."""
        if self.length is None:
            return isinstance(value, int)
        numbers = value if isinstance(value, (list, tuple)) else ()
        return len(numbers) == self.length and all(isinstance(number, int) for number in numbers)

    def describe(self) -> str:
        """Say what is expected, for errors."""
        return "a whole number" if self.length is None else f"{self.length} whole numbers"


@dataclass(frozen=True, slots=True)
class Example:
    """A use of an operator; with numbers drawn for the inputs it tests and times every form of it.

    Attributes:
        shapes: Of the inputs.
        attributes: Settings; those with a default may be missing.
    """

    shapes: tuple[tuple[int, ...], ...]
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class PluginOp:
    """An operator of the domain ``deblurrt``: any number of inputs of one float type, one output of that type.

    Attributes:
        name: Type of its nodes.
        doc: What it computes, for the schema.
        attributes: The settings, without the marks every node carries.
        inputs: Names, in order.
        defaults: Name of an input that may be left out, the last ones only -> nodes of standard
            operators, in ONNX's text form, that compute from the other inputs what stands for it.
            TensorRT's parser wants every input of a body connected.
        output_shape: From the shapes of the inputs and the attributes to that of the output, as far
            as they are known; raises ContractError where they do not fit each other.
        reference: The operator in NumPy, in ``float64``, written for clarity; takes the inputs, then
            the attributes by name.
        bodies: Name of a lowering -> nodes of standard operators, in ONNX's text form, from the
            inputs to ``RESULT``; settings are read as ``@name``. ``portable`` is always there.
        examples: Small uses that differ; one of them leaves out what may be left out.
    """

    name: str
    doc: str
    attributes: Mapping[str, Attribute]
    inputs: tuple[str, ...]
    defaults: Mapping[str, str]
    output_shape: Callable[[Sequence[Shape], Attributes], Shape]
    reference: Callable[..., Array]
    bodies: Mapping[str, str]
    examples: tuple[Example, ...]

    def complete(self, attributes: Attributes) -> dict[str, Any]:
        """Add defaults and marks to the attributes of a node.

        Raises:
            ContractError: One is missing, unknown, or of another kind.
        """
        known = {**self.attributes, **dict.fromkeys(PLUGIN_MARKS)}
        if unknown := sorted(set(attributes) - set(known)):
            raise ContractError(f"{self.name} has no attributes {unknown}, only {sorted(known)}")
        completed: dict[str, Any] = {}
        for name, attribute in self.attributes.items():
            value = attributes.get(name, attribute.default)
            if not attribute.fits(value):
                raise ContractError(f"{name} of {self.name} is {value!r}, expected {attribute.describe()}")
            completed[name] = list(value) if isinstance(value, tuple) else value
        return completed | PLUGIN_MARKS
