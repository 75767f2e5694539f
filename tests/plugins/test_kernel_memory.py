"""Arrays on a GPU through cuda-bindings: against a fake of its runtime."""

from __future__ import annotations

import ctypes
import gc
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from deblurrt.core.errors import MachineError
from deblurrt.plugins.kernel_memory import CudaMemory, cuda_memory, taken


class FakeRuntime:
    """The calls of ``cuda.bindings.runtime`` that are used, on memory of the host."""

    cudaStreamNonBlocking = 1  # noqa: N815 - names of CUDA
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)  # noqa: N815
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)  # noqa: N815

    def __init__(self, count: int = 1, code: int = 0) -> None:
        self.blocks: dict[int, Any] = {}
        self.calls: list[str] = []
        self._count, self._code = count, code

    def cudaGetDeviceCount(self) -> tuple[int, int]:  # noqa: N802
        return self._code, self._count

    def cudaGetErrorName(self, code: int) -> tuple[int, bytes]:  # noqa: N802
        return 0, b"cudaErrorNoDevice"

    def cudaMalloc(self, size: int) -> tuple[int, int]:  # noqa: N802
        block = (ctypes.c_uint8 * size)()
        self.blocks[ctypes.addressof(block)] = block
        return 0, ctypes.addressof(block)

    def cudaFree(self, address: int) -> tuple[int]:  # noqa: N802
        del self.blocks[address]
        return (0,)

    def cudaMemcpy(self, to: int, source: int, size: int, kind: int) -> tuple[int]:  # noqa: N802
        ctypes.memmove(to, source, size)
        return (0,)

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cuda"):
            raise AttributeError(name)

        def call(*arguments: Any) -> tuple[int, int]:
            self.calls.append(name)
            return 0, 5

        return call


def test_arrays_come_back_whole_and_memory_is_freed() -> None:
    runtime = FakeRuntime()
    memory = CudaMemory(runtime)
    placed = memory.place(np.arange(6, dtype=np.float16).reshape(2, 3), skew=2)
    array, is_whole = taken(memory, placed)
    assert is_whole
    assert array.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert placed.address % 256 == (placed.base + 2) % 256
    del placed
    assert runtime.blocks == {}


def test_streams_do_not_wait_for_the_default_one_so_copies_are_waited_for() -> None:
    runtime = FakeRuntime()
    memory = CudaMemory(runtime)
    memory.place(np.zeros(1))
    with memory.stream() as stream:
        assert (stream, runtime.calls) == (5, ["cudaStreamSynchronize", "cudaStreamCreateWithFlags"])


def test_streams_end_also_after_an_error() -> None:
    runtime = FakeRuntime()
    with pytest.raises(MachineError), CudaMemory(runtime).stream():
        raise MachineError("first")
    assert runtime.calls[-1] == "cudaStreamDestroy"


@pytest.mark.filterwarnings("error")
def test_memory_that_is_not_there_is_not_given_back() -> None:
    runtime = SimpleNamespace(cudaMalloc=lambda _size: (2, None), cudaGetErrorName=lambda _: (0, b"cudaErrorX"))
    with pytest.raises(MachineError, match="cudaMalloc gives cudaErrorX"):
        CudaMemory(runtime).place(np.zeros(4))
    gc.collect()


@pytest.mark.parametrize("error", [RuntimeError("libcudart.so.13 not found"), ImportError("libcudart.so.13 not found")])
def test_cuda_that_does_not_load_is_named(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", SimpleNamespace(cudaGetDeviceCount=fail))
    with pytest.raises(MachineError, match=r"CUDA is needed to try it and does not load \(libcudart.so.13 not found"):
        cuda_memory("try it")


def test_capture_puts_runs_and_frees_a_graph() -> None:
    runtime = FakeRuntime()

    def put() -> int:
        runtime.calls.append("kernel")
        return -3

    assert CudaMemory(runtime).replayed(5, put) == -3
    assert runtime.calls == [
        *("cudaStreamBeginCapture", "kernel", "cudaStreamEndCapture", "cudaGraphInstantiate", "cudaGraphLaunch"),
        *("cudaDeviceSynchronize", "cudaGraphExecDestroy", "cudaGraphDestroy"),
    ]


def test_failing_call_is_named() -> None:
    memory = CudaMemory(SimpleNamespace(cudaMalloc=lambda _size: (2, 0), cudaGetErrorName=lambda _: (0, b"cudaErrorX")))
    with pytest.raises(MachineError, match="cudaMalloc gives cudaErrorX"):
        memory.ask("cudaMalloc", 1)


@pytest.mark.parametrize(("count", "code", "reason"), [(0, 100, "cudaErrorNoDevice"), (0, 0, "the driver lists none")])
def test_machine_without_a_gpu_is_refused(count: int, code: int, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", FakeRuntime(count, code))
    with pytest.raises(MachineError, match=f"needed to try it, none answers .{reason}"):
        cuda_memory("try it")


def test_gpu_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = FakeRuntime()
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", runtime)
    assert cuda_memory("try it").runtime is runtime
