"""Operators of our own in ONNX files: bodies against references, on every runtime at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from deblurrt.core.errors import ContractError, ModelFileError, UsageError
from deblurrt.models.deform_conv import modulated_deform_conv2d
from deblurrt.models.local_pool import local_mean2d
from deblurrt.plugins.onnx_ops import add_bodies, inline_bodies, node, strip_bodies, uses_plugins
from deblurrt.plugins.onnx_schemas import register_schemas
from deblurrt.plugins.ops import PLUGINS, plugin_op
from deblurrt.plugins.plugin_op import LOWERINGS
from tests.plugins.op_graphs import EXAMPLES, HALF, Arrays, example_of, free_shapes, graph_of, random_inputs, run, worst

#: running sums of a few hundred normal numbers in float32
POOL_TOLERANCE = 1e-5
#: bilinear fractions at coordinates of up to a hundred pixels, summed over up to 72 products
DEFORM_TOLERANCE = 1e-4
#: share of the largest value: half precision rounds to 5e-4, and products inside once more
HALF_TOLERANCE = 2e-3
TOLERANCES = {"LocalAvgPool": POOL_TOLERANCE, "ModulatedDeformConv": DEFORM_TOLERANCE}

every_example = pytest.mark.parametrize("case", EXAMPLES, ids=str)
every_lowering = pytest.mark.parametrize("lowering", LOWERINGS)

#: window, size of the map: odd, even, larger than the map, not square
WINDOWS = [
    ((3, 3), (12, 17)),
    ((4, 4), (12, 17)),
    ((5, 2), (9, 20)),
    ((48, 96), (60, 100)),
    ((96, 96), (40, 130)),
    ((384, 384), (30, 40)),
    ((1, 7), (8, 8)),
    ((384, 5), (400, 6)),
]
#: size of the map, groups, offset groups, stride and dilation, reach of the offsets
MOVES = [
    ((9, 13), 1, 2, 1, 60.0),
    ((9, 13), 2, 4, 1, 3.0),
    ((15, 10), 4, 1, 2, 3.0),
    ((1, 1), 1, 1, 1, 3.0),
    ((7, 1), 1, 8, 1, 3.0),
]


def pool_case(window: tuple[int, int], size: tuple[int, int]) -> tuple[Arrays, dict[str, Any]]:
    x = np.random.default_rng(0).uniform(-0.3, 1.7, (2, 3, *size)).astype(np.float32)
    return {"x": x}, {"window": window}


def deform_case(
    size: tuple[int, int], groups: int, offset_groups: int, step: int, reach_px: float
) -> tuple[Arrays, dict[str, Any]]:
    """A 3x3 convolution of 8 channels to 4 whose stride and dilation are ``step``."""
    generator = np.random.default_rng(0)
    out = [(length - 1) // step + 1 for length in size]
    inputs = {
        "x": generator.normal(0, 1, (2, 8, *size)),
        "offset": generator.uniform(-reach_px, reach_px, (2, 18 * offset_groups, *out)),
        "mask": generator.uniform(0, 1, (2, 9 * offset_groups, *out)),
        "weight": generator.normal(0, 0.3, (4, 8 // groups, 3, 3)),
        "bias": generator.normal(0, 1, 4),
    }
    pair = (step, step)
    attributes = {"strides": pair, "pads": pair, "dilations": pair, "groups": groups, "offset_groups": offset_groups}
    return {name: array.astype(np.float32) for name, array in inputs.items()}, attributes


CASES = [("LocalAvgPool", *pool_case(*case)) for case in WINDOWS]
CASES += [("ModulatedDeformConv", *deform_case(*case)) for case in MOVES]
every_case = pytest.mark.parametrize(("operator", "arrays", "attributes"), CASES)


def with_body(operator: str, arrays: Arrays, attributes: Any, lowering: Any = "portable") -> onnx.ModelProto:
    shapes = {name: array.shape for name, array in arrays.items()}
    model: onnx.ModelProto = add_bodies(graph_of(operator, shapes, attributes), lowering)
    return model


@every_example
@every_lowering
def test_body_equals_the_reference_on_every_example(case: tuple[str, int], lowering: str) -> None:
    operator, example = example_of(case)
    arrays = random_inputs(operator, example.shapes)
    expected = plugin_op(operator).reference(*arrays.values(), **example.attributes)
    model = with_body(operator, arrays, example.attributes, lowering)
    assert worst(run(model, arrays), expected) < TOLERANCES[operator]


@every_case
@every_lowering
def test_body_computes_the_reference(operator: str, arrays: Arrays, attributes: Any, lowering: str) -> None:
    model = with_body(operator, arrays, attributes, lowering)
    onnx.checker.check_model(model, full_check=True)
    expected = plugin_op(operator).reference(**arrays, **attributes)
    assert worst(run(model, arrays), expected) < TOLERANCES[operator]


@pytest.mark.parametrize(("operator", "arrays", "attributes"), [CASES[3], CASES[9]])
def test_half_precision_goes_in_and_comes_out(operator: str, arrays: Arrays, attributes: Any) -> None:
    halves = {name: array.astype(np.float16) for name, array in arrays.items()}
    shapes = {name: array.shape for name, array in arrays.items()}
    result = run(add_bodies(graph_of(operator, shapes, attributes, kind=HALF)), halves)
    expected = plugin_op(operator).reference(**halves, **attributes)
    assert result.dtype == np.float16
    assert worst(result, expected) < HALF_TOLERANCE * max(1.0, float(np.abs(expected).max()))


@pytest.mark.parametrize(("operator", "arrays", "attributes"), [CASES[2], CASES[9], CASES[10]])
def test_openvino_runs_the_inlined_form(operator: str, arrays: Arrays, attributes: Any, tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    inlined = inline_bodies(with_body(operator, arrays, attributes))
    assert uses_plugins(inlined) == []
    assert not inlined.functions
    onnx.save(inlined, tmp_path / "inlined.onnx")
    network = openvino.Core().compile_model(str(tmp_path / "inlined.onnx"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    expected = plugin_op(operator).reference(**arrays, **attributes)
    assert worst(network(arrays)[0], expected) < DEFORM_TOLERANCE


@pytest.mark.parametrize(("operator", "arrays", "attributes"), CASES[: len(WINDOWS)])
def test_torch_pools_as_the_reference_does(operator: str, arrays: Arrays, attributes: Any) -> None:
    pooled = local_mean2d(torch.from_numpy(arrays["x"]).double(), attributes["window"])
    assert worst(pooled.numpy(), plugin_op(operator).reference(**arrays, **attributes)) < 1e-12


@pytest.mark.parametrize(("operator", "arrays", "attributes"), CASES[len(WINDOWS) :])
def test_torch_convolves_as_the_reference_does(operator: str, arrays: Arrays, attributes: Any) -> None:
    x, offset, mask, weight, bias = (torch.from_numpy(array).double() for array in arrays.values())
    steps = {"stride": attributes["strides"], "padding": attributes["pads"], "dilation": attributes["dilations"]}
    convolved = modulated_deform_conv2d(x, offset, mask, weight, bias, **steps)
    assert worst(convolved.numpy(), plugin_op(operator).reference(**arrays, **attributes)) < 1e-12


def test_one_file_serves_every_size() -> None:
    arrays, attributes = pool_case((3, 3), (12, 17))
    shapes, _ = free_shapes("LocalAvgPool", arrays)
    model = add_bodies(graph_of("LocalAvgPool", shapes, attributes))
    for size in ((2, 2), (5, 40), (64, 3)):
        x = np.random.default_rng(1).random((1, 3, *size), dtype=np.float32)
        assert worst(run(model, {"x": x}), plugin_op("LocalAvgPool").reference(x, **attributes)) < POOL_TOLERANCE


@every_example
def test_shapes_are_inferred_from_the_schema(case: tuple[str, int]) -> None:
    register_schemas()
    operator, example = example_of(case)
    arrays = random_inputs(operator, example.shapes)
    model = graph_of(operator, {name: array.shape for name, array in arrays.items()}, example.attributes)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    expected = plugin_op(operator).reference(*arrays.values(), **example.attributes).shape
    assert (
        plugin_op(operator).output_shape(example.shapes, plugin_op(operator).complete(example.attributes)) == expected
    )
    assert inferred.graph.output[0].type.tensor_type.HasField("shape")


@pytest.mark.parametrize("case", [CASES[0], CASES[9]])
def test_bodies_can_be_taken_out(case: tuple[str, Arrays, Any]) -> None:
    model = add_bodies(with_body(*case))
    assert len(model.functions) == 1
    assert uses_plugins(model) == [case[0]]
    assert not strip_bodies(model).functions
    register_schemas()
    onnx.checker.check_model(model, full_check=True)


def test_nodes_carry_the_marks_by_which_tensorrt_takes_the_plugin() -> None:
    made = node("LocalAvgPool", ["x"], ["y"], {"window": (3, 3)})
    marks = {entry.name: helper.get_attribute_value(entry) for entry in made.attribute}
    assert (marks["plugin_namespace"], marks["plugin_version"]) == (b"deblurrt", b"1")


@pytest.mark.parametrize("attributes", [{}, {"window": (3,)}, {"window": (3, 3), "stride": 2}])
def test_impossible_nodes_are_refused(attributes: dict[str, Any]) -> None:
    with pytest.raises(ContractError):
        node("LocalAvgPool", ["x"], ["y"], attributes)


def test_unknown_operators_and_lowerings_are_refused() -> None:
    arrays, attributes = pool_case((3, 3), (4, 4))
    model = graph_of("LocalAvgPool", {"x": arrays["x"].shape}, attributes)
    with pytest.raises(UsageError, match="expected one of portable, onnxruntime"):
        add_bodies(model, "elsewhere")  # type: ignore[arg-type]
    model.graph.node[0].op_type = "Pool"
    model.graph.node.append(helper.make_node("LocalAvgPool", ["x"], ["z"], domain="deblurrt", window=[3, 3]))
    with pytest.raises(ModelFileError, match=r"deblurrt.Pool, expected one of LocalAvgPool"):
        add_bodies(model)


def test_table_names_every_operator() -> None:
    assert [plugin_op(name).name for name in PLUGINS] == list(PLUGINS)
