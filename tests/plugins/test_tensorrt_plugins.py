"""The plugin library answers TensorRT's questions: compiled against its public headers, with stand-ins for the kernels.

Needs headers (``DEBLURRT_TENSORRT_HEADERS``); the registry of a real TensorRT also the extra ``lean``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from deblurrt.plugins.ops import PLUGINS
from deblurrt.plugins.plugin_op import DOMAIN, PLUGIN_VERSION
from deblurrt.plugins.tensorrt_headers import header_version
from tests.plugins.plugin_libraries import (
    HERE,
    ROOTS,
    compile_cpp,
    compiled_with_fakes,
    cuda_headers,
    headers_of,
)

FLOAT, HALF = 0, 1
LINEAR = 0
#: of the driver's stand-ins: 100 and on for inputs, 200 the output, 300 the workspace, 400 the stream
OUTPUT, WORKSPACE, STREAM = 200, 300, 400
CONV_CALL = [0, 1, 8, 12, 17, 6, 6, 17, 3, 3, 2, 1, 1, 1, 1, 1, 1, 2]
CONV_WORKSPACE, POOL_WORKSPACE = 16 * 6 * 17, 4 * 8 * 12 * 17

Answers = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module", params=ROOTS, ids=lambda root: Path(root).name or "none")
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    """The root of the headers, the library and the driver."""
    folder = tmp_path_factory.mktemp("plugins")
    library = compiled_with_fakes(request.param, folder)
    includes = [f"-isystem{path}" for path in (headers_of(request.param).folder, cuda_headers())]
    return request.param, library, compile_cpp(HERE / "trt_driver.cpp", folder / "driver", *includes)


def asked(driver: Path, *arguments: Path) -> Answers:
    """What the library answers, in order, by node of the driver."""
    done = subprocess.run([driver, *arguments], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    nodes: Answers = {}
    for line in done.stdout.splitlines():
        if not line.startswith("{"):
            continue
        answer = json.loads(line)
        if "creator" in answer:
            rows = nodes.setdefault(("conv", "conv without bias", "pool")[len(nodes)], [])
        rows.append(answer)
    return nodes


@pytest.fixture(scope="module")
def answers(compiled: tuple[str, Path, Path]) -> Answers:
    _, library, driver = compiled
    return asked(driver, library)


def told(rows: list[dict[str, Any]], key: str) -> Iterator[Any]:
    return (row[key] for row in rows if key in row)


def test_only_the_entry_points_of_the_registry_are_exported(compiled: tuple[str, Path, Path]) -> None:
    done = subprocess.run(["nm", "-D", "--defined-only", compiled[1]], capture_output=True, text=True, check=True)
    assert sorted(line.split()[-1] for line in done.stdout.splitlines()) == ["getCreators", "setLoggerFinder"]


def test_creators_and_plugins_say_name_version_and_namespace(answers: Answers) -> None:
    names = ["ModulatedDeformConv", "ModulatedDeformConv", "LocalAvgPool"]
    assert set(names) == set(PLUGINS)
    expected = [[name, PLUGIN_VERSION, DOMAIN] for name in names]
    assert [row for rows in answers.values() for row in told(rows, "creator")] == expected
    assert [row for rows in answers.values() for row in told(rows, "core")] == expected


def test_fields_survive_the_way_through_an_engine_and_a_context(answers: Answers) -> None:
    conv = {"strides": [2, 1], "pads": [1, 1], "dilations": [1, 1], "groups": [1], "offset_groups": [2]}
    assert list(told(answers["conv"], "fields")) == [conv, conv]
    assert list(told(answers["pool"], "fields")) == [{"window": [5, 7]}] * 2


def test_linear_single_and_half_precision_of_one_type_are_taken(answers: Answers) -> None:
    for rows in answers.values():
        for row in (row for row in rows if "format" in row):
            is_taken = tuple(row["format"]) in ((FLOAT, LINEAR), (HALF, LINEAR))
            assert set(row["positions"]) == {int(is_taken)}, row
            assert row["mixed"] == 0, row


def test_output_has_the_type_of_the_input_and_its_shape_from_inputs(answers: Answers) -> None:
    # 10 * input + axis: batch of x, output channels of weight, height and width of offset
    expected = {"conv": [0, 30, 12, 13], "conv without bias": [0, 30, 12, 13], "pool": [0, 1, 2, 3]}
    for node, shape in expected.items():
        assert list(told(answers[node], "shape")) == [shape]
        assert [(row["outputs"], row["code"], row["type"]) for row in answers[node] if "outputs" in row] == [
            (1, 0, HALF)
        ]


def test_workspace_is_that_of_the_kernel_at_the_largest_shapes(answers: Answers) -> None:
    assert list(told(answers["conv"], "workspace")) == [CONV_WORKSPACE]
    assert list(told(answers["pool"], "workspace")) == [POOL_WORKSPACE]


def test_largest_shapes_the_kernels_cannot_count_are_refused_at_configuration(answers: Answers) -> None:
    assert [list(told(rows, "configure")) for rows in answers.values()] == [[0]] * 3
    assert [list(told(rows, "configure too large")) for rows in answers.values()] == [[-1]] * 3


def test_kernels_get_shapes_pointers_workspace_and_stream(answers: Answers) -> None:
    tail = [OUTPUT, WORKSPACE]
    assert [(row["call"], row["pointers"]) for rows in answers.values() for row in rows if "kernel" in row] == [
        (CONV_CALL, [100, 101, 102, 103, 104, *tail, CONV_WORKSPACE, STREAM]),
        (CONV_CALL, [100, 101, 102, 103, 0, *tail, CONV_WORKSPACE, STREAM]),
        ([0, 8, 12, 17, 5, 7], [100, *tail, POOL_WORKSPACE, STREAM]),
    ]


def test_nothing_runs_before_shapes_are_known_or_when_they_do_not_fit(answers: Answers) -> None:
    assert [list(told(rows, "shapes")) for rows in answers.values()] == [[0, -1]] * 3
    # the stand-in for the pool's kernel fails
    assert [list(told(rows, "enqueue")) for rows in answers.values()] == [[-1, 0, -1], [-1, 0, -1], [-1, -1, -1]]


def test_refusals_reach_the_logger(answers: Answers) -> None:
    prefix = "deblurrt: ModulatedDeformConv: "
    assert list(told(answers["conv"], "said")) == [
        f"{prefix}largest shapes: axis 2 of x is 2147483648 long, expected 31 bits",
        f"{prefix}it was to run before its shapes were known",
        f"{prefix}channels of mask is 36, expected 18",
        f"{prefix}it was to run before its shapes were known",
        f"{prefix}node 'wrong': strides is no whole number, expected INT32",
    ]
    assert "deblurrt: LocalAvgPool: the workspace is small" in told(answers["pool"], "said")
    assert [list(told(rows, "wrong")) for rows in answers.values()] == [[0]] * 3


def test_registry_of_a_real_tensorrt_finds_creators_and_makes_plugins(compiled: tuple[str, Path, Path]) -> None:
    root, library, driver = compiled
    if header_version(headers_of(root).folder)[0] < 11:
        pytest.skip("the lean runtime is of TensorRT 11, these headers are older")
    found = find_spec("tensorrt_lean_libs")
    if found is None or found.origin is None:
        pytest.skip("no lean runtime: pip install 'deblurrt[lean]'")
    (runtime,) = Path(found.origin).parent.glob("libnvinfer_lean.so.*")
    without_log = [
        {node: [row for row in rows if "said" not in row] for node, rows in found.items()}
        for found in (asked(driver, library), asked(driver, library, runtime))
    ]
    assert without_log[0] == without_log[1]


BINDINGS = """
import sys
import numpy as np
import tensorrt_lean_libs, tensorrt_lean_bindings as trt
registry = trt.get_plugin_registry()
registry.load_library(sys.argv[1])
creator = registry.get_creator("LocalAvgPool", "1", "deblurrt")
print(creator.name, creator.plugin_version, creator.plugin_namespace)
window = trt.PluginField("window", np.array([5, 7], np.int32), trt.PluginFieldType.INT32)
plugin = creator.create_plugin("node", trt.PluginFieldCollection([window]), trt.TensorRTPhase.BUILD)
print(plugin.get_capability_interface(trt.PluginCapabilityType.CORE).plugin_name)
print(registry.get_creator("LocalAvgPool", "2", "deblurrt"), registry.get_creator("LocalAvgPool", "1", ""))
"""


def test_bindings_find_creators_as_the_builder_does(compiled: tuple[str, Path, Path]) -> None:
    if header_version(headers_of(compiled[0]).folder)[0] < 11:
        pytest.skip("the lean runtime is of TensorRT 11, these headers are older")
    if find_spec("tensorrt_lean_bindings") is None:
        pytest.skip("no lean runtime: pip install 'deblurrt[lean]'")
    done = subprocess.run(
        [sys.executable, "-c", BINDINGS, str(compiled[1])], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout.splitlines() == ["LocalAvgPool 1 deblurrt", "LocalAvgPool", "None None"], done.stderr
