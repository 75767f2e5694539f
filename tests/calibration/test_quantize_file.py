"""From file to file in one call."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from deblurrt.calibration import FrameChoice, Frames, QuantizeConfig, choose_frames, quantize
from deblurrt.core.artifacts import OnnxFile, open_onnx
from deblurrt.core.errors import OutputError, QualityError
from deblurrt.runtime.backend import BackendConfig
from deblurrt.runtime.session import SessionConfig, open_session
from tests.calibration.small_networks import CONTRACT, residual, write_frames


@pytest.fixture
def frames(tmp_path: Path) -> Frames:
    return choose_frames(FrameChoice((write_frames(tmp_path / "frames", 6),)), CONTRACT)


@pytest.fixture
def small(tmp_path: Path) -> OnnxFile:
    onnx.save(residual(), tmp_path / "small.onnx")
    return open_onnx(tmp_path / "small.onnx")


@pytest.mark.parametrize("target", ["tensorrt", "openvino", "onnxruntime"])
def test_quantised_file_restores_frames_as_the_float_one_does(frames: Frames, small: OnnxFile, target: str) -> None:
    file = quantize(small, frames, QuantizeConfig(target))  # type: ignore[arg-type]
    assert file.path == small.path.with_name("small_int8.onnx")
    assert file.contract == small.contract
    assert any(operator == "QuantizeLinear" for operator in file.summary["operators"])
    shot = next(iter(frames.held_out))
    restored = []
    for path in (small.path, file.path):
        with open_session(path, SessionConfig(options=BackendConfig("fp32"), backend="onnxruntime")) as session:
            restored.append(np.asarray(session.restore(shot.pixels)).astype(int))
    # few levels: a network 4 channels wide has no room to spare, and 8 bits have 256
    assert 0 < np.abs(restored[0] - restored[1]).mean() < 2


def test_place_and_format_name_the_file(frames: Frames, small: OnnxFile, tmp_path: Path) -> None:
    place = tmp_path / "mine.onnx"
    assert quantize(small, frames, QuantizeConfig("openvino"), place).path == place
    assert quantize(small, frames, QuantizeConfig(format="w8a16")).path.name == "small_w8a16.onnx"


def test_existing_file_is_replaced_only_by_force(frames: Frames, small: OnnxFile, tmp_path: Path) -> None:
    place = tmp_path / "mine.onnx"
    place.write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists already"):
        quantize(small, frames, QuantizeConfig("openvino"), place)
    assert place.read_bytes() == b"mine"
    quantize(small, frames, QuantizeConfig("openvino"), place, force=True)
    assert open_onnx(place).provenance["calibration"]["target"] == "openvino"


def test_budget_that_cannot_be_met_writes_no_file(frames: Frames, small: OnnxFile) -> None:
    with pytest.raises(QualityError):
        quantize(small, frames, QuantizeConfig("openvino", psnr_budget_db=0.0))
    assert [path.name for path in small.path.parent.glob("*.onnx*")] == ["small.onnx"]


def test_same_call_gives_the_same_bytes(frames: Frames, small: OnnxFile, tmp_path: Path) -> None:
    written = [
        quantize(small, frames, QuantizeConfig("onnxruntime"), tmp_path / name).path.read_bytes()
        for name in ("a.onnx", "b.onnx")
    ]
    assert written[0] == written[1]
