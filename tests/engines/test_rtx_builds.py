"""Real builds with TensorRT-RTX, which needs no GPU for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from deblurrt.core.artifacts import OnnxFile, write_onnx
from deblurrt.core.errors import ModelFileError
from deblurrt.core.tensors import TensorSpec
from deblurrt.engines.build_config import BuildConfig, Shapes
from deblurrt.engines.build_process import BuiltPlan, build_plan
from deblurrt.export.export_config import ExportConfig, Precision
from deblurrt.export.onnx_conversion import OnnxConversion
from deblurrt.export.student_graph import student_model, weight_shapes
from deblurrt.models.student_config import StudentConfig
from deblurrt.plugins.onnx_ops import add_bodies, strip_bodies
from tests.plugins.op_graphs import EXAMPLES, FLOAT, HALF, example_of, free_shapes, graph_of, random_inputs

pytest.importorskip("tensorrt_rtx", reason="the extra rtx is not installed")

SMALL = StudentConfig(2, (16, 32), (1, 1), (1,))
SHAPES = Shapes((32, 32), (90, 160), (128, 192))


def build(file: OnnxFile, folder: Path, shapes: Shapes | None = None) -> BuiltPlan:
    return build_plan(file, BuildConfig(shapes=shapes), folder / "m.engine")


def exported(folder: Path, config: ExportConfig) -> OnnxFile:
    generator = np.random.default_rng(0)
    weights = {
        name: generator.normal(0, 0.05, shape).astype(np.float32) for name, shape in weight_shapes(SMALL).items()
    }
    model = student_model(SMALL, weights, {"weights": "random:0"}, io="float")
    return write_onnx(OnnxConversion(model, "small", config).run(), folder / "small.onnx")


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", "Float"), ("fp16", "Half")])
@pytest.mark.parametrize("size", [None, (90, 161)])
def test_convolutions_of_an_engine_compute_in_the_types_of_the_file(
    tmp_path: Path, precision: Precision, dtype: str, size: tuple[int, int] | None
) -> None:
    file = exported(tmp_path, ExportConfig(size=size, precision=precision))
    built = build(file, tmp_path, SHAPES if size is None else None)
    convolutions = [layer for layer in built.log.layers if layer.kind == "correlation"]
    assert convolutions
    assert {tensor.dtype for layer in convolutions for tensor in (*layer.inputs, *layer.outputs)} == {dtype}
    assert built.log.activation_bytes
    assert built.path.stat().st_size > 0


@pytest.mark.parametrize("kind", [FLOAT, HALF], ids=["fp32", "fp16"])
@pytest.mark.parametrize("case", EXAMPLES, ids=lambda case: f"{case[0]}-{case[1]}")
def test_bodies_of_our_operators_build(tmp_path: Path, case: tuple[str, int], kind: int) -> None:
    operator, example = example_of(case)
    arrays = random_inputs(operator, example.shapes)
    maps, weights = free_shapes(operator, arrays)
    fixed = {name: list(arrays[name].shape) for name in maps}
    model = add_bodies(graph_of(operator, fixed, example.attributes, constants=weights, kind=kind))
    file = write_onnx(model, tmp_path / "op.onnx")
    assert build(file, tmp_path).log.layers


def test_stripped_operator_is_refused_by_name(tmp_path: Path) -> None:
    model = strip_bodies(graph_of("LocalAvgPool", {"x": (1, 4, 32, 32)}, {"window": [8, 8]}))
    path = tmp_path / "op.onnx"
    path.write_bytes(model.SerializeToString())
    file = OnnxFile(path, (TensorSpec("x", "float32", (1, 4, 32, 32)),), ())
    with pytest.raises(ModelFileError, match="LocalAvgPool"):
        build(file, tmp_path)


def test_file_with_weights_beside_it_builds(tmp_path: Path) -> None:
    file = exported(tmp_path, ExportConfig(size=(64, 64)))
    model = onnx.load(str(file.path))
    moved = write_onnx(model, tmp_path / "moved.onnx", external_data=True)
    assert len(moved.weight_files) == 1
    assert build(moved, tmp_path).log.layers
