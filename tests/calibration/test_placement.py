"""Which nodes of a graph get quantise and dequantise nodes, exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

from deblurrt.calibration.calibrator import looked_at, seen_shapes
from deblurrt.calibration.graph_view import GraphView
from deblurrt.calibration.histograms import Histogram
from deblurrt.calibration.placement import place
from deblurrt.calibration.qdq_graph import quantize_graph
from deblurrt.calibration.quantize_config import QuantizeConfig
from deblurrt.calibration.sites import Site, find_sites
from deblurrt.core.errors import UsageError
from deblurrt.plugins.forward_convolutions import forward_convolutions
from tests.calibration.small_networks import CONTRACT, attentive, dense, residual, shuffled, transposed

#: values of which tensors are made up for placements that need no frames
SEEN = np.linspace(-1, 1, 1000)


def quantized(model: Any, config: QuantizeConfig) -> tuple[Any, list[Site]]:
    """Quantise a graph as its sites are chosen by default, with one histogram for all."""
    view = GraphView(model)
    shapes = seen_shapes(model, CONTRACT)
    sites = find_sites(view, shapes, config)
    histograms = {}
    for index, name in enumerate(looked_at(view, shapes)):
        histograms[name] = Histogram()
        histograms[name].add(SEEN * (index + 1), -(index + 1.0), index + 1.0)
    chosen = {site.name for site in sites if site.is_chosen}
    graph = quantize_graph(view, place(view, sites, chosen, config), histograms, config)
    onnx.checker.check_model(graph.model)
    return graph.model, sites


def edges(model: Any) -> list[str]:
    """Every place that takes a dequantised value: ``node<-value``."""
    made = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    return [
        f"{node.name}<-{name.removesuffix('/dequantized')}"
        for node in model.graph.node
        if node.op_type != "DequantizeLinear"
        for name in node.input
        if name in made
    ]


def scale_of(model: Any, name: str) -> float:
    tensor = next(entry for entry in model.graph.initializer if entry.name == f"{name}/scale")
    return float(onnx.numpy_helper.to_array(tensor))


def test_residual_block_quantises_the_skip_branch_and_not_what_the_convolution_takes_in() -> None:
    model, _ = quantized(residual(), QuantizeConfig("tensorrt"))
    assert edges(model) == [
        "conv1<-head",
        "conv1<-conv1.weight",
        "conv2<-relu",
        "conv2<-conv2.weight",
        "add<-head",
    ]


def test_whole_network_has_its_ends_too_and_no_global_skip() -> None:
    model, sites = quantized(residual(), QuantizeConfig("openvino"))
    assert edges(model) == [
        "head<-frames",
        "head<-head.weight",
        "conv1<-head",
        "conv1<-conv1.weight",
        "conv2<-relu",
        "conv2<-conv2.weight",
        "add<-head",
        "tail<-add",
        "tail<-tail.weight",
    ]
    assert {site.name: site.reason for site in sites}["global"] == "the global skip: the picture itself passes here"


def test_onnx_runtime_gets_results_and_biases_in_8_bits() -> None:
    model, _ = quantized(residual(), QuantizeConfig("onnxruntime"))
    assert edges(model) == [
        "head<-frames",
        "head<-head.weight",
        "head<-head/bias",
        "conv1<-head",
        "conv1<-conv1.weight",
        "conv1<-conv1/bias",
        "conv2<-relu",
        "conv2<-conv2.weight",
        "conv2<-conv2/bias",
        "add<-head",
        "add<-conv2",
        "tail<-add",
        "tail<-tail.weight",
        "tail<-tail/bias",
        "global<-tail",
    ]


def test_dense_concatenation_has_one_scale_with_what_it_joins() -> None:
    model, _ = quantized(dense(), QuantizeConfig("tensorrt"))
    assert edges(model) == ["conv1<-head", "conv1<-conv1.weight", "conv2<-concat", "conv2<-conv2.weight"]
    assert scale_of(model, "head") == scale_of(model, "concat")


def test_pixel_shuffle_passes_8_bits_on() -> None:
    model, _ = quantized(shuffled(), QuantizeConfig("tensorrt"))
    assert edges(model) == ["wide<-fold", "wide<-wide.weight", "conv<-shuffle", "conv<-conv.weight"]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("tensorrt", ["conv<-pool", "conv<-conv.weight"]),
        (
            "openvino",
            [
                *("head<-frames", "head<-head.weight", "conv<-pool", "conv<-conv.weight"),
                *("up<-conv", "up<-up.weight", "tail<-up", "tail<-tail.weight"),
            ],
        ),
    ],
)
def test_transposed_convolution_is_quantised_only_where_it_pays(target: Any, expected: list[str]) -> None:
    model, _ = quantized(transposed(), QuantizeConfig(target))
    assert edges(model) == expected


def test_transposed_convolution_in_its_plain_form_is_quantised_for_tensorrt_too() -> None:
    model, _ = quantized(forward_convolutions(transposed()), QuantizeConfig("tensorrt"))
    assert edges(model) == ["conv<-pool", "conv<-conv.weight", "up<-conv", "up<-up/turned"]


def test_weights_of_a_transposed_convolution_have_a_scale_per_result_channel() -> None:
    model, _ = quantized(transposed(), QuantizeConfig("openvino"))
    node = next(node for node in model.graph.node if node.name == "up.weight/dequantized")
    assert [entry.i for entry in node.attribute if entry.name == "axis"] == [1]


def test_channel_attention_stays_float() -> None:
    model, sites = quantized(attentive(), QuantizeConfig("openvino"))
    quantised = {edge.partition("<-")[0] for edge in edges(model)}
    assert quantised == {"head", "conv", "tail"}
    assert {site.name for site in sites if not site.is_worth} == {"narrow", "widen"}


def test_weights_alone_are_quantised_where_activations_keep_16_bits() -> None:
    model, _ = quantized(residual(), QuantizeConfig("tensorrt", format="w8a16"))
    assert edges(model) == ["conv1<-conv1.weight", "conv2<-conv2.weight"]


def test_8_bit_floats_are_symmetric_and_of_one_type() -> None:
    model, _ = quantized(residual(), QuantizeConfig("tensorrt", format="fp8"))
    kinds = {tensor.data_type for tensor in model.graph.initializer if tensor.name.endswith("/zero_point")}
    assert kinds == {onnx.TensorProto.FLOAT8E4M3FN}


@pytest.mark.parametrize("network", [residual, dense, shuffled, transposed, attentive])
@pytest.mark.parametrize("target", ["tensorrt", "openvino"])
def test_activations_are_symmetric_where_the_target_takes_no_others(network: Callable[[], Any], target: Any) -> None:
    model, _ = quantized(network(), QuantizeConfig(target))
    zeros = [tensor for tensor in model.graph.initializer if tensor.name.endswith("/zero_point")]
    assert all(not onnx.numpy_helper.to_array(tensor).any() for tensor in zeros)
    assert {tensor.data_type for tensor in zeros} == {onnx.TensorProto.INT8}


def test_exclude_and_only_name_layers() -> None:
    without, _ = quantized(residual(), QuantizeConfig("openvino", exclude="^(head|tail)$"))
    alone, _ = quantized(residual(), QuantizeConfig("openvino", only="conv1"))
    assert {edge.partition("<-")[0] for edge in edges(without)} == {"conv1", "conv2", "add"}
    assert edges(alone) == ["conv1<-head", "conv1<-conv1.weight"]


@pytest.mark.parametrize(("pattern", "told"), [("[", "is no pattern"), ("nothing", "matches no layer")])
def test_pattern_that_cannot_be_meant_is_refused(pattern: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        quantized(residual(), QuantizeConfig(exclude=pattern))


def test_weights_for_cpus_fit_sums_of_16_bits() -> None:
    model, _ = quantized(residual(), QuantizeConfig("openvino"))
    weights = [tensor for tensor in model.graph.initializer if tensor.name.endswith(".weight/quantized")]
    assert max(int(np.abs(onnx.numpy_helper.to_array(tensor)).max()) for tensor in weights) == 63


def test_scales_beside_half_precision_are_exact_in_it() -> None:
    model, _ = quantized(residual(), QuantizeConfig("tensorrt", rest="fp16"))
    scales = [tensor for tensor in model.graph.initializer if tensor.name.endswith("/scale")]
    for tensor in scales:
        steps = onnx.numpy_helper.to_array(tensor)
        assert (steps.astype(np.float16).astype(np.float32) == steps).all()
