"""What a look at a graph tells of its nodes."""

from __future__ import annotations

import numpy as np
import pytest

from deblurrt.calibration.graph_view import GraphView, name_nodes
from tests.calibration.small_networks import attentive, dense, residual, shuffled


def test_nodes_without_names_and_with_the_same_get_one_each() -> None:
    model = residual()
    for node in model.graph.node[:2]:
        node.name = ""
    for node in model.graph.node[3:5]:
        node.name = "twice"
    name_nodes(model)
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    # those without one are called like their result
    assert names[:2] == [node.output[0] for node in model.graph.node[:2]]
    assert names[3:5] == ["twice", "twice.1"]
    before = list(names)
    name_nodes(model)
    assert [node.name for node in model.graph.node] == before


def test_takers_and_makers_are_found() -> None:
    view = GraphView(residual())
    assert [node.name for node in view.takers["head"]] == ["conv1", "add"]
    assert view.only_taker("head") is None
    assert view.maker["add"].name == "add"
    only = view.only_taker("conv1")
    assert only is not None
    assert only.name == "relu"
    # what the network gives is taken by its user as well
    assert view.only_taker("restored") is None


def test_weights_are_no_sources() -> None:
    view = GraphView(residual())
    assert view.sources(view.by_name["conv1"]) == ["head"]
    assert view.array("conv1.weight").shape == (4, 4, 3, 3)
    assert view.attributes(view.by_name["conv1"])["pads"] == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("network", "first", "last"),
    [(residual, {"head"}, {"tail"}), (dense, {"head"}, {"tail"}), (shuffled, {"head"}, {"tail"})],
)
def test_first_and_last_product_are_known(network: object, first: set[str], last: set[str]) -> None:
    assert callable(network)
    view = GraphView(network())
    products = [node for node in view.nodes if node.op_type == "Conv"]
    assert {node.name for node in products if view.is_first(node)} == first
    assert {node.name for node in products if view.is_last(node)} == last


def test_values_before_and_behind_products_are_known() -> None:
    view = GraphView(attentive())
    assert "frames" not in view.behind_products
    assert {"head", "pooled", "weight", "add"} <= view.behind_products
    assert "frames" in view.before_products
    assert "restored" not in view.before_products


def test_origin_looks_through_moves_and_stops_at_joins() -> None:
    view = GraphView(shuffled())
    found = view.origin("shuffle")
    assert found is not None
    assert found.name == "wide"
    assert view.origin("frames") is None
    joined = GraphView(dense())
    place = joined.origin("concat")
    assert place is not None
    assert place.name == "concat"


def test_value_taken_twice_by_one_node_has_one_taker() -> None:
    model = residual()
    add = next(node for node in model.graph.node if node.name == "add")
    add.input[0] = add.input[1]
    view = GraphView(model)
    taker = view.only_taker(add.input[0])
    assert taker is not None
    assert taker.name == "add"
    assert np.prod(view.array("head.bias").shape) == 4
