"""Arrays of other libraries on the GPU: what is taken as it lies, what is refused, and who waits for whom."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deblurrt.core.errors import ContractError, MachineError
from deblurrt.core.tensors import Array, TensorSpec
from deblurrt.runtime.device_arrays import view_of
from tests.runtime.fake_cuda import FakeCuda
from tests.runtime.fake_gpu import FakeGpu, place_gpu

WANTED = TensorSpec("frames", "uint8", (1, "height", "width", 3))
SHAPE = (1, 4, 6, 3)
SEEDS = range(30)


@dataclass
class ForeignArray:
    """What pycuda, torch and CuPy show of an array, on memory of the stand-in."""

    cuda: FakeCuda
    shape: tuple[int, ...] = SHAPE
    changes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.size = int(np.prod(self.shape))
        _, self.address = self.cuda.cudaMalloc(self.size)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        fixed = {"shape": self.shape, "typestr": "|u1", "data": (self.address, False), "version": 3, "strides": None}
        return {**fixed, **self.changes}

    @property
    def bytes(self) -> Array:
        return np.frombuffer(memoryview(self.cuda.array(self.address, self.size)), np.uint8).reshape(self.shape)


def pixels_of(array: Any, cuda: FakeCuda) -> Array:
    """Read an array through the interface, as a library that is given it does."""
    interface = array.__cuda_array_interface__
    assert (interface["version"], interface["strides"], interface["typestr"]) == (3, None, "|u1")
    size = int(np.prod(interface["shape"]))
    return np.frombuffer(memoryview(cuda.array(interface["data"][0], size)), np.uint8).reshape(interface["shape"])


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeGpu:
    return place_gpu(monkeypatch, tmp_path)


def foreign(gpu: FakeGpu, shape: tuple[int, ...] = SHAPE, **changes: Any) -> ForeignArray:
    return ForeignArray(gpu.cuda, shape, changes)


def frames(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> Array:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def test_array_on_the_gpu_is_used_where_it_lies_and_the_result_is_there_on_return(gpu: FakeGpu) -> None:
    backend, blurred = gpu.backend(), foreign(gpu)
    blurred.bytes[:] = frames()
    restored: Any = backend.run_on_device({"frames": blurred})["restored"]
    assert restored.__cuda_array_interface__["stream"] is None
    np.testing.assert_array_equal(pixels_of(restored, gpu.cuda), 255 - frames())
    assert not {"cudaMemcpyAsync", "cudaHostAlloc"} & set(gpu.cuda.names())
    backend.close()


def test_result_is_written_into_the_array_that_is_given(gpu: FakeGpu) -> None:
    backend, blurred, sharp = gpu.backend(), foreign(gpu), foreign(gpu)
    blurred.bytes[:] = frames()
    gpu.cuda.calls.clear()
    results = backend.run_on_device({"frames": blurred}, {"restored": sharp})
    assert results["restored"] is sharp
    np.testing.assert_array_equal(sharp.bytes, 255 - frames())
    assert gpu.cuda.names().count("cudaMalloc") == 1  # for the values
    backend.close()


def test_result_of_a_backend_is_an_input_of_another(gpu: FakeGpu) -> None:
    first, second, blurred = gpu.backend(), gpu.backend(), foreign(gpu)
    blurred.bytes[:] = frames()
    half = first.run_on_device({"frames": blurred})
    whole: Any = second.run_on_device({"frames": half["restored"]})["restored"]
    np.testing.assert_array_equal(pixels_of(whole, gpu.cuda), frames())
    first.close()
    second.close()


@pytest.mark.parametrize("named", [None, 1, 2, 0])
def test_call_with_a_stream_does_not_wait_and_names_it(gpu: FakeGpu, named: int | None) -> None:
    backend, blurred = gpu.backend(), foreign(gpu)
    backend.run_on_device({"frames": blurred})
    stream = gpu.cuda.cudaStreamCreateWithFlags(1)[1] if named is None else named
    gpu.cuda.calls.clear()
    blurred.bytes[:] = frames()
    restored: Any = backend.run_on_device({"frames": blurred}, stream=stream)["restored"]
    assert not [name for name in gpu.cuda.names() if name.endswith("Synchronize")]
    told = restored.__cuda_array_interface__["stream"]
    assert told == (stream or 1)  # 0 is forbidden in the interface
    gpu.cuda.cudaStreamSynchronize(told)
    np.testing.assert_array_equal(pixels_of(restored, gpu.cuda), 255 - frames())
    backend.close()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("has_stream", [True, False])
def test_producers_stream_is_waited_for_whatever_order_cuda_chooses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, seed: int, has_stream: bool
) -> None:
    gpu = place_gpu(monkeypatch, tmp_path, seed)
    backend = gpu.backend()
    producer, reader, own = (gpu.cuda.cudaStreamCreateWithFlags(1)[1] for _ in range(3))
    blurred, sharp = foreign(gpu, stream=producer), foreign(gpu, stream=reader)
    read: list[Array] = []
    for index in range(3):
        pixels = frames(index)
        gpu.cuda.put(producer, "produce", lambda pixels=pixels: blurred.bytes.__setitem__(..., pixels))  # type: ignore[misc]
        backend.run_on_device({"frames": blurred}, {"restored": sharp}, stream=own if has_stream else None)
        if has_stream:
            gpu.cuda.cudaStreamSynchronize(own)
        # the next run must not overwrite what this has yet to read
        gpu.cuda.put(reader, "read", lambda: read.append(sharp.bytes.copy()))
        assert len(read) <= index + 1
    gpu.cuda.cudaStreamSynchronize(reader)
    np.testing.assert_array_equal(read, [255 - frames(index) for index in range(3)])
    backend.close()


@pytest.mark.parametrize("seed", SEEDS)
def test_runs_on_several_streams_share_the_context_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, seed: int
) -> None:
    gpu = place_gpu(monkeypatch, tmp_path, seed)
    backend, blurred = gpu.backend(), foreign(gpu)
    blurred.bytes[:] = frames()
    streams = [gpu.cuda.cudaStreamCreateWithFlags(1)[1] for _ in range(3)]
    gpu.cuda.done.clear()
    for stream in streams:
        backend.run_on_device({"frames": blurred}, stream=stream)
    larger = frames(1, (1, 8, 8, 3))
    np.testing.assert_array_equal(backend.run({"frames": larger})["restored"], 255 - larger)
    order = [stream for stream, what in gpu.cuda.done if what == "compute"]
    assert order[:3] == streams
    backend.close()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"typestr": "<f4"}, "'frames' is float32[1, 4, 6, 3], the network expects uint8[1, 'height', 'width', 3]"),
        ({"shape": (4, 6, 3)}, "'frames' is uint8[4, 6, 3], the network expects"),
        ({"shape": (2, 4, 6, 3)}, "'frames' is uint8[2, 4, 6, 3], the network expects"),
        ({"data": (0, False)}, "'frames' has no memory (its address is 0), expected an array on the GPU"),
        ({"strides": (72, 24, 3, 1)}, "'frames' has the strides [72, 24, 3, 1], expected rows one after the other"),
        ({"strides": (18, 3, 1)}, "'frames' has the strides [18, 3, 1], expected rows one after the other"),
        ({"stream": 0}, "'frames' names stream 0, expected 1 (legacy default), 2 (per thread) or a stream's handle"),
        ({"mask": object()}, "'frames' has a mask, expected an array without one"),
        ({"typestr": "pixels"}, "'frames': its __cuda_array_interface__ cannot be read (TypeError("),
        ({"data": 7}, "'frames': its __cuda_array_interface__ cannot be read (TypeError("),
    ],
)
def test_array_that_does_not_fit_is_refused(gpu: FakeGpu, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ContractError) as caught:
        view_of(WANTED, foreign(gpu, **changes))
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize("strides", [None, (72, 18, 3, 1), (0, 18, 3, 1)])
def test_rows_one_after_the_other_are_taken_however_that_is_said(gpu: FakeGpu, strides: tuple[int, ...] | None) -> None:
    array = foreign(gpu, strides=strides)
    assert view_of(WANTED, array).address == array.address


def test_array_of_the_host_is_refused_with_what_takes_it(gpu: FakeGpu) -> None:
    backend = gpu.backend()
    with pytest.raises(ContractError) as caught:
        backend.run_on_device({"frames": frames()})
    assert str(caught.value) == (
        "'frames' is a ndarray without __cuda_array_interface__, expected an array on the GPU; arrays of the host go "
        "through run()"
    )
    backend.close()


def test_outputs_that_do_not_fit_are_refused(gpu: FakeGpu) -> None:
    backend, blurred = gpu.backend(), foreign(gpu)
    refused = [
        (foreign(gpu, data=(foreign(gpu).address, True)), "'restored' is read-only"),
        (foreign(gpu, (1, 4, 4, 3)), "'restored' is uint8[1, 4, 4, 3], the network expects uint8[1, 4, 6, 3]"),
        (foreign(gpu, data=(blurred.address + 8, False)), "'restored' shares memory with 'frames'"),
        (blurred, "'restored' shares memory with 'frames'"),
    ]
    for array, said in refused:
        with pytest.raises(ContractError) as caught:
            backend.run_on_device({"frames": blurred}, {"restored": array})
        assert str(caught.value).startswith(said)
    with pytest.raises(ContractError, match=r"outputs are \['sharp'\], the network expects \['restored'\]"):
        backend.run_on_device({"frames": blurred}, {"sharp": foreign(gpu)})
    backend.close()


def test_sizes_the_engine_was_not_built_for_are_refused(gpu: FakeGpu) -> None:
    backend = gpu.backend()
    with pytest.raises(MachineError, match=r"frames are 17x6, m\.engine takes 2x2 to 16x16"):
        backend.run_on_device({"frames": foreign(gpu, (1, 17, 6, 3))})
    backend.close()


def test_result_keeps_its_memory_after_closing(gpu: FakeGpu) -> None:
    backend, blurred = gpu.backend(), foreign(gpu)
    blurred.bytes[:] = frames()
    restored = backend.run_on_device({"frames": blurred})["restored"]
    backend.close()
    np.testing.assert_array_equal(pixels_of(restored, gpu.cuda), 255 - frames())
    del restored
    assert set(gpu.cuda.device) == {blurred.address}
