"""The calls of our builder exist in TensorRT's public Python API; docs/tensorrt.md says where they differ."""

from __future__ import annotations

import ast
import importlib
import inspect
import io
import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from deblurrt.engines import build_worker
from deblurrt.engines.build_worker import RefusedError, Request, Worker

DOCUMENT = Path(__file__).parents[2] / "docs/tensorrt.md"

#: the objects of TensorRT in build_worker, by the name they go by there
OBJECTS = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "config": "IBuilderConfig",
    "parser": "OnnxParser",
    "profile": "IOptimizationProfile",
    "error": "ParserError",
    "timings": "ITimingCache",
    "registry": "IPluginRegistry",
    "engine": "ICudaEngine",
}
#: what those calls give whose result is used at once
RESULTS = {"get_timing_cache": "ITimingCache", "get_input": "ITensor"}
#: what a runtime calls, by class
RUNTIME = {
    "Runtime": ("deserialize_cuda_engine", "engine_host_code_allowed", "get_plugin_registry"),
    "ICudaEngine": (
        "create_engine_inspector",
        "create_execution_context",
        "create_runtime_config",
        "device_memory_size_v2",
        "get_tensor_dtype",
        "get_tensor_mode",
        "get_tensor_name",
        "get_tensor_profile_shape",
        "get_tensor_shape",
        "num_io_tensors",
        "num_optimization_profiles",
    ),
    "IExecutionContext": (
        "execute_async_v3",
        "get_tensor_shape",
        "infer_shapes",
        "set_device_memory",
        "set_input_shape",
        "set_optimization_profile_async",
        "set_tensor_address",
        "update_device_memory_size_for_shapes",
    ),
    "IPluginRegistry": ("load_library", "deregister_library"),
    "IRuntimeConfig": ("set_execution_context_allocation_strategy",),
}
#: what RTX adds to a runtime
RTX_RUNTIME = {
    "Runtime": ("engine_header_size", "get_engine_validity"),
    "IExecutionContext": ("is_stream_capturable",),
    "IRuntimeConfig": (
        "create_runtime_cache",
        "cuda_graph_strategy",
        "dynamic_shapes_kernel_specialization_strategy",
        "set_runtime_cache",
    ),
}
#: the stand-in's classes that go by another name in TensorRT
STAND_INS = {
    "Tensor": "ITensor",
    "Network": "INetworkDefinition",
    "Profile": "IOptimizationProfile",
    "TimingCache": "ITimingCache",
    "Config": "IBuilderConfig",
    "Registry": "IPluginRegistry",
    "Engine": "ICudaEngine",
    "Inspector": "EngineInspector",
}
#: the stand-in's own functions and records
OWN = {"record", "mode", "CALLS", "PLUGIN_NAMESPACES"}


def uses(tree: ast.AST) -> Iterator[str]:
    """Dotted names below the module that a source uses: ``IBuilderConfig.set_timing_cache``."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="trt"), attr=name):
                yield name
            case ast.Attribute(value=ast.Attribute(attr="_trt"), attr=name):
                yield name
            case ast.Attribute(value=ast.Attribute(value=ast.Name(id="trt"), attr=owner), attr=name):
                yield f"{owner}.{name}"
            case ast.Attribute(value=ast.Name(id=owner), attr=name) if owner in OBJECTS:
                yield f"{OBJECTS[owner]}.{name}"
            case ast.Attribute(value=ast.Call(func=ast.Attribute(attr=call)), attr=name) if call in RESULTS:
                yield f"{RESULTS[call]}.{name}"
            case ast.Call(func=ast.Name(id="getattr"), args=[ast.Name(id=owner), ast.Constant(value=str(name)), *_]):
                yield f"{OBJECTS[owner]}.{name}"
            case ast.ClassDef(bases=[ast.Attribute(value=ast.Name(id="trt"), attr=owner)], body=body):
                methods = (item.name for item in body if isinstance(item, ast.FunctionDef))
                yield from (f"{owner}.{name}" for name in methods if not name.startswith("_"))


USED = sorted({use for use in uses(ast.parse(inspect.getsource(build_worker))) if "__" not in use})


def dotted(table: dict[str, tuple[str, ...]]) -> list[str]:
    return [f"{owner}.{name}" for owner, names in table.items() for name in names]


def has(module: object, name: str) -> bool:
    missing = object()
    return reduce(lambda value, part: getattr(value, part, missing), name.split("."), module) is not missing


def module_or_skip(name: str) -> ModuleType:
    module: ModuleType = pytest.importorskip(name, reason=f"{name} is not installed")
    return module


def test_calls_are_found_in_the_source() -> None:
    assert {"Builder.build_serialized_network", "IBuilderConfig.set_timing_cache", "ITimingCache.serialize"} < set(USED)
    assert {"IProgressMonitor.phase_start", "ParserError.node_name", "MemoryPoolType.WORKSPACE"} < set(USED)


@pytest.mark.parametrize("module", ["tensorrt", "tensorrt_rtx"])
def test_every_call_of_the_builder_exists(module: str) -> None:
    trt = module_or_skip(module)
    rtx_only = {use for use in USED if "ompute_capabilit" in use or "ComputeCapability" in use}
    wanted = set(USED) if module == "tensorrt_rtx" else set(USED) - rtx_only
    assert not [name for name in sorted(wanted) if not has(trt, name)]


@pytest.mark.parametrize("module", ["tensorrt", "tensorrt_lean", "tensorrt_lean_bindings", "tensorrt_rtx"])
def test_every_call_of_a_runtime_exists(module: str) -> None:
    trt = module_or_skip(module)
    if not hasattr(trt, "IRuntimeConfig"):
        pytest.skip("IRuntimeConfig came with TensorRT 10.11")
    names = dotted(RUNTIME) + (dotted(RTX_RUNTIME) if module == "tensorrt_rtx" else [])
    assert not [name for name in names if not has(trt, name)]


@pytest.mark.parametrize("name", [*USED, *dotted(RUNTIME), *dotted(RTX_RUNTIME)])
def test_every_call_stands_in_the_document(name: str) -> None:
    words = set(re.findall(r"\w+", DOCUMENT.read_text()))
    assert set(name.split(".")) <= words


def test_every_row_of_the_document_names_its_source() -> None:
    lines = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("|") and "---" not in line]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    heads = [row for row in rows if row[-1] == "source"]
    assert {len(row) for row in rows} == {len(head) for head in heads}
    assert all(all(row) for row in rows)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str, str], ModuleType]:
    """Import the stand-in anew, behaving as a mode and a version say."""

    def imported(mode: str, version: str = "10.3.0") -> ModuleType:
        monkeypatch.syspath_prepend(str(Path(__file__).parent))
        monkeypatch.setenv("FAKE_TRT_RECORD", str(tmp_path / "calls.json"))
        monkeypatch.setenv("FAKE_TRT_MODE", mode)
        monkeypatch.setenv("FAKE_TRT_VERSION", version)
        monkeypatch.delitem(sys.modules, "fake_trt", raising=False)
        module = importlib.import_module("fake_trt")
        monkeypatch.setitem(sys.modules, "fake_trt", module)
        return module

    return imported


Fake = Callable[..., ModuleType]


def test_stand_in_offers_nothing_that_the_api_lacks(fake: Fake) -> None:
    trt, stand_in = module_or_skip("tensorrt_rtx"), fake("builds")
    own = {
        name: value
        for name, value in vars(stand_in).items()
        if getattr(value, "__module__", "fake_trt") == "fake_trt" and not isinstance(value, ModuleType)
    }
    public = [name for name in own if not name.startswith("_") and name not in {*OWN, "annotations"}]
    offered = [STAND_INS.get(name, name) for name in public] + [
        f"{STAND_INS.get(name, name)}.{attribute}"
        for name in public
        if isinstance(own[name], type)
        for attribute in vars(own[name])
        if not attribute.startswith("_")
    ]
    # enumerations inside a class stand beside it in the stand-in
    offered = [name.replace("Severity", "ILogger.Severity", name.startswith("Severity")) for name in offered]
    assert "IBuilderConfig.set_timing_cache" in offered
    assert not [name for name in offered if not has(trt, name)]


def request(folder: Path, timing_cache: str = "") -> Request:
    return Request(
        module="fake_trt",
        onnx=str(folder / "model.onnx"),
        plan=str(folder / "m.engine"),
        log=str(folder / "build.log"),
        profile={},
        targets=[],
        workspace_mib=None,
        optimization_level=None,
        timing_cache=timing_cache,
        plugins=[],
        inspect=True,
    )


@pytest.mark.parametrize(("version", "flags"), [("10.3.0", 2), ("10.16.1", 2), ("11.1.0", 1), ("1.7.1", 1)])
def test_network_is_strongly_typed_whatever_number_the_flag_has(
    fake: Fake, tmp_path: Path, version: str, flags: int
) -> None:
    stand_in = fake("builds", version)
    Worker(request(tmp_path), io.StringIO()).run()
    assert ["create_network", flags] in stand_in.CALLS


def test_plugins_of_the_vendor_are_there_before_the_parser_asks(fake: Fake, tmp_path: Path) -> None:
    stand_in = fake("needs-plugins")
    events = io.StringIO()
    Worker(request(tmp_path), events).run()
    assert json.loads(events.getvalue().splitlines()[-1])["event"] == "built"
    assert stand_in.PLUGIN_NAMESPACES == [""]


def test_timings_of_another_gpu_are_refused_before_the_build(fake: Fake, tmp_path: Path) -> None:
    fake("other-device")
    (tmp_path / "timings").write_bytes(b"of another GPU")
    events = io.StringIO()
    with pytest.raises(RefusedError) as refusal:
        Worker(request(tmp_path, str(tmp_path / "timings")), events).run()
    assert refusal.value.event["reason"].startswith("the timings in timings are of another GPU")
    assert "building" not in events.getvalue()
    assert (tmp_path / "timings").read_bytes() == b"of another GPU"


class Overlap(io.StringIO):
    """A stream that notices a second writer."""

    def __init__(self) -> None:
        super().__init__()
        self._inside = threading.Lock()
        self._second = threading.Event()
        self.overlapped = False

    def write(self, text: str, /) -> int:
        if not self._inside.acquire(blocking=False):
            self.overlapped = True
            self._second.set()
            return 0
        # long enough for a second writer to come in, were it let
        self._second.wait(0.05)
        written = super().write(text)
        self._inside.release()
        return written


def test_events_of_several_threads_do_not_mix(fake: Fake, tmp_path: Path) -> None:
    fake("builds")
    events = Overlap()
    worker = Worker(request(tmp_path), events)
    tellers: list[Any] = [threading.Thread(target=worker.tell, kwargs={"event": "step", "step": n}) for n in range(3)]
    for teller in tellers:
        teller.start()
    for teller in tellers:
        teller.join(10)
    assert not events.overlapped
    assert sorted(json.loads(line)["step"] for line in events.getvalue().splitlines()) == [0, 1, 2]
