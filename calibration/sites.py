"""What of a graph can be computed in 8 bits, what is by default, and why or why not."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ..core.errors import UsageError
from ..core.module_paths import module_of
from ..core.optional import require
from ..plugins.plugin_op import DOMAIN
from .graph_view import STANDARD, GraphView
from .quantize_config import QuantizeConfig
from .seen_costs import macs_of

#: maps of this many places or fewer are vectors of a channel attention: nothing to gain, and easily spoilt
VECTOR_PLACES = 1

Kind = Literal["product", "skip"]


@dataclass(frozen=True, slots=True)
class Site:
    """One decision: a product of weights, or the skip branch of an addition.

    Attributes:
        name: Of its node.
        kind: ``product`` quantises input and weights of a convolution; ``skip`` the skip branch of an addition.
        operator: Of its node.
        module: Of the network, empty where the file does not say.
        value: What is quantised beside weights.
        macs: Multiply-accumulates at the size of a calibration crop; 0 for a skip branch.
        is_able: Whether it can be quantised at all.
        is_chosen: Whether it is by default.
        reason: Why it is, or is not.
        is_worth: Whether 8 bits can make it faster there; a search for the budget looks at no others.
        partner: Of a skip branch: the convolution that takes the sum in.
        values: How many values pass a skip branch, which need not be moved as floats.
    """

    name: str
    kind: Kind
    operator: str
    module: str
    value: str
    macs: int
    is_able: bool
    is_chosen: bool
    reason: str
    is_worth: bool = True
    partner: str = ""
    values: int = 0

    def kept(self, reason: str) -> Site:
        """Leave it in float."""
        return replace(self, is_chosen=False, reason=reason)


Shapes = Mapping[str, Sequence[int]]


def find_sites(view: GraphView, shapes: Shapes, config: QuantizeConfig) -> list[Site]:
    """Go through a graph and decide.

    Args:
        view: Of a float graph.
        shapes: Of its values, as seen on a calibration crop.
        config: Target and wishes.

    Raises:
        UsageError: ``--only`` or ``--exclude`` is no pattern, or matches nothing.
    """
    patterns = _patterns(config)
    products = [_product(view, node, shapes, config) for node in view.nodes if _is_product(node)]
    products = _as_wished(products, patterns)
    able = {site.name for site in products if site.is_able}
    skips = [] if config.format == "w8a16" else _as_wished(list(_skips(view, shapes, able)), patterns)
    _check_matches([*products, *skips], patterns)
    chosen = {site.name for site in products if site.is_chosen}
    return products + [_beside(site, chosen) for site in skips]


def _beside(site: Site, chosen: set[str]) -> Site:
    """Leave a skip branch float where the convolution beside it is."""
    if site.is_chosen and site.partner not in chosen:
        return site.kept(f"the convolution {site.partner} beside it is not quantised")
    return site


def _is_product(node: Any) -> bool:
    return (node.domain in STANDARD and node.op_type in ("Conv", "ConvTranspose", "MatMul", "Gemm")) or (
        node.domain == DOMAIN and node.op_type == "ModulatedDeformConv"
    )


def _product(view: GraphView, node: Any, shapes: Shapes, config: QuantizeConfig) -> Site:
    macs = macs_of(node, shapes, view.weights)
    site = Site(node.name, "product", node.op_type, module_of(node), node.input[0], macs, True, True, "")
    unable = _why_unable(view, node)
    if unable:
        return replace(site, is_able=False, is_chosen=False, reason=unable)
    unwanted = _why_unworthy(node, shapes, config)
    if unwanted:
        return replace(site.kept(unwanted), is_worth=False)
    unwanted = _why_unwanted(view, node, config)
    return site.kept(unwanted) if unwanted else replace(site, reason="a convolution of maps")


def _why_unable(view: GraphView, node: Any) -> str | None:
    """Why 8 bits are out of the question."""
    if node.domain == DOMAIN:
        return "an operator of our own, computed as its body says"
    if node.op_type in ("MatMul", "Gemm"):
        return "a product of matrices: its result decides where to look, or is a vector"
    weight = view.weights.get(node.input[1])
    if weight is None:
        return "its weights are computed"
    if weight.data_type != require("onnx", purpose="quantise a graph").TensorProto.FLOAT:
        return "its weights are not float32"
    if len(weight.dims) != 4:
        return "no convolution of maps"
    is_grouped = node.op_type == "ConvTranspose" and view.attributes(node).get("group", 1) != 1
    return "a transposed convolution of groups" if is_grouped else None


def _why_unworthy(node: Any, shapes: Shapes, config: QuantizeConfig) -> str | None:
    """Why 8 bits would gain nothing."""
    places = 1
    for side in shapes.get(node.output[0], (0, 0, 0))[2:]:
        places *= side
    if places <= VECTOR_PLACES:
        return "works on a vector, as channel attention does: nothing to gain"
    if node.op_type == "ConvTranspose" and config.target != "openvino":
        return "a transposed convolution with no cheap plain form, which 8 bits make no faster there"
    return None


def _why_unwanted(view: GraphView, node: Any, config: QuantizeConfig) -> str | None:
    """Why it stays float by default; the budget search may still take it."""
    if not config.with_ends and view.is_first(node):
        return "the first layer: it sees the frame itself"
    if not config.with_ends and view.is_last(node):
        return "the last layer: its error is the picture's"
    return None


def _skips(view: GraphView, shapes: Shapes, able: set[str]) -> Iterator[Site]:
    """Additions whose convolution branch is fused; their other branch is quantised."""
    for node in view.nodes:
        sources = view.sources(node)
        if node.op_type != "Add" or node.domain not in STANDARD or len(sources) != 2:
            continue
        branches = [name for name in sources if _is_fused(view, name, able)]
        if not any(name in view.behind_products for name in sources) or not _same(shapes, sources):
            continue
        skip = next((name for name in sources if name not in branches[:1]), sources[0])
        site = Site(node.name, "skip", "Add", module_of(node), skip, 0, True, True, "")
        if skip not in view.behind_products:
            yield replace(
                site, is_able=False, is_chosen=False, reason="the global skip: the picture itself passes here"
            )
        elif all(name not in view.before_products for name in node.output):
            yield replace(site, is_able=False, is_chosen=False, reason="behind the last layer: its sum is the picture")
        elif not branches:
            yield replace(
                site, is_able=False, is_chosen=False, reason="no branch is a convolution in 8 bits to fuse with"
            )
        else:
            partner = view.maker[branches[0]].name
            values = math.prod(shapes[skip])
            yield replace(site, reason=f"{partner} takes the sum in", partner=partner, values=values)


def _is_fused(view: GraphView, name: str, able: set[str]) -> bool:
    """Whether a value is the result of a convolution that only this addition takes."""
    maker = view.maker.get(name)
    return maker is not None and maker.name in able and maker.op_type == "Conv" and view.only_taker(name) is not None


def _same(shapes: Shapes, names: Sequence[str]) -> bool:
    first, second = (tuple(shapes.get(name, ())) for name in names)
    return first == second and len(first) == 4


def _patterns(config: QuantizeConfig) -> dict[str, re.Pattern[str]]:
    """What ``--exclude`` and ``--only`` look for, by option."""
    found: dict[str, re.Pattern[str]] = {}
    for option, pattern in (("--exclude", config.exclude), ("--only", config.only)):
        try:
            found |= {} if pattern is None else {option: re.compile(pattern)}
        except re.error as error:
            raise UsageError(f"{option} {pattern!r} is no pattern ({error}); it is a regular expression") from error
    return found


def _is_named(site: Site, pattern: re.Pattern[str]) -> bool:
    return bool(pattern.search(site.name) or pattern.search(site.module))


def _check_matches(sites: Sequence[Site], patterns: Mapping[str, re.Pattern[str]]) -> None:
    """Refuse a pattern that names nothing there is to decide on."""
    for option, pattern in patterns.items():
        if not any(_is_named(site, pattern) for site in sites):
            some = ", ".join(site.name for site in sites[:3])
            raise UsageError(
                f"{option} {pattern.pattern!r} matches no layer; they are called {some} and so on (--report lists them)"
            )


def _as_wished(sites: Sequence[Site], patterns: Mapping[str, re.Pattern[str]]) -> list[Site]:
    """Apply ``--exclude`` and ``--only``, which look at names of nodes and modules."""
    for option, pattern in patterns.items():
        sites = [_wished(site, option, is_named=_is_named(site, pattern)) for site in sites]
    return list(sites)


def _wished(site: Site, option: str, *, is_named: bool) -> Site:
    if is_named == (option == "--exclude"):
        return replace(site.kept(f"left out by {option}"), is_able=False)
    if option == "--only" and site.is_able and site.kind == "product":
        return replace(site, is_chosen=True, is_worth=True, reason="named by --only")
    return site
