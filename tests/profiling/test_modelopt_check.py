"""The comparison with modelopt, which is played by a package that writes what the test wants."""

from __future__ import annotations

import sys
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from deblurrt.core.artifacts import open_onnx
from deblurrt.core.errors import QualityError
from deblurrt.profiling import modelopt_check
from deblurrt.profiling.modelopt_check import Contest, calibration_pieces, contest_row, share_in_int8
from tests.calibration.small_networks import residual, write_frames

#: writes the graph as it got it, without its metadata, as modelopt does; says what it was given
STAND_IN = """
import onnx
def quantize(graph, *, calibration_data, calibration_method, output_path, **_options):
    model = onnx.load(graph)
    del model.metadata_props[:]
    onnx.save(model, output_path)
    print({name: array.shape for name, array in calibration_data.items()}, calibration_method)
"""
MACS = {"head": 300, "conv1": 100}


@pytest.fixture
def contest(tmp_path: Path) -> Contest:
    path = tmp_path / "small.onnx"
    onnx.save(residual(), path)
    return Contest.of(open_onnx(path), write_frames(tmp_path / "frames", 9))


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "installed" / "modelopt" / "onnx"
    package.mkdir(parents=True)
    (package / "quantization.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "installed"))
    monkeypatch.setattr(modelopt_check, "engine_row", lambda file: {"shares": {"fp32": 1.0}, "of": file.path.name})


@pytest.mark.usefixtures("stand_in")
def test_file_of_modelopt_is_scored_under_the_contract_of_the_float_one(contest: Contest, tmp_path: Path) -> None:
    row = contest_row(contest, tmp_path, "small", ("modelopt", "max"), sys.executable)
    assert (row["lost_db"], row["share"]) == (0.0, 0.0)
    assert row["engine"] == {"shares": {"fp32": 1.0}, "of": "small_modelopt_max.onnx"}
    assert row["peak_mib"] > 0
    told = (tmp_path / "small_modelopt_max.log").read_text().strip()
    assert told == "{'frames': (6, 3, 48, 64)} max"


def test_interpreter_without_modelopt_gives_a_row_that_says_so(contest: Contest, tmp_path: Path) -> None:
    row = contest_row(contest, tmp_path, "small", ("modelopt", "max"), sys.executable)
    assert row["error"] == "ended with 1: ModuleNotFoundError: No module named 'modelopt'"


def test_both_tools_are_given_the_same_pieces(contest: Contest) -> None:
    pieces = calibration_pieces(contest)
    assert pieces.shape == (len(contest.frames.calibration), 3, 48, 64)
    first = next(iter(contest.frames.calibration)).pixels
    assert (pieces[0].transpose(1, 2, 0) * 255).round().astype("uint8").tolist() == first.tolist()


def test_share_counts_products_whose_input_and_weights_are_in_8_bits() -> None:
    assert share_in_int8(graph("frames_low", "weights_low"), MACS) == 0.75
    assert share_in_int8(graph("frames", "weights_low"), MACS) == 0.0


def test_share_of_a_graph_whose_layers_lost_their_names_is_not_guessed() -> None:
    with pytest.raises(QualityError, match="1 layers lost their names, gone first"):
        share_in_int8(graph("frames_low", "weights_low"), {**MACS, "gone": 1})


def graph(taken: str, weights: str) -> onnx.ModelProto:
    """Two convolutions; ``head`` takes what is named, ``conv1`` is in float."""
    nodes = [
        helper.make_node("DequantizeLinear", ["frames_int", "step"], ["frames_low"]),
        helper.make_node("DequantizeLinear", ["weights_int", "step"], ["weights_low"]),
        helper.make_node("Conv", [taken, weights], ["inner"], name="head"),
        helper.make_node("Conv", ["inner", "weights"], ["restored"], name="conv1"),
    ]
    return helper.make_model(helper.make_graph(nodes, "small", [value("frames")], [value("restored")]))


def value(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
