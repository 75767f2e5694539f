"""Quantised files in TensorRT-RTX, which needs no GPU to build them: what their convolutions compute in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deblurrt.calibration import FrameChoice, Quantization, QuantizeConfig, choose_frames
from deblurrt.core.artifacts import OnnxFile, write_onnx
from deblurrt.core.errors import BackendError
from deblurrt.engines.build_config import BuildConfig, Shapes
from deblurrt.engines.build_process import build_plan
from tests.calibration.small_networks import CONTRACT, transposed, write_frames

pytest.importorskip("tensorrt_rtx", reason="the extra rtx is not installed")

SHAPES = Shapes((32, 32), (64, 64), (96, 96))


def quantised(folder: Path, form: Any) -> OnnxFile:
    frames = choose_frames(FrameChoice((write_frames(folder / "pictures", 6),)), CONTRACT)
    config = QuantizeConfig("tensorrt", format=form, ends=True)
    model = Quantization(transposed(), "small", CONTRACT, frames, config).run()
    return write_onnx(model, folder / f"{form}.onnx")


@pytest.mark.parametrize(("form", "targets", "dtype"), [("int8", (), "Int8"), ("fp8", ("sm89", "sm120"), "FP8")])
def test_every_convolution_computes_in_8_bits_the_transposed_one_too(
    tmp_path: Path, form: str, targets: tuple[str, ...], dtype: str
) -> None:
    built = build_plan(quantised(tmp_path, form), BuildConfig(shapes=SHAPES, targets=targets), tmp_path / "m.engine")
    taken = {layer.name: layer.inputs[0].dtype for layer in built.log.layers if layer.kind == "correlation"}
    assert set(taken.values()) == {dtype}
    assert any(name.startswith("up") for name in taken)
    assert not any(layer.kind == "deconv" for layer in built.log.layers)


def test_8_bit_floats_are_refused_for_gpus_before_sm_89(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="fp8"):
        build_plan(quantised(tmp_path, "fp8"), BuildConfig(shapes=SHAPES, targets=("sm86",)), tmp_path / "m.engine")
