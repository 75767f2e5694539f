"""Estimates of memory: exact on graphs made by hand, close to real builds with TensorRT-RTX on small networks."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deblurrt.core.artifacts import write_onnx
from deblurrt.core.errors import ModelFileError
from deblurrt.engines.build_config import BuildConfig, Shapes
from deblurrt.engines.build_process import build_plan
from deblurrt.engines.memory_estimate import WORKSPACE_BYTES, estimate_memory
from deblurrt.engines.sized_graph import fix_frame_size
from deblurrt.export.export_config import ExportConfig, Precision
from deblurrt.export.onnx_conversion import OnnxConversion
from deblurrt.export.student_graph import student_model, weight_shapes
from deblurrt.models.student_config import StudentConfig

FLOAT, HALF = int(TensorProto.FLOAT), int(TensorProto.FLOAT16)
HEIGHT, WIDTH = 512, 512
#: pixels of a frame
AREA = HEIGHT * WIDTH
#: what an estimate may be off, of what the builder reports
TOLERANCE = 0.25
needs_builder = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="the extra rtx is not installed"
)


class Graph:
    """A graph in the making; ``frames`` are ``[1, 3, height, width]``, every value is named by who makes it."""

    def __init__(self, kind: int = FLOAT, sides: Sequence[int | str] = (HEIGHT, WIDTH)) -> None:
        self.kind, self.sides = kind, sides
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=f"node.{name}", **attributes))
        return name

    def constant(self, values: Any) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def conv(self, value: str, taken: int, given: int) -> str:
        dtype = helper.tensor_dtype_to_np_dtype(self.kind)
        weight = self.constant(np.zeros((given, taken, 3, 3), dtype))
        return self.add("Conv", value, weight, pads=[1, 1, 1, 1])

    def model(self, *outputs: str) -> Any:
        frames = helper.make_tensor_value_info("frames", self.kind, [1, 3, *self.sides])
        ranks = ["batch", "channels", "tall", "wide"]
        given = [helper.make_tensor_value_info(name, self.kind, ranks) for name in outputs]
        graph = helper.make_graph(self.nodes, "small", [frames], given, self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def chain(graph: Graph, channels: Sequence[int]) -> Any:
    value, taken = "frames", 3
    for given in channels:
        value, taken = graph.add("Relu", graph.conv(value, taken, given)), given
    return graph.model(graph.conv(value, taken, 8))


def residual(graph: Graph) -> Any:
    first = graph.conv("frames", 3, 16)
    inner = graph.add("Relu", graph.conv(first, 16, 32))
    joined = graph.add("Add", first, graph.conv(inner, 32, 16))
    return graph.model(graph.conv(joined, 16, 8))


def branches(graph: Graph) -> Any:
    first = graph.conv("frames", 3, 16)
    left = graph.conv(graph.conv(first, 16, 32), 32, 16)
    right = graph.conv(graph.conv(first, 16, 64), 64, 16)
    return graph.model(graph.conv(graph.add("Mul", left, right), 16, 8))


def concatenation(graph: Graph) -> Any:
    first = graph.conv("frames", 3, 16)
    joined = graph.add("Concat", first, graph.conv(first, 16, 24), axis=1)
    return graph.model(graph.conv(joined, 40, 8))


def shape_arithmetic(graph: Graph) -> Any:
    """Halves by a reshape whose sizes are split from the shape, as exporters write them."""
    first = graph.conv("frames", 3, 16)
    size = graph.add("Shape", first, start=2)
    graph.nodes.append(helper.make_node("Split", [size], ["tall", "wide"], name="split", num_outputs=2))
    half = graph.add("Div", "wide", graph.constant(np.array([2], np.int64)))
    lead = graph.constant(np.array([1, 32], np.int64))
    folded = graph.add("Reshape", first, graph.add("Concat", lead, "tall", half, axis=0))
    return graph.model(graph.conv(folded, 32, 8))


def activation(model: Any) -> int:
    return estimate_memory(model, (HEIGHT, WIDTH)).activation_bytes


@pytest.mark.parametrize(("kind", "width"), [(FLOAT, 4), (HALF, 2)], ids=["fp32", "fp16"])
@pytest.mark.parametrize("sides", [(HEIGHT, WIDTH), ("height", "width")], ids=["static", "dynamic"])
def test_chain_needs_two_values_and_room_for_work(kind: int, width: int, sides: Sequence[int | str]) -> None:
    estimate = activation(chain(Graph(kind, sides), (16, 16, 16)))
    assert estimate == 2 * 16 * AREA * width + WORKSPACE_BYTES


@pytest.mark.parametrize("count", [1, 3])
def test_values_of_all_frames_at_once_are_counted_and_room_for_work_once(count: int) -> None:
    model = chain(Graph(), (16, 16, 16))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    estimate = estimate_memory(model, (HEIGHT, WIDTH), count)
    assert estimate.activation_bytes == count * 2 * 16 * AREA * 4 + WORKSPACE_BYTES
    assert estimate.weight_bytes == estimate_memory(model, (HEIGHT, WIDTH)).weight_bytes


def test_residual_keeps_what_is_added_later() -> None:
    # 16 kept, 32 in between, 16 for the sum, which the addition is joined to
    assert activation(residual(Graph())) == (16 + 32 + 16) * AREA * 4 + WORKSPACE_BYTES


def test_parts_of_a_concatenation_are_written_to_their_places() -> None:
    assert activation(concatenation(Graph())) == 40 * AREA * 4 + WORKSPACE_BYTES


def test_sizes_are_followed_through_arithmetic_of_shapes() -> None:
    # a convolution's result and its copy of another shape; work fits beside either
    assert activation(shape_arithmetic(Graph(sides=("height", "width")))) == 2 * 16 * AREA * 4


def test_branches_that_run_side_by_side_share_nothing() -> None:
    # the source, what is in either branch, what one gives, and room for both to work; the other's lies in the source
    assert activation(branches(Graph())) == (16 + 32 + 16 + 64) * AREA * 4 + 2 * WORKSPACE_BYTES


def test_elementwise_nodes_between_convolutions_need_nothing() -> None:
    graph = Graph()
    value = graph.conv("frames", 3, 16)
    for operator in ("Relu", "Neg", "Sigmoid", "Abs"):
        value = graph.add(operator, value)
    assert activation(graph.model(graph.conv(value, 16, 8))) == 16 * AREA * 4 + WORKSPACE_BYTES


def test_frames_and_pictures_are_not_counted() -> None:
    graph = Graph()
    assert activation(graph.model(graph.add("Relu", "frames"))) == 0


def test_weights_are_counted_once_and_in_their_type() -> None:
    estimate = estimate_memory(chain(Graph(HALF), (16,)), (HEIGHT, WIDTH))
    assert estimate.weight_bytes == (3 * 16 * 9 + 16 * 8 * 9) * 2


def test_largest_values_are_named_with_their_nodes() -> None:
    largest = estimate_memory(chain(Graph(), (16, 32, 24)), (HEIGHT, WIDTH)).largest
    assert [(value.node, value.bytes) for value in largest] == [
        ("node.relu_3", 32 * AREA * 4),
        ("node.relu_5", 24 * AREA * 4),
        ("node.relu_1", 16 * AREA * 4),
    ]


def test_file_gives_what_its_model_gives(tmp_path: Path) -> None:
    model = chain(Graph(sides=("height", "width")), (16, 32))
    file = write_onnx(model, tmp_path / "m.onnx", external_data=True)
    assert estimate_memory(file, (HEIGHT, WIDTH)) == estimate_memory(onnx.load(str(file.path)), (HEIGHT, WIDTH))


def test_size_that_does_not_follow_names_the_node() -> None:
    graph = Graph()
    found = graph.add("NonZero", "frames")
    with pytest.raises(ModelFileError, match=r"node\.nonzero_0"):
        activation(graph.model(found))


@needs_builder
@pytest.mark.parametrize("sides", [(HEIGHT, WIDTH), ("height", "width")], ids=["static", "dynamic"])
@pytest.mark.parametrize("kind", [FLOAT, HALF], ids=["fp32", "fp16"])
@pytest.mark.parametrize("network", [residual, branches, concatenation, shape_arithmetic])
def test_estimate_is_near_what_the_builder_reports(
    tmp_path: Path, network: Any, kind: int, sides: Sequence[int | str]
) -> None:
    check_against_build(network(Graph(kind, sides)), tmp_path)


@needs_builder
def test_estimate_of_a_chain_is_near_what_the_builder_reports(tmp_path: Path) -> None:
    check_against_build(chain(Graph(sides=("height", "width")), (16, 48, 24, 64, 16)), tmp_path)


@needs_builder
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_estimate_of_a_whole_network_is_near_what_the_builder_reports(tmp_path: Path, precision: Precision) -> None:
    model = OnnxConversion(small_student(), "student", ExportConfig(precision=precision)).run()
    check_against_build(model, tmp_path)


@needs_builder
def test_estimate_of_several_frames_is_near_what_the_builder_reports(tmp_path: Path) -> None:
    most, model = (HEIGHT, WIDTH), small_student()
    file = write_onnx(model, tmp_path / "m.onnx")
    config = BuildConfig(shapes=Shapes(most, most, most), batch_max=4)
    built = build_plan(file, config, tmp_path / "m.engine").log.activation_bytes
    assert built is not None
    assert abs(estimate_memory(fix_frame_size(model, most), most, 4).activation_bytes / built - 1) <= TOLERANCE


def small_student() -> Any:
    config = StudentConfig(2, (16, 32), (1, 1), (1,))
    generator = np.random.default_rng(0)
    weights = {
        name: generator.normal(0, 0.05, shape).astype(np.float32) for name, shape in weight_shapes(config).items()
    }
    return student_model(config, weights, {"weights": "random:0"}, io="float")


def check_against_build(model: Any, folder: Path) -> None:
    is_free = any(not dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim)
    most = (HEIGHT, WIDTH)
    config = BuildConfig(shapes=Shapes((64, 64), most, most) if is_free else None)
    file = write_onnx(model, folder / "m.onnx")
    built = build_plan(file, config, folder / "m.engine").log.activation_bytes
    assert built is not None
    assert abs(estimate_memory(file, most).activation_bytes / built - 1) <= TOLERANCE
