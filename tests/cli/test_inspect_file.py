"""``deblurrt inspect``: facts, JSON, what it refuses."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from deblurrt.core.contract import FrameContract
from deblurrt.runtime.shipped_models import SHIPPED, find_model
from tests.tiny_graphs import write_conv, write_identity

Deblurrt = Callable[..., int]
KERNEL = np.ones((3, 3, 3, 3), np.float32)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_conv(tmp_path / "conv.onnx", KERNEL, FrameContract(io="float", multiple=4))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_models_are_shown_whole(deblurrt: Deblurrt, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert deblurrt("inspect", name) == 0
    shown = capsys.readouterr().out
    sha256 = hashlib.sha256(find_model(name).read_bytes()).hexdigest()
    parts = (sha256, "uint8['batch', 'height', 'width', 3]", "task deblur, window 1, scale 1", "none needed")
    assert [part for part in parts if part not in shown] == []


def test_json_holds_what_the_table_shows(
    deblurrt: Deblurrt, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deblurrt("inspect", model, "--json", "-") == 0
    result = json.loads(capsys.readouterr().out)
    assert deblurrt("inspect", model, "--json", tmp_path / "report.json") == 0
    assert json.loads((tmp_path / "report.json").read_text()) == result
    assert result["file"] == str(model)
    assert result["size_bytes"] == model.stat().st_size
    assert result["contract"]["multiple"] == 4
    assert result["inputs"] == [{"name": "frames", "dtype": "float32", "shape": ["batch", 3, "height", "width"]}]
    assert (result["operators"], result["parameters"], result["opsets"]["ai.onnx"]) == ({"Conv": 1}, 81, 20)


def test_file_without_metadata_says_so(deblurrt: Deblurrt, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert deblurrt("inspect", write_identity(tmp_path / "i.onnx")) == 0
    shown = capsys.readouterr().out
    assert "does not say what it needs of frames" in shown
    assert "does not say where they come from" in shown


def test_random_weights_and_precision_shares_are_shown(
    deblurrt: Deblurrt, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proto = onnx.load(model)
    proto.metadata_props.add(key="deblurrt.provenance", value='{"weights": "random:7"}')
    proto.metadata_props.add(key="deblurrt.summary", value='{"macs_per_pixel": {"fp32": 1, "fp16": 3}}')
    onnx.save(proto, model)
    assert deblurrt("inspect", model) == 0
    shown = capsys.readouterr().out
    assert "RANDOM, never trained: weights random:7" in shown
    assert "25.0% fp32, 75.0% fp16" in shown


@pytest.mark.parametrize("has_body", [True, False])
def test_plugins_bodies_and_foreign_operators_are_named(
    deblurrt: Deblurrt, model: Path, has_body: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    proto = onnx.load(model)
    ours, foreign = onnx.helper.make_opsetid("deblurrt", 1), onnx.helper.make_opsetid("com.microsoft", 1)
    proto.opset_import.extend([ours, foreign])
    proto.graph.node[0].output[0] = "sharp"
    proto.graph.node.append(onnx.helper.make_node("OtherPool", ["sharp"], ["pooled"], domain="deblurrt"))
    proto.graph.node.append(onnx.helper.make_node("Gelu", ["pooled"], ["restored"], domain="com.microsoft"))
    if has_body:
        body = [onnx.helper.make_node("Identity", ["x"], ["y"])]
        opset = [onnx.helper.make_opsetid("", 20)]
        proto.functions.append(onnx.helper.make_function("deblurrt", "OtherPool", ["x"], ["y"], body, opset))
    onnx.save(proto, model)
    assert deblurrt("inspect", model) == 0
    shown = capsys.readouterr().out
    assert ("deblurrt::OtherPool: Identity 1" in shown) == has_body
    assert ("runs without plugins too" if has_body else "(1 nodes, no body): runs only with the plugins") in shown
    assert "com.microsoft::Gelu: only the runtime they come from has these" in shown


def test_missing_external_data_ends_with_6_after_the_report(
    deblurrt: Deblurrt, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx.save(onnx.load(model), model, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert deblurrt("inspect", model) == 0
    assert hashlib.sha256((tmp_path / "weights.bin").read_bytes()).hexdigest() in capsys.readouterr().out
    (tmp_path / "weights.bin").unlink()
    assert deblurrt("inspect", model, "--json", "-") == 6
    shown = capsys.readouterr()
    assert "'weights.bin' is missing" in shown.err
    external = json.loads(shown.out)["external"]
    assert external == [{"location": "weights.bin", "size_bytes": None, "sha256": None, "problem": "is missing"}]


@pytest.mark.parametrize(
    ("content", "expected"),
    [(None, "no model file at"), (b"some text\n", "is not an ONNX model"), (b"", "is not an ONNX model")],
    ids=["missing", "text", "empty"],
)
def test_what_is_no_model_ends_with_6(
    deblurrt: Deblurrt, tmp_path: Path, content: bytes | None, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.onnx"
    if content is not None:
        path.write_bytes(content)
    assert deblurrt("inspect", path) == 6
    assert expected in capsys.readouterr().err


def test_truncated_model_ends_with_6(deblurrt: Deblurrt, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model.write_bytes(model.read_bytes()[:-60])
    assert deblurrt("inspect", model) == 6
    assert "conv.onnx is not an ONNX model" in capsys.readouterr().err


def test_json_place_is_checked_first(deblurrt: Deblurrt, model: Path, tmp_path: Path) -> None:
    assert deblurrt("inspect", model, "--json", tmp_path / "none" / "report.json") == 7


def test_without_a_file_is_wrong_usage(deblurrt: Deblurrt) -> None:
    assert deblurrt("inspect") == 2


def test_package_onnx_is_all_it_needs(model: Path) -> None:
    code = """
import sys
sys.modules.update(dict.fromkeys(["torch", "onnxruntime", "onnxscript", "openvino", "av", "tensorrt"]))
from deblurrt.cli.main import main
main()
"""
    command = [sys.executable, "-c", code, "inspect", str(model)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_missing_package_onnx_ends_with_5(model: Path) -> None:
    code = "import sys; sys.modules['onnx'] = None; from deblurrt.cli.main import main; main()"
    command = [sys.executable, "-c", code, "inspect", str(model)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 5
    assert "onnx is needed to read a model file" in done.stderr
