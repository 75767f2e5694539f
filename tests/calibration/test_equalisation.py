"""Channels between two convolutions: found, evened out without a change of the result, and only where it helps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import pytest
from onnx import numpy_helper

from deblurrt.calibration import FrameChoice, Frames, Quantization, QuantizeConfig, choose_frames
from deblurrt.calibration import equalisation as equalisation_module
from deblurrt.calibration.equalisation import MOST_FACTOR, equalise, factors_of, joints
from deblurrt.calibration.graph_view import GraphView
from deblurrt.calibration.histograms import Histogram
from deblurrt.calibration.tensor_statistics import load_statistics
from deblurrt.core.tensors import Array
from tests.calibration.small_networks import CONTRACT, Network, residual, write_frames

#: rounding of sums of 36 products, values below 10
ROUNDING = 1e-5


def chain(activation: str = "Relu", spread: float = 1.0) -> Any:
    """Three convolutions; channels of the middle one are ``spread`` apart from one another."""
    net = Network()
    head = net.conv("head", "frames", taken=3)
    middle = net.conv("middle", head)
    attributes = {"alpha": 0.2} if activation == "LeakyRelu" else {}
    active = net.node(activation, "active", [middle], **attributes)
    net.conv("tail", active, given=3)
    model = net.model()
    factors = np.geomspace(spread, 1.0, 4).astype(np.float32)
    return equalise(model, {"active": 1 / factors}) if activation != "Sigmoid" else model


def restored(model: Any) -> Array:
    frames = np.random.default_rng(1).random((1, 3, 16, 16), np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: Array = session.run(None, {"frames": frames})[0]
    return found


def pictures(folder: Path) -> Frames:
    return choose_frames(FrameChoice((write_frames(folder / "pictures", 8),)), CONTRACT)


def notes(model: Any, frames: Frames, **choices: Any) -> tuple[str, ...]:
    work = Quantization(model, "small.onnx", CONTRACT, frames, QuantizeConfig(**choices))
    work.run()
    return work.report().notes


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (chain("Relu"), ["head", "active"]),
        (chain("LeakyRelu"), ["head", "active"]),
        (chain("Sigmoid"), ["head"]),
        # its head is needed twice
        (residual(), ["relu"]),
    ],
)
def test_joints_are_convolutions_with_at_most_a_homogeneous_activation_between(model: Any, expected: list[str]) -> None:
    assert [joint.value for joint in joints(GraphView(model))] == expected


@pytest.mark.parametrize("activation", ["Relu", "LeakyRelu"])
def test_equalised_graph_gives_the_same_result(activation: str) -> None:
    model = chain(activation)
    before = restored(model)
    factors = {"active": np.array([0.1, 1, 3, 10], np.float32), "head": np.array([2, 0.5, 1, 4], np.float32)}
    np.testing.assert_allclose(restored(equalise(model, factors)), before, atol=ROUNDING)


def test_weights_that_two_layers_share_are_left_alone() -> None:
    model = chain()
    next(node for node in model.graph.node if node.name == "head").input[1] = "middle.weight"
    assert [joint.value for joint in joints(GraphView(model))] == []


def test_wide_channels_are_divided_and_dead_ones_left_alone() -> None:
    view = GraphView(chain())
    seen = Histogram(channel_peaks=np.array([8.0, 1.0, 1.0, 0.0]), channel_sums=np.zeros(4))
    by = factors_of(view, {"active": seen})["active"]
    assert by[0] > max(by[1], by[2])
    assert by[3] == 1
    assert (by <= MOST_FACTOR).all()


def test_uneven_channels_are_equalised_and_the_error_falls(tmp_path: Path) -> None:
    uneven = chain(spread=64.0)
    work = Quantization(uneven, "small.onnx", CONTRACT, pictures(tmp_path), QuantizeConfig())
    work.run()
    told = next(note for note in work.report().notes if note.startswith("equalising channels between 2 pairs"))
    assert "helps" in told
    with_it, without = (float(part.split()[0]) for part in (told.split("squared error ")[1], told.split("it, ")[1]))
    assert with_it < 0.5 * without


def test_what_does_not_lower_the_error_is_not_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(equalisation_module, "_error", lambda *_given: 1.0)
    model = chain(spread=64.0)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    work = Quantization(model, "small.onnx", CONTRACT, pictures(tmp_path), QuantizeConfig())
    work.run()
    assert any("does not help: squared error 1 with it, 1 without" in note for note in work.report().notes)
    for tensor in work.floats.graph.initializer:
        np.testing.assert_array_equal(numpy_helper.to_array(tensor), weights[tensor.name])


def test_weights_alone_are_not_equalised(tmp_path: Path) -> None:
    told = notes(chain(spread=64.0), pictures(tmp_path), format="w8a16")
    assert not any(note.startswith("equalising") for note in told)


@pytest.mark.parametrize("formats", [("w8a16", "int8"), ("int8", "w8a16"), ("int8", "fp8")])
def test_statistics_of_one_format_give_another_the_bytes_it_has_without(
    tmp_path: Path, formats: tuple[Any, Any]
) -> None:
    place, frames = tmp_path / "statistics.npz", pictures(tmp_path)

    def run(form: Any, given: Path | None) -> bytes:
        config = QuantizeConfig(format=form)
        model = Quantization(chain(spread=64.0), "small.onnx", CONTRACT, frames, config, given).run()
        return bytes(model.SerializeToString(deterministic=True))

    run(formats[0], place)
    again = run(formats[1], place)
    assert set(load_statistics(place).factors or {}) == {"head", "active"}
    assert again == run(formats[1], None)


def test_lines_of_values_between_convolutions_are_left_alone() -> None:
    helper, kernel = onnx.helper, numpy_helper.from_array(np.ones((2, 2, 3), np.float32), "kernel")
    other = numpy_helper.from_array(np.ones((2, 2, 3), np.float32), "other")
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 2, None]) for name in ("x", "y")]
    nodes = [helper.make_node("Conv", ["x", "kernel"], ["m"]), helper.make_node("Conv", ["m", "other"], ["y"])]
    model = helper.make_model(helper.make_graph(nodes, "lines", values[:1], values[1:], [kernel, other]))
    assert not list(joints(GraphView(model)))


def test_statistics_remember_what_was_divided(tmp_path: Path) -> None:
    place, frames = tmp_path / "statistics.npz", pictures(tmp_path)

    def run(given: Frames | None, **choices: Any) -> bytes:
        config = QuantizeConfig(**choices)
        model = Quantization(chain(spread=64.0), "small.onnx", CONTRACT, given, config, place).run()
        del model.metadata_props[:]
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString(deterministic=True))

    first = run(frames, with_bias_correction=False)
    assert set(load_statistics(place).factors or {}) == {"head", "active"}
    assert run(frames, with_bias_correction=False) == first
    assert run(None, with_bias_correction=False) == first
