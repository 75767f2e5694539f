"""Which layers can be quantised, which are, and the reasons that are given."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from deblurrt.calibration.calibrator import seen_shapes
from deblurrt.calibration.graph_view import GraphView
from deblurrt.calibration.quantize_config import QuantizeConfig
from deblurrt.calibration.sites import Site, find_sites
from deblurrt.core.errors import UsageError
from tests.calibration.small_networks import CONTRACT, Network, attentive, residual

#: side of the frame shapes are seen on
SEEN = 128


def sites_of(model: Any, config: QuantizeConfig) -> dict[str, Site]:
    return {site.name: site for site in find_sites(GraphView(model), seen_shapes(model, CONTRACT), config)}


def test_every_product_and_every_addition_of_maps_is_decided_with_a_reason() -> None:
    found = sites_of(residual(), QuantizeConfig("tensorrt"))
    assert {name: (site.kind, site.is_able, site.is_chosen) for name, site in found.items()} == {
        "head": ("product", True, False),
        "conv1": ("product", True, True),
        "conv2": ("product", True, True),
        "tail": ("product", True, False),
        "add": ("skip", True, True),
        "global": ("skip", False, False),
    }
    assert found["head"].reason == "the first layer: it sees the frame itself"
    assert found["tail"].reason == "the last layer: its error is the picture's"
    assert found["add"].reason == "conv2 takes the sum in"
    assert (found["add"].partner, found["add"].value) == ("conv2", "head")


def test_products_are_counted_at_the_size_they_were_seen_at() -> None:
    found = sites_of(residual(), QuantizeConfig())
    assert found["head"].macs == SEEN * SEEN * 4 * 3 * 9
    assert found["conv1"].macs == SEEN * SEEN * 4 * 4 * 9
    assert found["add"].macs == 0
    assert found["add"].values == SEEN * SEEN * 4


def test_ends_are_taken_where_they_are_asked_for() -> None:
    assert sites_of(residual(), QuantizeConfig("tensorrt", ends=True))["head"].is_chosen
    assert not sites_of(residual(), QuantizeConfig("openvino", ends=False))["tail"].is_chosen


def test_convolutions_of_vectors_are_not_worth_it_but_may_be_named() -> None:
    found = sites_of(attentive(), QuantizeConfig("openvino"))
    assert found["narrow"].reason == "works on a vector, as channel attention does: nothing to gain"
    assert (found["narrow"].is_able, found["narrow"].is_worth, found["narrow"].is_chosen) == (True, False, False)
    named = sites_of(attentive(), QuantizeConfig("openvino", only="narrow"))
    assert named["narrow"].is_chosen
    assert named["narrow"].is_worth
    assert [name for name, site in named.items() if site.is_chosen] == ["narrow"]


def test_weights_that_are_computed_or_not_float_keep_a_layer_float() -> None:
    net = Network()
    head = net.conv("head", "frames", taken=3)
    computed = net.node("Mul", "computed", ["head.weight", "head.weight"])
    net.conv("mixed", net.node("Conv", "other", [head, computed], pads=[1] * 4), given=3)
    model = net.model()
    shape = onnx.numpy_helper.from_array(np.ones((4, 4, 3, 3), np.float32), "square")
    model.graph.initializer.append(shape)
    next(node for node in model.graph.node if node.name == "computed").input[0] = "square"
    next(node for node in model.graph.node if node.name == "computed").input[1] = "square"
    found = sites_of(model, QuantizeConfig("openvino"))
    assert (found["other"].is_able, found["other"].reason) == (False, "its weights are computed")


def test_products_of_matrices_stay_float() -> None:
    net = Network()
    head = net.conv("head", "frames", taken=3)
    turned = net.node("Transpose", "turned", [head], perm=[0, 1, 3, 2])
    looked = net.node("MatMul", "looked", [head, turned])
    scaled = net.node("MatMul", "scaled", [looked, head])
    net.conv("tail", scaled, given=3)
    found = sites_of(net.model(), QuantizeConfig("openvino"))
    for name in ("looked", "scaled"):
        assert not found[name].is_able
        assert found[name].reason.startswith("a product of matrices")


def test_left_out_convolution_leaves_the_skip_branch_beside_it_float() -> None:
    found = sites_of(residual(), QuantizeConfig("openvino", exclude="conv2"))
    assert (found["conv2"].is_able, found["conv2"].reason) == (False, "left out by --exclude")
    assert not found["add"].is_chosen


def test_addition_of_two_products_takes_one_in() -> None:
    net = Network()
    head = net.conv("head", "frames", taken=3)
    total = net.node("Add", "sum", [net.conv("left", head), net.conv("right", head)])
    net.conv("tail", total, given=3)
    found = sites_of(net.model(), QuantizeConfig("openvino"))["sum"]
    assert {found.partner, found.value} == {"left", "right"}


def test_skip_branch_alone_may_be_left_out() -> None:
    found = sites_of(residual(), QuantizeConfig("openvino", exclude="^add$"))
    assert (found["add"].is_chosen, found["add"].reason) == (False, "left out by --exclude")
    assert found["conv2"].is_chosen


def test_convolution_of_no_map_stays_float() -> None:
    net = Network()
    head = net.conv("head", "frames", taken=3)
    net.weights.append(onnx.numpy_helper.from_array(np.ones((4, 4, 3), np.float32), "line.weight"))
    net.weights.append(onnx.numpy_helper.from_array(np.array([3]), "width"))
    rows = net.node("ReduceMean", "rows", [head, "width"], keepdims=0)
    line = net.node("Conv", "line", [net.node("Conv", "before", [rows, "line.weight"]), "line.weight"], pads=[2, 2])
    net.conv("tail", net.node("Mul", "scaled", [head, net.node("Unsqueeze", "map", [line, "width"])]), given=3)
    found = sites_of(net.model(), QuantizeConfig("openvino"))
    assert [name for name, site in found.items() if site.is_chosen] == ["head", "tail"]
    assert found["line"].reason == "no convolution of maps"


@pytest.mark.parametrize("option", ["exclude", "only"])
def test_pattern_that_matches_nothing_names_some_layers(option: str) -> None:
    with pytest.raises(UsageError, match=f"--{option} 'nowhere' matches no layer; they are called head, conv1, conv2"):
        sites_of(residual(), QuantizeConfig("openvino", **{option: "nowhere"}))  # type: ignore[arg-type]
