"""8-bit forms of activations and weights: steps, levels of zero, and how far off they may be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from deblurrt.calibration.histograms import Histogram
from deblurrt.calibration.number_forms import WEIGHT_SHARES, activation_scale, quantized_weights
from deblurrt.calibration.quantize_config import QuantizeConfig


def histogram_of(low: float, high: float) -> Histogram:
    histogram = Histogram()
    histogram.add(np.linspace(low, high, 5000), low, high)
    return histogram


def weights(seed: int = 0, shape: tuple[int, ...] = (6, 4, 3, 3)) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    # channels of very different sizes, which one scale for all would spoil
    sizes = 10.0 ** np.arange(-3, shape[0] - 3)
    return (rng.normal(0, 1, shape) * sizes.reshape(-1, *[1] * (len(shape) - 1))).astype(np.float32)


@pytest.mark.parametrize("target", ["tensorrt", "openvino"])
def test_symmetric_activation_has_zero_in_the_middle(target: Any) -> None:
    scale = activation_scale(histogram_of(-1.0, 3.0), QuantizeConfig(target, method="minmax"))
    assert scale.zero_point == 0
    assert scale.step == pytest.approx(3 / 127)
    assert (scale.low, scale.high) == pytest.approx((-3.0, 3.0))


@pytest.mark.parametrize(
    ("low", "high", "zero_point"), [(0.0, 2.0, 0), (-1.0, 3.0, 64), (-2.0, 0.0, 255), (1.0, 2.0, 0)]
)
def test_unsigned_activation_has_an_exact_zero_and_all_levels(low: float, high: float, zero_point: int) -> None:
    scale = activation_scale(histogram_of(low, high), QuantizeConfig("onnxruntime", method="minmax"))
    assert scale.zero_point == zero_point
    assert scale.step == pytest.approx((max(high, 0) - min(low, 0)) / 255)
    assert scale.high - scale.low == pytest.approx(255 * scale.step)
    # level of zero is a whole number of steps from both ends
    assert scale.low == -zero_point * scale.step


@pytest.mark.parametrize("target", ["tensorrt", "openvino", "onnxruntime"])
def test_tensor_that_is_always_zero_has_a_step(target: Any) -> None:
    scale = activation_scale(histogram_of(0.0, 0.0), QuantizeConfig(target))
    assert 0 < scale.step < 1e-6
    assert scale.zero_point == 0


def test_8_bit_float_reaches_the_largest_value() -> None:
    scale = activation_scale(histogram_of(-1.0, 3.0), QuantizeConfig("tensorrt", format="fp8"))
    assert scale.step == pytest.approx(3 / 448)
    assert (scale.low, scale.high) == pytest.approx((-3.0, 3.0))


def test_step_beside_half_precision_is_a_half() -> None:
    scale = activation_scale(histogram_of(-1.0, 3.0), QuantizeConfig("tensorrt", rest="fp16"))
    assert float(np.float16(scale.step)) == scale.step


@pytest.mark.parametrize(("target", "peak"), [("tensorrt", 127), ("openvino", 63), ("onnxruntime", 63)])
@pytest.mark.parametrize("method", ["minmax", "mse"])
def test_each_channel_uses_all_levels_and_is_at_most_half_a_step_off(target: Any, peak: int, method: Any) -> None:
    floats = weights()
    found = quantized_weights(floats, 0, QuantizeConfig(target, method=method))
    assert found.values.dtype == np.int8
    largest = np.abs(found.values.astype(int)).reshape(6, -1).max(axis=1)
    assert (largest == peak).all()
    assert found.steps.shape == (6,)
    steps = found.steps.reshape(-1, 1, 1, 1)
    # equal but for the last bit of float32
    assert found.restored == pytest.approx(found.values * steps, rel=1e-6)
    inside = np.abs(floats) <= peak * steps
    off = np.abs(found.restored - floats)
    assert (off[inside] <= (steps * 0.5001 * np.ones_like(floats))[inside]).all()
    if method == "minmax":
        assert inside.mean() > 0.97


def test_full_weights_take_all_8_bits() -> None:
    found = quantized_weights(weights(), 0, QuantizeConfig("openvino", narrow_weights=False))
    assert np.abs(found.values.astype(int)).max() == 127


def test_least_error_of_weights_is_that_of_trying_every_share() -> None:
    floats = weights(2)
    found = quantized_weights(floats, 0, QuantizeConfig("tensorrt", method="mse"))
    for channel in range(6):
        values = floats[channel].astype(np.float64)
        errors = []
        for share in WEIGHT_SHARES:
            step = share * np.abs(values).max() / 127
            errors.append(((np.clip(np.rint(values / step), -127, 127) * step - values) ** 2).sum())
        error = ((found.restored[channel] - values) ** 2).sum()
        # steps are stored in float32
        assert error == pytest.approx(min(errors), rel=1e-3)


def test_result_channels_of_a_transposed_convolution_are_the_second_axis() -> None:
    floats = np.moveaxis(weights(), 0, 1)
    found = quantized_weights(floats, 1, QuantizeConfig("openvino", method="minmax"))
    assert found.values.shape == floats.shape
    plain = quantized_weights(weights(), 0, QuantizeConfig("openvino", method="minmax"))
    assert (np.moveaxis(found.values, 1, 0) == plain.values).all()
    assert (found.steps == plain.steps).all()


def test_smallest_step_that_is_asked_for_is_kept() -> None:
    floor = np.full(6, 0.01, np.float32)
    found = quantized_weights(weights(), 0, QuantizeConfig("onnxruntime"), floor)
    free = quantized_weights(weights(), 0, QuantizeConfig("onnxruntime"))
    assert (found.steps == np.maximum(free.steps, floor)).all()
    assert (found.steps > free.steps).any()


def test_channel_of_zeros_stays_zero() -> None:
    floats = weights()
    floats[2] = 0
    found = quantized_weights(floats, 0, QuantizeConfig("openvino"))
    assert not found.values[2].any()
    assert np.isfinite(found.restored).all()


def test_8_bit_floats_keep_small_weights_apart() -> None:
    floats = np.array([[[[448.0, 1.0, 0.5, 1.0 / 64]]]], np.float32)
    found = quantized_weights(floats, 0, QuantizeConfig("tensorrt", format="fp8"))
    assert found.restored.tolist() == floats.tolist()
