"""Graphs whose frames have one size compute what they did, without what such frames do not need."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from deblurrt.core.artifacts import CONTRACT_KEY, OnnxFile, write_onnx
from deblurrt.engines.build_config import BuildConfig, Shapes
from deblurrt.engines.plugin_choice import file_for_builder
from deblurrt.engines.sized_graph import fix_frame_size
from deblurrt.export.deployment import deployed_contract, deployment_graph
from deblurrt.export.onnx_conversion import contract_in
from deblurrt.export.student_graph import student_model, weight_shapes
from deblurrt.models.student_config import StudentConfig

onnxruntime: Any = pytest.importorskip("onnxruntime", reason="no ONNX Runtime to compare with")

SMALL = StudentConfig(2, (8, 16), (1, 1), (1,))


@pytest.fixture(scope="module")
def any_size(tmp_path_factory: pytest.TempPathFactory) -> OnnxFile:
    generator = np.random.default_rng(0)
    weights = {
        name: generator.normal(0, 0.05, shape).astype(np.float32) for name, shape in weight_shapes(SMALL).items()
    }
    model = student_model(SMALL, weights, {"weights": "random:0"}, io="float")
    contract = contract_in(model, "small")
    deployed = deployment_graph(model, contract)
    onnx.helper.set_model_props(deployed, {CONTRACT_KEY: deployed_contract(contract).to_json()})
    return write_onnx(deployed, tmp_path_factory.mktemp("files") / "small.onnx")


def config(size: tuple[int, int], batch_max: int) -> BuildConfig:
    return BuildConfig(shapes=Shapes(size, size, size), batch_max=batch_max)


def restored(path: Path, frames: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(path), options).run(None, {"frames": frames})[0]


@pytest.mark.parametrize("size", [(48, 64), (41, 50)], ids=["a multiple", "filled up"])
@pytest.mark.parametrize("count", [1, 3])
def test_what_the_builder_gets_computes_the_same(
    any_size: OnnxFile, tmp_path: Path, size: tuple[int, int], count: int
) -> None:
    frames = np.random.default_rng(1).integers(0, 256, (count, *size, 3), np.uint8)
    path = file_for_builder(any_size, config(size, 3), tmp_path)
    assert path.parent == tmp_path
    np.testing.assert_array_equal(restored(path, frames), restored(any_size.path, frames))


def test_frames_that_need_no_filling_are_not_padded_and_not_cut(any_size: OnnxFile) -> None:
    before = Counter(node.op_type for node in onnx.load(any_size.path).graph.node)
    sized = {
        size: Counter(node.op_type for node in fix_frame_size(onnx.load(any_size.path), size).graph.node)
        for size in ((48, 64), (41, 50))
    }
    assert (before["Pad"], sized[48, 64]["Pad"], sized[41, 50]["Pad"]) == (1, 0, 1)
    assert sized[48, 64]["Slice"] < sized[41, 50]["Slice"]
    assert sized[41, 50]["Div"] < before["Div"]


def test_only_the_number_of_frames_stays_free(any_size: OnnxFile) -> None:
    (taken,) = fix_frame_size(onnx.load(any_size.path), (48, 64)).graph.input
    assert [dim.dim_value or dim.dim_param for dim in taken.type.tensor_type.shape.dim] == ["batch", 48, 64, 3]


def test_file_is_built_as_it_is_for_one_frame_or_several_sizes(any_size: OnnxFile, tmp_path: Path) -> None:
    several = BuildConfig(shapes=Shapes((32, 32), (48, 64), (64, 64)), batch_max=3)
    for asked in (config((48, 64), 1), several):
        assert file_for_builder(any_size, asked, tmp_path) == any_size.path


def test_weights_beside_the_file_come_along(any_size: OnnxFile, tmp_path: Path) -> None:
    outside = write_onnx(onnx.load(any_size.path), tmp_path / "outside.onnx", external_data=True)
    assert outside.weight_files
    (tmp_path / "copy").mkdir()
    path = file_for_builder(outside, config((48, 64), 2), tmp_path / "copy")
    frames = np.full((2, 48, 64, 3), 100, np.uint8)
    np.testing.assert_array_equal(restored(path, frames), restored(any_size.path, frames))
    assert sorted(entry.name for entry in path.parent.iterdir()) == sorted([path.name, *outside.weight_files])
