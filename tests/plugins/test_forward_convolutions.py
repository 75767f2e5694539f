"""Transposed convolutions as plain ones: the same sums, or left as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import pytest
from onnx import helper, numpy_helper

from deblurrt.core.tensors import Array
from deblurrt.plugins.forward_convolutions import forward_convolutions
from tests.calibration.small_networks import transposed

#: sums of 4 x 25 products in another order; values are below 10
ROUNDING = 1e-5

#: side of the kernel and attributes, of what is rewritten
REWRITTEN: dict[str, tuple[int, dict[str, Any]]] = {
    "stride 1": (3, {}),
    "stride 1, padded": (5, {"pads": [2, 1, 0, 2]}),
    "stride 1, dilated": (3, {"dilations": [2, 2], "pads": [1, 1, 1, 1]}),
    "stride 1, groups": (3, {"group": 2}),
    "2 of 2": (2, {"strides": [2, 2]}),
    "4 of 2, as in KAIST_NET": (4, {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "3 of 2, as in ATROUS_NET": (3, {"strides": [2, 2]}),
    "3 of 2, output padding": (3, {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}),
    "5 of 2, whole steps cut off": (5, {"strides": [2, 2], "pads": [2, 3, 2, 1]}),
    "3 of 3": (3, {"strides": [3, 3], "pads": [1, 0, 2, 0]}),
}
LEFT: dict[str, tuple[int, dict[str, Any]]] = {
    "1 of 2: four times the products": (1, {"strides": [2, 2]}),
    "4 of 3: more than twice the products": (4, {"strides": [3, 3]}),
    "strides that differ": (2, {"strides": [1, 2]}),
    "groups beside a stride": (2, {"strides": [2, 2], "group": 2}),
    "gaps beside a stride": (3, {"strides": [2, 2], "dilations": [2, 2]}),
    "more padding than kernel": (3, {"pads": [3, 3, 3, 3]}),
    "a size that is asked for": (2, {"strides": [2, 2], "output_shape": [13, 15]}),
    "padding by name": (2, {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
}


def graph(side: int, attributes: dict[str, Any], *, has_bias: bool = True, is_known: bool = True) -> Any:
    rng = np.random.default_rng(0)
    arrays = {"w": rng.normal(size=(4, 6 // attributes.get("group", 1), side, side)), "b": rng.normal(size=6)}
    names = ["x", "w", *(["b"] if has_bias else [])]
    weights = [numpy_helper.from_array(arrays[name].astype(np.float32), name) for name in names[1:]]
    nodes = [helper.make_node("ConvTranspose", names, ["y"], name="up", **attributes)]
    if not is_known:
        weights[0].name = "stored"
        nodes.insert(0, helper.make_node("Identity", ["stored"], ["w"]))
    given = helper.make_tensor_value_info("x", 1, [1, 4, 7, 8])
    result = helper.make_tensor_value_info("y", 1, [None] * 4)
    made = helper.make_graph(nodes, "up", [given], [result], weights)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def result_of(model: Any) -> Array:
    onnx.checker.check_model(model)
    frames = np.random.default_rng(1).normal(size=(1, 4, 7, 8)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: Array = session.run(None, {"x": frames})[0]
    return found


def operators(model: Any) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("case", REWRITTEN)
def test_rewritten_convolution_gives_the_same_sums(case: str, has_bias: bool) -> None:
    model = graph(*REWRITTEN[case], has_bias=has_bias)
    before = result_of(model)
    after = forward_convolutions(model)
    assert "ConvTranspose" not in operators(after)
    found = result_of(after)
    assert found.shape == before.shape
    np.testing.assert_allclose(found, before, atol=ROUNDING)


@pytest.mark.parametrize("case", LEFT)
def test_what_would_not_pay_or_fit_is_left_alone(case: str) -> None:
    model = graph(*LEFT[case])
    before = model.SerializeToString()
    assert forward_convolutions(model).SerializeToString() == before


def test_computed_weights_are_left_alone() -> None:
    assert operators(forward_convolutions(graph(3, {}, is_known=False))) == ["Identity", "ConvTranspose"]


def test_only_strides_that_are_asked_for_are_rewritten() -> None:
    assert operators(forward_convolutions(graph(2, {"strides": [2, 2]}), most_stride=1)) == ["ConvTranspose"]
    assert operators(forward_convolutions(graph(2, {}), most_stride=1)) == ["Conv"]


def test_node_keeps_its_name_and_old_weights_leave() -> None:
    model = forward_convolutions(transposed())
    node = next(node for node in model.graph.node if node.name == "up")
    assert node.op_type == "Conv"
    assert "up.weight" not in {tensor.name for tensor in model.graph.initializer}


def test_products_are_no_more_where_the_stride_divides_the_kernel() -> None:
    model = forward_convolutions(graph(4, {"strides": [2, 2], "pads": [1, 1, 1, 1]}, has_bias=False))
    assert sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer if len(tensor.dims) == 4) == 4 * 6 * 16
