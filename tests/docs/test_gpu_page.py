"""The examples of docs/gpu.md run, on stand-ins for CUDA, TensorRT and pycuda."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from deblurrt.core.tensors import Array
from tests.runtime.fake_gpu import FakeGpu, place_gpu

PAGE = (Path(__file__).parents[2] / "docs/gpu.md").read_text()
DOUBLE_BUFFER, PYCUDA = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeGpu:
    placed = place_gpu(monkeypatch, tmp_path, seed=0)
    placed.trt.profile = ((1, 2, 2, 3), (1, 4, 6, 3), (1, 720, 1280, 3))
    return placed


def engine_path(gpu: FakeGpu) -> Path:
    return gpu.engine(shapes=((2, 2), (4, 6), (720, 1280))).path


def test_two_frames_under_way_come_back_in_order(gpu: FakeGpu) -> None:
    frames = [np.full((1, 4, 6, 3), seed, np.uint8) for seed in range(5)]
    handled: list[Array] = []
    names = {"engine_path": engine_path(gpu), "frames": frames, "handle": lambda array: handled.append(array.copy())}
    exec(compile(DOUBLE_BUFFER, "docs/gpu.md", "exec"), names)
    np.testing.assert_array_equal(handled, [255 - frame for frame in frames])


class FakeGpuArray:
    """pycuda's array on memory of the stand-in; the interface has pycuda's keys."""

    def __init__(self, gpu: FakeGpu, shape: tuple[int, ...]) -> None:
        self._gpu, self._shape = gpu, shape
        _, self._address = gpu.cuda.cudaMalloc(int(np.prod(shape)))

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        strides = np.zeros(self._shape, np.uint8).strides
        data = (self._address, False)
        return {
            "shape": self._shape, "strides": strides, "data": data, "typestr": "|u1", "stream": None, "version": 3
        }  # fmt: skip

    def get(self) -> Array:
        size = int(np.prod(self._shape))
        return np.frombuffer(bytes(self._gpu.cuda.array(self._address, size)), np.uint8).reshape(self._shape)


def test_pycuda_gives_and_takes_without_a_copy(gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    def to_gpu(array: Array) -> FakeGpuArray:
        made = FakeGpuArray(gpu, array.shape)
        np.frombuffer(memoryview(gpu.cuda.array(made._address, array.size)), np.uint8)[:] = array.reshape(-1)
        return made

    _, handle = gpu.cuda.cudaStreamCreateWithFlags(1)
    stream = SimpleNamespace(handle=handle, synchronize=lambda: gpu.cuda.cudaStreamSynchronize(handle))
    pycuda: Any = ModuleType("pycuda")
    pycuda.driver = SimpleNamespace(Stream=lambda: stream)
    pycuda.gpuarray = SimpleNamespace(to_gpu=to_gpu, empty_like=lambda like: FakeGpuArray(gpu, like._shape))
    pycuda.autoprimaryctx = SimpleNamespace()
    for name in ("pycuda", "pycuda.driver", "pycuda.gpuarray", "pycuda.autoprimaryctx"):
        monkeypatch.setitem(sys.modules, name, getattr(pycuda, name.partition(".")[2], pycuda))
    names: dict[str, Any] = {"engine_path": engine_path(gpu)}
    exec(compile(PYCUDA, "docs/gpu.md", "exec"), names)
    assert np.all(names["sharper"] == 255)
    assert "cudaMemcpyAsync" not in gpu.cuda.names()
