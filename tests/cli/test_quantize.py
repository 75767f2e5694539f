"""``deblurrt quantize``: a file, a report, and documented exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from deblurrt.core.artifacts import open_onnx
from deblurrt.runtime.backend import BackendConfig
from deblurrt.runtime.session import SessionConfig, open_session
from tests.calibration.small_networks import residual, write_frames, write_noise, write_pairs

Deblurrt = Callable[..., int]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "small.onnx"
    onnx.save(residual(), path)
    return path


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    return write_pairs(tmp_path / "pairs", 8)


def test_shipped_network_becomes_a_file_that_runs(
    deblurrt: Deblurrt, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, report = tmp_path / "fast.onnx", tmp_path / "report"
    options = ("--target", "openvino", "-o", path, "--report", report, "--json", "-")
    assert deblurrt("quantize", "fast", "--data", pairs, *options) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["share_8bit"] == 1.0
    assert len(result["calibration"]["frames"]) == 6
    assert open_onnx(path).summary["macs_per_pixel"] == {"int8": 9472}
    page = (report / "index.html").read_text()
    assert "http" not in page
    assert {entry.name for entry in report.iterdir()} >= {"index.html", "report.json", "frame0_difference.png"}
    assert json.loads((report / "report.json").read_text())["lost_db"] == result["lost_db"]
    with open_session(path, SessionConfig(options=BackendConfig("fp32"), backend="onnxruntime")) as session:
        shot = next((tmp_path / "pairs" / "blur").iterdir())
        assert shot.is_file()
        session.warm_up((48, 64))


def test_inspect_tells_of_the_calibration(
    deblurrt: Deblurrt, model: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "int8.onnx"
    assert deblurrt("quantize", model, "--data", pairs, "--rest", "fp32", "-o", path) == 0
    capsys.readouterr()
    assert deblurrt("inspect", path) == 0
    assert "6 frames" in capsys.readouterr().out


def test_rest_becomes_half_precision_for_tensorrt(deblurrt: Deblurrt, model: Path, pairs: Path, tmp_path: Path) -> None:
    path = tmp_path / "int8.onnx"
    assert deblurrt("quantize", model, "--data", pairs, "-o", path) == 0
    loaded = onnx.load(path)
    kinds = {tensor.name: tensor.data_type for tensor in loaded.graph.initializer}
    assert kinds["conv1.weight/quantized"] == onnx.TensorProto.INT8
    assert kinds["tail.weight.low"] == onnx.TensorProto.FLOAT16
    assert kinds["head/scale.low"] == onnx.TensorProto.FLOAT16


@pytest.fixture
def workplace(model: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a network and folders of frames of every kind."""
    folder = model.parent
    write_noise(folder / "noise")
    for name, count in (("few", 2), ("val", 8), ("pictures", 8)):
        write_frames(folder / name, count)
    assert pairs.parent == folder
    monkeypatch.chdir(folder)
    return folder


def refusals() -> list[Any]:
    return [
        pytest.param((), 2, "needs frames to calibrate on", id="no data"),
        pytest.param(("--data", "nowhere"), 6, "no data at", id="missing"),
        pytest.param(("--data", "noise"), 6, "is no picture", id="random"),
        pytest.param(("--data", "few"), 6, "too few frames", id="too few"),
        pytest.param(("--data", "pairs", "--frames", "500"), 6, "500 wanted", id="fewer than asked for"),
        pytest.param(("--data", "val"), 2, "is of the val split", id="split"),
        pytest.param(("--data", "pairs", "--exclude", "nothing"), 2, "matches no layer", id="pattern"),
        pytest.param(("--data", "pictures", "--psnr-budget", "0"), 3, "the budget is 0 dB", id="budget"),
        pytest.param(("--data", "pairs", "--target", "openvino", "--format", "fp8"), 2, "fp8 is for", id="format"),
    ]


@pytest.mark.parametrize(("options", "code", "told"), refusals())
def test_what_is_wrong_is_said_in_one_line(
    deblurrt: Deblurrt,
    workplace: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    code: int,
    told: str,
) -> None:
    assert deblurrt("quantize", "small.onnx", *options, "-o", "int8.onnx", "--rest", "fp32") == code
    assert told in capsys.readouterr().err
    assert not (workplace / "int8.onnx").exists()


def test_existing_file_is_kept_without_force(deblurrt: Deblurrt, model: Path, pairs: Path, tmp_path: Path) -> None:
    path = tmp_path / "int8.onnx"
    path.write_bytes(b"mine")
    assert deblurrt("quantize", model, "--data", pairs, "-o", path) == 7
    assert path.read_bytes() == b"mine"


def test_allowed_test_split_is_marked(deblurrt: Deblurrt, model: Path, tmp_path: Path) -> None:
    folder, path = write_frames(tmp_path / "test", 8), tmp_path / "int8.onnx"
    assert deblurrt("quantize", model, "--data", folder, "--allow-test-split", "-o", path) == 0
    assert open_onnx(path).provenance["calibration"]["test_split"] == "test"
