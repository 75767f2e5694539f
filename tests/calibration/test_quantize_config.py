"""Choices of a quantisation: what each target takes, and which contradict each other."""

from __future__ import annotations

from typing import Any

import pytest

from deblurrt.calibration import QuantizeConfig
from deblurrt.core.errors import UsageError


@pytest.mark.parametrize(
    ("choices", "told"),
    [
        ({"target": "openvino", "format": "fp8"}, "fp8 is for TensorRT"),
        ({"target": "onnxruntime", "format": "w8a16"}, "ONNX Runtime unpacks them"),
        ({"target": "openvino", "rest": "fp16"}, "fp16 beside 8 bits is for TensorRT"),
        ({"method": "guess"}, "expected one of minmax, entropy, percentile, mse"),
        ({"target": "gpu"}, "expected one of tensorrt, openvino, onnxruntime"),
        ({"crop_px": 32}, "expected 64 to 4096"),
    ],
)
def test_choices_that_contradict_each_other_are_refused(choices: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        QuantizeConfig(**choices)


@pytest.mark.parametrize(
    ("target", "ends", "peak", "is_unsigned"),
    [("tensorrt", False, 127, False), ("openvino", True, 63, False), ("onnxruntime", True, 63, True)],
)
def test_each_target_has_its_own_form(target: Any, ends: bool, peak: int, is_unsigned: bool) -> None:
    config = QuantizeConfig(target)
    assert (config.with_ends, config.weight_peak, config.is_unsigned) == (ends, peak, is_unsigned)
    assert config.quantizes_results == is_unsigned


def test_wishes_go_before_what_a_target_takes() -> None:
    assert QuantizeConfig("tensorrt", ends=True).with_ends
    assert not QuantizeConfig("onnxruntime", ends=False).with_ends
    assert QuantizeConfig("openvino", narrow_weights=False).weight_peak == 127
    assert QuantizeConfig("tensorrt", narrow_weights=True).weight_peak == 63


@pytest.mark.parametrize(("form", "peak"), [("fp8", 448), ("w8a16", 127)])
def test_other_formats_use_all_their_levels(form: Any, peak: int) -> None:
    assert QuantizeConfig("tensorrt", format=form, narrow_weights=True).weight_peak == peak


def test_json_says_what_was_taken_where_nothing_was_asked_for() -> None:
    told = QuantizeConfig("openvino").to_dict()
    assert (told["ends"], told["narrow_weights"]) == (True, True)
