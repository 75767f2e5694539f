"""Numbers of quantised graphs, against the same rounded by hand; their shape is in test_placement."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from deblurrt.calibration.calibrator import looked_at, seen_shapes
from deblurrt.calibration.graph_sessions import open_graph
from deblurrt.calibration.graph_view import GraphView
from deblurrt.calibration.histograms import Histogram
from deblurrt.calibration.placement import place
from deblurrt.calibration.qdq_graph import KnownForms, QuantizedGraph, quantize_graph
from deblurrt.calibration.quantize_config import QuantizeConfig
from deblurrt.calibration.sites import find_sites
from tests.calibration.small_networks import CONTRACT, Network, residual, transposed

FRAME = np.random.default_rng(5).random((1, 3, 16, 20), np.float32)


def values_of(model: Any, frame: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Every value of a graph on one frame."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    names = [name for node in shown.graph.node for name in node.output if name != "restored"]
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    found = open_graph(shown, is_plain=True)([*names, "restored"], {"frames": frame})
    return dict(zip([*names, "restored"], found, strict=True)) | {"frames": frame}


def seen_on(model: Any, frame: NDArray[np.float32]) -> dict[str, Histogram]:
    """Histograms of one frame."""
    histograms = {}
    values = values_of(model, frame)
    for name in looked_at(GraphView(model), seen_shapes(model, CONTRACT)):
        histograms[name] = Histogram()
        histograms[name].add(values[name], float(values[name].min()), float(values[name].max()))
        means = values[name].mean(axis=(0, 2, 3), dtype=np.float64)
        histograms[name].add_channels(means, np.abs(values[name]).max(axis=(0, 2, 3)).astype(np.float64))
    return histograms


def quantized(
    model: Any, config: QuantizeConfig, chosen: set[str] | None = None, known: KnownForms | None = None
) -> QuantizedGraph:
    view = GraphView(model)
    sites = find_sites(view, seen_shapes(model, CONTRACT), config)
    names = {site.name for site in sites if site.is_able} if chosen is None else chosen
    return quantize_graph(view, place(view, sites, names, config), seen_on(model, FRAME), config, known)


def single() -> Any:
    """One convolution."""
    net = Network()
    net.conv("conv", "frames", taken=3, given=3)
    return net.model()


def constants(model: Any) -> dict[str, NDArray[Any]]:
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


@pytest.mark.parametrize("target", ["tensorrt", "openvino"])
def test_quantised_convolution_is_the_float_one_of_rounded_values(target: Any) -> None:
    config = QuantizeConfig(target, ends=True, with_bias_correction=False)
    graph = quantized(single(), config)
    step = graph.scales["frames"].step
    rounded = (np.clip(np.rint(FRAME / np.float32(step)), -128, 127) * np.float32(step)).astype(np.float32)
    held = constants(graph.model)
    weights = held["conv.weight/quantized"] * held["conv.weight/scale"].reshape(-1, 1, 1, 1)
    by_hand = single()
    by_hand.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weights.astype(np.float32), "conv.weight"))
    expected = values_of(by_hand, rounded)["restored"]
    # float32 sums in another order
    assert values_of(graph.model, FRAME)["restored"] == pytest.approx(expected, abs=1e-5)


def test_bias_of_32_bits_is_within_half_of_its_step() -> None:
    config = QuantizeConfig("onnxruntime", with_bias_correction=False)
    graph = quantized(single(), config)
    held = constants(graph.model)
    assert held["conv/bias/quantized"].dtype == np.int32
    steps = held["conv.weight/scale"].astype(np.float64) * graph.scales["frames"].step
    assert held["conv/bias/scale"] == pytest.approx(steps, rel=1e-6)
    bias = onnx.numpy_helper.to_array(single().graph.initializer[1])
    assert (np.abs(held["conv/bias/quantized"] * steps - bias) <= 0.501 * steps).all()


def test_bias_far_larger_than_its_steps_does_not_overflow() -> None:
    model = single()
    model.graph.initializer[0].CopyFrom(
        onnx.numpy_helper.from_array(np.full((3, 3, 3, 3), 1e-9, np.float32), "conv.weight")
    )
    model.graph.initializer[1].CopyFrom(onnx.numpy_helper.from_array(np.array([50, -50, 0], np.float32), "conv.bias"))
    held = constants(quantized(model, QuantizeConfig("onnxruntime")).model)
    restored = held["conv/bias/quantized"] * held["conv/bias/scale"].astype(np.float64)
    assert restored == pytest.approx([50, -50, 0], rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("network", [single, transposed])
def test_corrected_biases_remove_the_mean_error_of_rounded_weights(network: Any) -> None:
    model = network()
    # one large weight per channel makes the others round coarsely, all to the same side
    for tensor in model.graph.initializer:
        if tensor.name in ("conv.weight", "up.weight"):
            values = np.full(onnx.numpy_helper.to_array(tensor).shape, 0.0142, np.float32)
            values[:, :, 0, 0] = 1.0
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    name = "restored" if network is single else "up"
    chosen = {"conv" if network is single else "up"}
    before = values_of(model, FRAME)[name]
    errors = []
    for is_mended in (False, True):
        config = QuantizeConfig("openvino", method="minmax", with_bias_correction=is_mended)
        after = values_of(quantized(network_like(model), config, chosen).model, FRAME)[name]
        errors.append(np.abs((after - before).mean(axis=(0, 2, 3))).max())
    assert errors[1] < 0.25 * errors[0]


def network_like(model: Any) -> Any:
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied


def test_float_graph_is_left_as_it_was() -> None:
    model = residual()
    before = model.SerializeToString(deterministic=True)
    quantized(model, QuantizeConfig("onnxruntime"))
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("target", ["tensorrt", "openvino", "onnxruntime"])
def test_forms_decided_before_give_the_same_graph(target: Any) -> None:
    known = KnownForms()
    config = QuantizeConfig(target)
    quantized(residual(), config, known=known)
    for chosen in (None, {"conv1", "conv2", "add"}):
        again = quantized(residual(), config, chosen, known).model
        fresh = quantized(residual(), config, chosen).model
        assert again.SerializeToString(deterministic=True) == fresh.SerializeToString(deterministic=True)


def test_float_weights_that_nobody_takes_any_more_are_dropped() -> None:
    held = constants(quantized(residual(), QuantizeConfig("openvino"), {"conv1"}).model)
    assert "conv1.weight" not in held
    assert {"head.weight", "conv2.weight", "tail.weight"} <= set(held)


def test_nothing_chosen_is_the_float_graph() -> None:
    model = residual()
    graph = quantized(residual(), QuantizeConfig("openvino"), set())
    assert [node.op_type for node in graph.model.graph.node] == [node.op_type for node in model.graph.node]
    assert (values_of(graph.model, FRAME)["restored"] == values_of(model, FRAME)["restored"]).all()


def test_weights_two_convolutions_share_are_quantised_once() -> None:
    model = residual()
    conv2 = next(node for node in model.graph.node if node.name == "conv2")
    conv2.input[1] = "conv1.weight"
    graph = quantized(model, QuantizeConfig("openvino"))
    names = [node.name for node in graph.model.graph.node]
    assert names.count("conv1.weight/dequantized") == 1
    assert names.index("conv1.weight/dequantized") < names.index("conv1")
    onnx.checker.check_model(graph.model, full_check=True)
