"""Shapes an engine takes, of several frames at once; files and graphs that do not take them are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deblurrt.core.artifacts import OnnxFile, write_onnx
from deblurrt.core.errors import ModelFileError, UsageError
from deblurrt.core.tensors import TensorSpec
from deblurrt.engines.build_config import BuildConfig, Shapes
from deblurrt.engines.shape_profile import check_batch, profile_of, size_to_fix, sizes_of

SHAPES = Shapes((64, 64), (720, 1280), (1088, 1920))


def file_of(*shape: int | str) -> OnnxFile:
    """A file of the bare network, never opened."""
    return OnnxFile(Path("m.onnx"), (TensorSpec("frames", "float32", shape),), ())


def test_number_of_frames_runs_from_one_to_the_most() -> None:
    profile = profile_of(file_of("batch", 3, "height", "width"), BuildConfig(shapes=SHAPES, batch_max=4))
    assert profile == {"frames": [[1, 3, 64, 64], [4, 3, 720, 1280], [4, 3, 1088, 1920]]}


@pytest.mark.parametrize("batch_max", [1, 3])
def test_file_of_one_size_keeps_it_for_any_number_of_frames(batch_max: int) -> None:
    file, config = file_of("batch", 3, 90, 120), BuildConfig(batch_max=batch_max)
    assert profile_of(file, config) == {"frames": [[1, 3, 90, 120], *[[batch_max, 3, 90, 120]] * 2]}
    assert sizes_of(file, config) == ((90, 120),) * 3
    assert size_to_fix(file, config) == ((90, 120) if batch_max > 1 else None)


@pytest.mark.parametrize(
    ("shape", "shapes"), [((1, 3, 90, 120), None), ((1, 3, "height", "width"), SHAPES)], ids=["fixed", "any size"]
)
def test_file_for_one_frame_is_refused_with_the_command_that_exports_it(
    shape: tuple[int | str, ...], shapes: Shapes | None
) -> None:
    file = file_of(*shape)
    assert isinstance(profile_of(file, BuildConfig(shapes=shapes)), dict)
    with pytest.raises(UsageError, match=r"m\.onnx is fixed to 1 frame at once, asked for up to 4; .* --dynamic"):
        profile_of(file, BuildConfig(shapes=shapes, batch_max=4))


def reshaped(folder: Path, *lengths: int) -> OnnxFile:
    """A file whose input promises any number of frames, and whose graph brings them into another shape."""
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3, "height", "width"])
        for name in ("frames", "restored")
    ]
    shape = numpy_helper.from_array(np.array(lengths, np.int64), "shape")
    node = helper.make_node("Reshape", ["frames", "shape"], ["restored"], name="body/view")
    graph = helper.make_graph([node], "view", values[:1], values[1:], [shape])
    return write_onnx(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), folder / "m.onnx"
    )


@pytest.mark.parametrize(
    ("lengths", "said"),
    [
        ((1, 3, 8, 8), "m.onnx gives [1, 3, 8, 8] for 4 frames at once and [1, 3, 8, 8] for one"),
        ((1, -1, 8, 8), "m.onnx gives [1, 12, 8, 8] for 4 frames at once and [1, 3, 8, 8] for one"),
    ],
)
def test_graph_made_for_one_frame_is_refused_whatever_its_input_promises(
    tmp_path: Path, lengths: tuple[int, ...], said: str
) -> None:
    model = onnx.load(reshaped(tmp_path, *lengths).path)
    check_batch("m.onnx", model, (8, 8), 1)
    with pytest.raises(ModelFileError) as caught:
        check_batch("m.onnx", model, (8, 8), 4)
    assert str(caught.value).startswith(said)
    assert "build it without --batch, or export the network again: deblurrt export MODEL --dynamic" in str(caught.value)


def test_node_that_does_not_take_several_frames_is_named(tmp_path: Path) -> None:
    model = onnx.load(reshaped(tmp_path, 1, 3, 8, 8).path)
    model.graph.node[0].output[0] = "view"
    model.graph.node.append(helper.make_node("Concat", ["frames", "view"], ["restored"], name="body/join", axis=1))
    check_batch("m.onnx", model, (8, 8), 1)
    with pytest.raises(ModelFileError, match=r"m\.onnx cannot take 4 frames at once: node 'body/join' \(Concat\)"):
        check_batch("m.onnx", model, (8, 8), 4)


def test_graph_that_gives_a_picture_for_each_frame_is_taken(tmp_path: Path) -> None:
    check_batch("m.onnx", onnx.load(reshaped(tmp_path, -1, 3, 8, 8).path), (8, 8), 4)
