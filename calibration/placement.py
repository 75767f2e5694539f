"""Where quantise and dequantise nodes stand: which values and which takers of them, and who shares a scale."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from .graph_view import MOVES, GraphView
from .quantize_config import QuantizeConfig
from .sites import Site

#: place of an input of a node: name of the node and number of the input
Edge = tuple[str, int]
#: activations ONNX Runtime computes within the convolution before them
TAKEN_IN = ("Relu",)


@dataclass(frozen=True, slots=True)
class Placement:
    """What is quantised.

    Attributes:
        products: Names of convolutions whose weights are.
        edges: Inputs that take a dequantised value.
        groups: Values that share one scale, the groups apart from one another; every quantised value is in one.
    """

    products: tuple[str, ...]
    edges: tuple[Edge, ...]
    groups: tuple[tuple[str, ...], ...]

    @property
    def values(self) -> list[str]:
        """Names of all quantised values."""
        return [name for group in self.groups for name in group]


def place(view: GraphView, sites: Sequence[Site], chosen: Collection[str], config: QuantizeConfig) -> Placement:
    """Place nodes around chosen sites.

    Args:
        view: Of the float graph.
        sites: All there are.
        chosen: Names of the nodes that are quantised; a skip branch is only where the convolution beside it is.
        config: Decides the style.
    """
    products = [site for site in sites if site.kind == "product" and site.name in chosen]
    names = {site.name for site in products}
    if config.format == "w8a16":
        return Placement(tuple(names_of(products)), (), ())
    skips = [site for site in sites if site.kind == "skip" and site.name in chosen and site.partner in names]
    edges: list[Edge] = [(site.name, 0) for site in products]
    edges += [(site.name, list(view.by_name[site.name].input).index(site.value)) for site in skips]
    if config.quantizes_results:
        edges = _whole_values(view, products, skips)
    values = list(dict.fromkeys(view.by_name[name].input[place] for name, place in edges))
    return Placement(tuple(names_of(products)), tuple(edges), _groups(view, values))


def names_of(sites: Sequence[Site]) -> list[str]:
    """Names of the nodes."""
    return [site.name for site in sites]


def _whole_values(view: GraphView, products: Sequence[Site], skips: Sequence[Site]) -> list[Edge]:
    """Quantise what chosen convolutions take and give, for every taker, as ONNX Runtime needs to stay in 8 bits."""
    values: dict[str, None] = {}
    for site in products:
        node = view.by_name[site.name]
        values[node.input[0]] = None
        values[result_of(view, node)] = None
    for site in skips:
        values.update(dict.fromkeys(view.by_name[site.name].input))
    for node in reversed(view.nodes):
        if node.op_type == "Concat" and node.output[0] in values:
            values.update(dict.fromkeys(view.sources(node)))
    chosen = {site.name for site in products}
    return [
        (node.name, place)
        for node in view.nodes
        for place, name in enumerate(node.input)
        # the picture itself goes to the global skip as it is
        if name in values and (name in view.behind_products or node.name in chosen)
    ]


def result_of(view: GraphView, node: Any) -> str:
    """Value behind a convolution and the activation that is computed within it."""
    taker = view.only_taker(node.output[0])
    name: str = taker.output[0] if taker is not None and taker.op_type in TAKEN_IN else node.output[0]
    return name


def _groups(view: GraphView, values: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Put together what a concatenation or a move joins: it is free in 8 bits where both ends have one scale."""
    parent = {name: name for name in values}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for name in values:
        for source in _moved_from(view, name):
            if source in parent:
                parent[root(source)] = root(name)
    groups: dict[str, list[str]] = {}
    for name in values:
        groups.setdefault(root(name), []).append(name)
    return tuple(map(tuple, groups.values()))


def _moved_from(view: GraphView, name: str) -> list[str]:
    """Values that reach this one through concatenations and moves alone."""
    node = view.maker.get(name)
    if node is None or node.op_type not in MOVES:
        return []
    taken = view.sources(node) if node.op_type == "Concat" else [node.input[0]]
    return [source for near in taken for source in (near, *_moved_from(view, near))]
