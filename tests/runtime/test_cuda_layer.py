"""The narrow CUDA layer, and whether the real packages have what our modules and their stand-ins call."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from deblurrt.core.errors import BackendError, MachineError, MissingExtraError
from deblurrt.runtime import cuda_layer, loaded_engine
from deblurrt.runtime.cuda_layer import CudaLayer, open_cuda
from tests.runtime.fake_cuda import FakeCuda, cudaError_t
from tests.runtime.fake_tensorrt import FakeTensorRt, fake_tensorrt

DOCUMENT = Path(__file__).parents[2] / "docs/tensorrt.md"
#: TensorRT's class behind each name in loaded_engine, and behind each call whose result is used at once
OWNERS = {
    "trt": "",
    "_trt": "",
    "_runtime": "Runtime",
    "engine": "ICudaEngine",
    "_engine": "ICudaEngine",
    "context": "IExecutionContext",
    "config": "IRuntimeConfig",
    "registry": "IPluginRegistry",
}
#: what TensorRT-RTX alone has
RTX_ONLY = {"CudaGraphStrategy", "CudaGraphStrategy.WHOLE_GRAPH_CAPTURE", "IRuntimeConfig.cuda_graph_strategy"}
RUNTIME_NAMES = {"_runtime", "runtime"}


def root_of(node: ast.expr) -> tuple[str, str]:
    """Name an expression hangs on, and the attributes after it: ``trt``, ``ILogger.Severity``."""
    match node:
        case ast.Name(id=name):
            return name, ""
        case ast.Attribute(value=ast.Name(id="self"), attr=name):
            return name, ""
        case ast.Call(func=ast.Attribute(attr=name)):
            return name, ""
        case ast.Attribute(value=value, attr=attribute):
            root, path = root_of(value)
            return root, f"{path}.{attribute}".strip(".")
    return "", ""


def paths_on(source: ModuleType, roots: set[str]) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(inspect.getsource(source))):
        if isinstance(node, ast.Attribute):
            root, path = root_of(node)
            if root in roots and path:
                yield root, path


TENSORRT_USES = sorted(
    {f"{OWNERS[root]}.{path}".strip(".") for root, path in paths_on(loaded_engine, set(OWNERS)) if "__" not in path}
)
CUDA_USES = sorted(
    {path for _, path in paths_on(cuda_layer, RUNTIME_NAMES)}
    | {f"cudaError_t.{path}" for _, path in paths_on(cuda_layer, {"errors"})}
)


def has(module: object, name: str) -> bool:
    missing = object()
    return reduce(lambda value, part: getattr(value, part, missing), name.split("."), module) is not missing


def real_cuda() -> ModuleType:
    module: ModuleType = pytest.importorskip("cuda.bindings.runtime", reason="the extra gpu is not installed")
    return module


def test_uses_are_found_in_the_sources() -> None:
    assert {"cudaMemcpyAsync", "cudaGraphLaunch", "cudaMemcpyKind.cudaMemcpyHostToDevice"} < set(CUDA_USES)
    assert "cudaError_t.cudaErrorMemoryAllocation" in CUDA_USES
    assert {"Runtime.deserialize_cuda_engine", "IPluginRegistry.load_library", "ILogger.Severity.ERROR"} < set(
        TENSORRT_USES
    )
    assert {"IExecutionContext.execute_async_v3", "ICudaEngine.get_tensor_dtype", *RTX_ONLY} < set(TENSORRT_USES)


@pytest.mark.parametrize("name", CUDA_USES)
def test_every_call_of_the_layer_exists_in_cuda_bindings(name: str) -> None:
    assert has(real_cuda(), name)


@pytest.mark.parametrize("module", ["tensorrt", "tensorrt_rtx"])
@pytest.mark.parametrize("name", TENSORRT_USES)
def test_every_call_on_an_engine_exists_in_tensorrt(module: str, name: str) -> None:
    trt = pytest.importorskip(module, reason=f"{module} is not installed")
    if module == "tensorrt" and name in RTX_ONLY:
        pytest.skip("of TensorRT-RTX alone")
    assert has(trt, name)


@pytest.mark.parametrize("name", TENSORRT_USES)
def test_every_call_on_an_engine_stands_in_the_document(name: str) -> None:
    assert set(name.split(".")) <= set(re.findall(r"\w+", DOCUMENT.read_text()))


def test_stand_in_for_cuda_offers_nothing_that_cuda_lacks() -> None:
    runtime = real_cuda()
    offered = [name for name in dir(FakeCuda) if name.startswith("cuda")]
    assert "cudaMemcpyAsync" in offered
    assert not [name for name in offered if not has(runtime, name)]
    assert not [member.name for member in cudaError_t if not has(runtime, f"cudaError_t.{member.name}")]
    assert not [member for member in cudaError_t if int(getattr(runtime.cudaError_t, member.name)) != member.value]


def test_stand_in_for_tensorrt_offers_nothing_that_rtx_lacks() -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="the extra rtx is not installed")
    stand_in = fake_tensorrt(FakeTensorRt(FakeCuda()), is_rtx=True)
    public = {name: value for name, value in vars(stand_in).items() if not name.startswith("_")}
    offered = [
        *public,
        *(
            f"{name}.{attribute}"
            for name, value in public.items()
            if isinstance(value, type)
            for attribute in vars(value)
            if not attribute.startswith("_")
        ),
    ]
    assert "IExecutionContext.set_device_memory" in offered
    assert not [name for name in offered if not has(trt, name)]


CALLS: dict[str, Callable[[CudaLayer], object]] = {
    "allocate": lambda cuda: cuda.allocate(16),
    "allocate_pinned": lambda cuda: cuda.allocate_pinned(16),
    "upload": lambda cuda: cuda.upload(1, 2, 16, 3),
    "download": lambda cuda: cuda.download(1, 2, 16, 3),
    "create_stream": lambda cuda: cuda.create_stream(),
    "finish_stream": lambda cuda: cuda.finish_stream(3),
    "create_event": lambda cuda: cuda.create_event(),
    "record": lambda cuda: cuda.record(4, 3),
    "wait": lambda cuda: cuda.wait(3, 4),
    "finish_event": lambda cuda: cuda.finish_event(4),
    "capture": lambda cuda: cuda.capture(lambda: None, 3),
    "launch": lambda cuda: cuda.launch(5, 3),
}
CLEAN_UPS: dict[str, Callable[[CudaLayer], object]] = {
    "free": lambda cuda: cuda.free(1),
    "free_pinned": lambda cuda: cuda.free_pinned(1),
    "destroy_stream": lambda cuda: cuda.destroy_stream(3),
    "destroy_event": lambda cuda: cuda.destroy_event(4),
    "destroy_graph": lambda cuda: cuda.destroy_graph(5),
}


def without_driver() -> CudaLayer:
    """The layer on the real package, where nothing can be called that does anything."""
    runtime = real_cuda()
    status, _ = runtime.cudaGetDeviceCount()
    if status == runtime.cudaError_t.cudaSuccess:
        pytest.skip("there is a driver: these handles would be used")
    return CudaLayer(runtime)


@pytest.mark.parametrize("name", CALLS)
def test_cuda_bindings_take_our_arguments_and_its_error_is_named(name: str) -> None:
    cuda = without_driver()
    with pytest.raises(BackendError, match=r"CUDA could not .*: cudaErrorInsufficientDriver \(CUDA driver version is"):
        CALLS[name](cuda)


@pytest.mark.parametrize("name", CLEAN_UPS)
def test_cleaning_up_hides_no_earlier_error(name: str) -> None:
    CLEAN_UPS[name](without_driver())


def test_every_method_of_the_layer_is_called_here() -> None:
    public = {name for name, value in vars(CudaLayer).items() if inspect.isfunction(value) and name[0] != "_"}
    assert public == {*CALLS, *CLEAN_UPS, "describe"}


@pytest.mark.parametrize(
    ("gpus", "fails", "said"),
    [
        (0, {}, "CUDA finds no GPU; deblurrt doctor says what is missing"),
        (
            1,
            {"cudaGetDeviceCount": cudaError_t.cudaErrorInsufficientDriver},
            "CUDA finds no GPU: cudaErrorInsufficientDriver (CUDA driver version is insufficient for CUDA runtime "
            "version); deblurrt doctor says what is missing",
        ),
    ],
)
def test_missing_gpu_is_told_by_the_first_call_and_no_other_is_made(
    monkeypatch: pytest.MonkeyPatch, gpus: int, fails: dict[str, Any], said: str
) -> None:
    fake = FakeCuda(gpus=gpus, fails=fails)
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", fake)
    with pytest.raises(MachineError) as caught:
        open_cuda()
    assert (str(caught.value), caught.value.exit_code) == (said, 5)
    assert fake.names() == ["cudaGetDeviceCount"]


def test_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("cuda", "cuda.bindings", "cuda.bindings.runtime"):
        monkeypatch.setitem(sys.modules, part, None)
    with pytest.raises(MissingExtraError, match=r"cuda is needed to run an engine .* pip install 'deblurrt\[gpu\]'"):
        open_cuda()


def test_reported_error_is_not_reported_again() -> None:
    fake = FakeCuda(fails={"cudaStreamEndCapture": cudaError_t.cudaErrorStreamCaptureUnsupported})
    cuda = CudaLayer(fake)
    stream = cuda.create_stream()

    def fails() -> None:
        raise BackendError("the first error")

    for work in (fails, lambda: None):
        with pytest.raises(BackendError):
            cuda.capture(work, stream)
        assert fake.cudaGetLastError() == (cudaError_t.cudaSuccess,)


def test_failed_capture_ends_the_capture_and_keeps_the_first_error() -> None:
    fake = FakeCuda()
    cuda = CudaLayer(fake)
    stream = cuda.create_stream()

    def fails() -> None:
        raise BackendError("the first error")

    with pytest.raises(BackendError, match="the first error"):
        cuda.capture(fails, stream)
    assert (fake.capturing, fake.graphs) == (None, {})
    cuda.finish_stream(stream)
