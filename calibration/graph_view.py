"""A graph with its makers, takers and weights at hand, and what lies before or behind its products."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from ..core.optional import require
from ..core.tensors import Array

#: operators of multiply-accumulates
PRODUCTS = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm", "ModulatedDeformConv"})
#: operators that move values and change none
MOVES = frozenset(
    [
        *("Concat", "DepthToSpace", "Flatten", "Identity", "MaxPool", "Reshape", "Slice", "SpaceToDepth", "Split"),
        *("Squeeze", "Transpose", "Unsqueeze"),
    ]
)
STANDARD = ("", "ai.onnx")


class GraphView:
    """Read-only look at ``onnx.ModelProto``; a node is known by its name, every node has one.

    Args:
        model: Names of its nodes are filled in where they are missing or not unique.
    """

    def __init__(self, model: Any) -> None:
        self._onnx = require("onnx", purpose="quantise a graph")
        self.model = model
        name_nodes(model)
        self.nodes: list[Any] = list(model.graph.node)
        self.weights: dict[str, Any] = {tensor.name: tensor for tensor in model.graph.initializer}
        self.by_name = {node.name: node for node in self.nodes}
        self.maker = {name: node for node in self.nodes for name in node.output if name}
        self.takers: Mapping[str, list[Any]] = self._takers()
        self.results = {value.name for value in model.graph.output}

    def _takers(self) -> dict[str, list[Any]]:
        takers: dict[str, list[Any]] = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                if name and all(other is not node for other in takers[name]):
                    takers[name].append(node)
        return takers

    def array(self, name: str) -> Array:
        """Values of a weight."""
        values: Array = self._onnx.numpy_helper.to_array(self.weights[name])
        return values

    def attributes(self, node: Any) -> dict[str, Any]:
        """Attributes of a node, as Python has them."""
        return {entry.name: self._onnx.helper.get_attribute_value(entry) for entry in node.attribute}

    def only_taker(self, name: str) -> Any | None:
        """The one node that takes a value; None where there are several, none, or it is a result too."""
        takers = self.takers.get(name, [])
        return takers[0] if len(takers) == 1 and name not in self.results else None

    def sources(self, node: Any) -> list[str]:
        """Inputs of a node that are no weights."""
        return [name for name in node.input if name and name not in self.weights]

    @cached_property
    def behind_products(self) -> set[str]:
        """Values that a product has a part in."""
        found: set[str] = set()
        for node in self.nodes:
            if node.op_type in PRODUCTS or any(name in found for name in node.input):
                found.update(name for name in node.output if name)
        return found

    @cached_property
    def before_products(self) -> set[str]:
        """Values that have a part in a product."""
        found: set[str] = set()
        for node in reversed(self.nodes):
            if node.op_type in PRODUCTS or any(name in found for name in node.output):
                found.update(name for name in node.input if name)
        return found

    def is_first(self, node: Any) -> bool:
        """Whether no product stands before it."""
        return not any(name in self.behind_products for name in self.sources(node)[:1])

    def is_last(self, node: Any) -> bool:
        """Whether no product stands behind it."""
        return not any(name in self.before_products for name in node.output)

    def origin(self, name: str) -> Any | None:
        """Node that computes a value, looking through those that only move it; None: an input or weight."""
        node = self.maker.get(name)
        while node is not None and node.op_type in MOVES and node.op_type != "Concat":
            node = self.maker.get(node.input[0])
        return node


def name_nodes(model: Any) -> None:
    """Give every node a name of its own; those that have one keep it."""
    seen: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in seen:
            base = node.name or next(filter(None, node.output), "") or f"node{index}"
            node.name = _free(base, seen)
        seen.add(node.name)


def _free(base: str, seen: Iterable[str]) -> str:
    name, number = base, 1
    while name in seen:
        name, number = f"{base}.{number}", number + 1
    return name
