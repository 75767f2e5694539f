"""Our operators become plugins where there is a library, and standard operators where there is none."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from deblurrt.core.artifacts import CONTRACT_KEY, OnnxFile, open_onnx, write_onnx
from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import MachineError
from deblurrt.core.gpus import Gpu, GpuFacts
from deblurrt.engines import engine_build, plugin_choice
from deblurrt.engines.build_config import MODULES, BuildConfig
from deblurrt.engines.engine_build import engine_from_onnx
from deblurrt.engines.graph_sizes import sizes_at
from deblurrt.engines.plugin_choice import file_for_builder, graph_for_plugins
from deblurrt.plugins.onnx_ops import add_bodies, node
from deblurrt.plugins.tensorrt_library import CompiledLibrary

SIZE = (90, 120)
SHAPE = [1, 3, *SIZE]
CONFIG = BuildConfig(backend="tensorrt")
ORIN = GpuFacts((Gpu("Orin", "8.7", 30000, 20000),), "540.4.0", "12.6")

Find = Callable[[str, str, Any], CompiledLibrary]


def pooled(path: Path, *, has_body: bool = True, dtype: int = TensorProto.FLOAT) -> OnnxFile:
    """A file whose only work is our local pool, of frames that are scaled by a weight."""
    values = [helper.make_tensor_value_info(name, dtype, SHAPE) for name in ("frames", "restored")]
    nodes = [
        helper.make_node("Mul", ["frames", "half"], ["scaled"], name="scale"),
        node("LocalAvgPool", ["scaled"], ["restored"], {"window": (3, 3)}),
    ]
    weight = helper.make_tensor("half", dtype, [1], [0.5])
    graph = helper.make_graph(nodes, "pooled", values[:1], values[1:], [weight])
    imports = [helper.make_opsetid("", 20), helper.make_opsetid("deblurrt", 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=10)
    helper.set_model_props(model, {CONTRACT_KEY: FrameContract(io="float").to_json()})
    return write_onnx(add_bodies(model) if has_body else model, path)


def missing(_tensorrt: str, _arch: str, _say: Any) -> CompiledLibrary:
    raise MachineError("nvcc is missing")


@pytest.fixture
def library(tmp_path: Path) -> CompiledLibrary:
    path = tmp_path / "libdeblurrt_plugins.so"
    path.write_bytes(b"library")
    return CompiledLibrary(path, "0" * 64, "1" * 64, (10, 3), "12.6", ("sm87",))


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[Any, list[list[Any]], list[str]]]:
    """Build with a stand-in for TensorRT and for the search; gives result, calls and what was said."""
    record = tmp_path / "calls.json"
    for name, value in (
        ("PYTHONPATH", str(Path(__file__).parent)),
        ("FAKE_TRT_RECORD", str(record)),
        ("FAKE_TRT_KEEP", str(tmp_path / "seen.onnx")),
        ("XDG_CACHE_HOME", str(tmp_path / "cache")),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(MODULES, "tensorrt", "fake_trt")
    monkeypatch.setattr(engine_build, "probe_gpus", lambda: ORIN)
    monkeypatch.setattr(engine_build, "builder_version", lambda _backend: "10.3.0")

    def run(file: OnnxFile, find: Find, config: BuildConfig = CONFIG) -> tuple[Any, list[list[Any]], list[str]]:
        monkeypatch.setattr(plugin_choice, "library_for", find)
        lines: list[str] = []
        result = engine_from_onnx(file, config, tmp_path / "a.engine", say=lines.append)
        return result, json.loads(record.read_text()), lines

    return run


Build = Callable[..., tuple[Any, list[list[Any]], list[str]]]


@pytest.mark.parametrize("has_body", [True, False])
def test_builder_gets_the_library_and_a_file_without_bodies(
    build: Build, library: CompiledLibrary, tmp_path: Path, has_body: bool
) -> None:
    asked: list[tuple[str, str]] = []

    def find(tensorrt: str, arch: str, _say: Any) -> CompiledLibrary:
        asked.append((tensorrt, arch))
        return library

    result, calls, _ = build(pooled(tmp_path / "p.onnx", has_body=has_body), find)
    assert asked == [("10.3.0", "sm87")]
    names = [call[0] for call in calls]
    assert ["load_library", library.path.name] in calls
    assert names.index("load_library") < names.index("parse")
    assert len(onnx.load(tmp_path / "seen.onnx").functions) == 0
    assert list(result.engine.manifest.plugins) == [library.path.name]


def test_gpu_of_unknown_capability_gets_bodies(
    build: Build, library: CompiledLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_build, "probe_gpus", lambda: GpuFacts((Gpu("Orin"),), "540.4.0", "12.6"))
    result, calls, lines = build(pooled(tmp_path / "p.onnx"), lambda *_: library)
    assert "load_library" not in [call[0] for call in calls]
    assert result.engine.manifest.plugins == {}
    assert any("the compute capability of Orin is not known" in line for line in lines)


def test_manifest_has_the_hash_of_the_library(build: Build, library: CompiledLibrary, tmp_path: Path) -> None:
    result, _, _ = build(pooled(tmp_path / "p.onnx"), lambda *_: library)
    assert result.engine.manifest.plugins == {library.path.name: hashlib.sha256(b"library").hexdigest()}


def test_without_library_the_builder_gets_bodies_and_the_user_the_reason(build: Build, tmp_path: Path) -> None:
    result, calls, lines = build(pooled(tmp_path / "p.onnx"), missing)
    assert "load_library" not in [call[0] for call in calls]
    assert len(onnx.load(tmp_path / "seen.onnx").functions) == 1
    assert result.engine.manifest.plugins == {}
    assert lines[0].startswith("LocalAvgPool become standard operators")
    assert lines[0].endswith("nvcc is missing")


def test_without_library_and_bodies_nothing_is_built(build: Build, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"LocalAvgPool without bodies .* no plugins for them: nvcc is missing"):
        build(pooled(tmp_path / "p.onnx", has_body=False), missing)


def test_bfloat16_is_left_to_bodies(build: Build, library: CompiledLibrary, tmp_path: Path) -> None:
    result, _, lines = build(pooled(tmp_path / "p.onnx", dtype=TensorProto.BFLOAT16), lambda *_: library)
    assert result.engine.manifest.plugins == {}
    assert "bfloat16" in lines[0]


def test_library_without_our_creators_is_refused(
    build: Build, library: CompiledLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_TRT_MODE", "no-creators")
    with pytest.raises(MachineError, match=r"built with plugins, and .* has no LocalAvgPool nor ModulatedDeformConv"):
        build(pooled(tmp_path / "p.onnx"), lambda *_: library)


def test_files_without_our_operators_need_no_library(build: Build, tmp_path: Path) -> None:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in ("frames", "restored")]
    graph = helper.make_graph([helper.make_node("Relu", ["frames"], ["restored"])], "plain", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, {CONTRACT_KEY: FrameContract(io="float").to_json()})
    result, _, lines = build(write_onnx(model, tmp_path / "plain.onnx"), missing)
    assert result.engine.manifest.plugins == {}
    assert not [line for line in lines if "standard operators" in line]


def test_graph_of_the_estimate_has_plugins_as_one_node(tmp_path: Path) -> None:
    model = onnx.load(pooled(tmp_path / "p.onnx").path)
    with_bodies = sizes_at(model, SIZE)
    with_plugins = sizes_at(graph_for_plugins(model), SIZE)
    assert [entry.op_type for entry in with_plugins.nodes] == ["Mul", "LocalAvgPool"]
    assert with_plugins.shapes["restored"] == tuple(SHAPE)
    assert len(with_bodies.nodes) > len(with_plugins.nodes)


def test_weights_beside_the_file_come_along(tmp_path: Path) -> None:
    file = pooled(tmp_path / "p.onnx")
    model = onnx.load(file.path)
    tensor = helper.make_tensor("big", TensorProto.FLOAT, [1024], [1.0] * 1024)
    tensor.raw_data = bytes(4096)
    tensor.ClearField("float_data")
    model.graph.initializer.append(tensor)
    (tmp_path / "outside").mkdir()
    onnx.save(model, tmp_path / "outside/q.onnx", save_as_external_data=True, location="q.weights", size_threshold=0)
    outside = open_onnx(tmp_path / "outside/q.onnx")
    (tmp_path / "copy").mkdir()
    path = file_for_builder(outside, BuildConfig("tensorrt", plugins=(Path(__file__),)), tmp_path / "copy")
    shutil.rmtree(tmp_path / "outside")
    copied = onnx.load(path)
    assert len(copied.functions) == 0
    assert {entry.name for entry in copied.graph.initializer} == {"half", "big"}
