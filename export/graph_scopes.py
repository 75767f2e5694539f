"""Which module of the network each node of a traced graph came from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, groupby, takewhile
from typing import Any

from ..core.module_paths import scopes_of

#: paths of the modules a node lies in, outermost first; the network itself is the empty path
Scopes = tuple[str, ...]
NETWORK: Scopes = ("",)


class ScopedGraph:
    """A graph with its nodes' modules, read from what ``torch.onnx.export(dynamo=True)`` writes.

    A node without scopes, which a later pass put there, counts to the modules that the nodes before
    and after it share.

    Args:
        model: ``onnx.ModelProto``; not changed.

    Attributes:
        input: Name of the first input.
        outputs: Names of the outputs.
        producers: Tensor -> the node that gives it, in the order of the graph.
    """

    def __init__(self, model: Any) -> None:
        graph = model.graph
        constants = {tensor.name for tensor in graph.initializer}
        self.input: str = next((value.name for value in graph.input if value.name not in constants), "")
        self.outputs: tuple[str, ...] = tuple(value.name for value in graph.output)
        self._nodes = list(graph.node)
        self._indices = {tensor: index for index, node in enumerate(self._nodes) for tensor in node.output if tensor}
        self.producers = {tensor: self._nodes[index] for tensor, index in self._indices.items()}
        self._scopes = _filled([scopes_of(node) or None for node in self._nodes])
        self._readers: dict[str, set[int]] = {}
        for index, node in enumerate(self._nodes):
            for tensor in _read_by(node):
                self._readers.setdefault(tensor, set()).add(index)

    def module_of(self, tensor: str) -> str:
        """Path of the innermost module that gives ``tensor``."""
        return self._scopes[self._indices[tensor]][-1]

    def given_by(self, names: Sequence[str], call: int, calls: int) -> list[str]:
        """Tensors that one call of a module gives to the rest of the graph, in order.

        Args:
            names: Every path of the module.
            call: Which call, from 1.
            calls: How often the module is called; empty where the graph does not show so many.
        """
        parts = self._calls(frozenset(names), calls)
        inside = set(parts[call - 1]) if len(parts) == calls else set()
        return [
            tensor
            for index in sorted(inside)
            for tensor in self._nodes[index].output
            if tensor and (tensor in self.outputs or self._readers.get(tensor, set()) - inside)
        ]

    def behind(self, tensors: Iterable[str], ends: set[str]) -> set[str]:
        """Every tensor that ``tensors`` are made of, themselves included, up to but without ``ends``."""
        waiting, met = list(tensors), set[str]()
        while waiting:
            tensor = waiting.pop()
            if tensor in self.producers and tensor not in met and tensor not in ends:
                met.add(tensor)
                waiting += _read_by(self.producers[tensor])
        return met

    def name_of(self, names: Sequence[str], tensor: str) -> str:
        """Which of a module's paths it was called by to give ``tensor``; the first where that is not said."""
        scopes = self._scopes[self._indices[tensor]]
        return next((name for name in names if name in scopes), names[0])

    def _calls(self, names: frozenset[str], calls: int) -> list[list[int]]:
        """Split the nodes of a module into its calls."""
        inside = [index for index, scopes in enumerate(self._scopes) if not names.isdisjoint(scopes)]
        if calls == 1:
            return [inside]
        length = len(inside) // calls
        parts = [inside[start : start + length] for start in range(0, calls * length, length or 1)]
        kinds = {tuple(self._nodes[index].op_type for index in part) for part in parts}
        if len(kinds) == 1 and length * calls == len(inside):
            return parts
        # calls may differ in what the tracer could fold; then others' nodes have to stand between them
        runs = groupby(enumerate(inside), key=lambda place: place[1] - place[0])
        return [[index for _, index in run] for _, run in runs]


def _filled(scopes: Sequence[Scopes | None]) -> list[Scopes]:
    """Put the modules that the neighbours share where a node says nothing."""
    before = list(accumulate(scopes, _latest))
    after = list(accumulate(reversed(scopes), _latest))[::-1]
    return [own or _shared(last, following) for own, last, following in zip(scopes, before, after, strict=True)]


def _latest(seen: Scopes | None, scopes: Scopes | None) -> Scopes | None:
    return scopes or seen


def _shared(before: Scopes | None, after: Scopes | None) -> Scopes:
    pairs = zip(before or NETWORK, after or NETWORK, strict=False)
    return tuple(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)) or NETWORK


def _read_by(node: Any) -> Iterator[str]:
    """Tensors a node reads, those its inner graphs take from outside included."""
    yield from filter(None, node.input)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from _read_by(inner)
