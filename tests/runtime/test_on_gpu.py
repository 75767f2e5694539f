"""What only a device can say: an engine gives ONNX Runtime's pictures, however it is run. Skipped without a GPU."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from deblurrt.core.artifacts import open_onnx
from deblurrt.core.engine_file import EngineFile
from deblurrt.core.errors import MachineError
from deblurrt.core.tensors import Array, TensorSpec
from deblurrt.engines.build_config import BackendName, BuildConfig, Shapes
from deblurrt.engines.engine_build import engine_from_onnx
from deblurrt.runtime.backend import BackendConfig, agreement_db, open_backend, smooth_noise
from deblurrt.runtime.cuda_layer import CudaLayer, open_cuda
from deblurrt.runtime.device_arrays import DeviceArray
from deblurrt.runtime.gpu_memory import DeviceBlock, PinnedMemory
from deblurrt.runtime.shipped_models import find_model
from deblurrt.runtime.tensorrt_backend import TensorRtBackend

SIZES = ((96, 128), (64, 64), (128, 160))
#: float32 with TF32, which is on by default, keeps 10 bits of products: far beyond what a picture of 8 bits shows
AGREEMENT_DB = 45.0


@pytest.fixture(scope="module")
def cuda() -> CudaLayer:
    try:
        return open_cuda()
    except MachineError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module", params=["tensorrt", "tensorrt-rtx"])
def engine(request: pytest.FixtureRequest, cuda: CudaLayer, tmp_path_factory: pytest.TempPathFactory) -> EngineFile:
    name: BackendName = request.param
    if importlib.util.find_spec(name.replace("-", "_")) is None:
        pytest.skip(f"{name} is not installed")
    path: Path = tmp_path_factory.mktemp("engine") / "fast.engine"
    config = BuildConfig(name, Shapes((64, 64), (96, 128), (128, 160)))
    return engine_from_onnx(open_onnx(find_model("fast")), config, path).engine


@pytest.fixture
def backend(engine: EngineFile) -> Iterator[TensorRtBackend]:
    opened = TensorRtBackend(engine)
    yield opened
    opened.close()


def frames_of(size: tuple[int, int]) -> Array:
    return smooth_noise((1, *size, 3), "uint8")


def expected_of(frames: Array) -> Array:
    reference = open_backend("onnxruntime", open_onnx(find_model("fast")), BackendConfig("fp32"))
    restored = np.array(reference.run({"frames": frames})["restored"])
    reference.close()
    return restored


@pytest.mark.parametrize("size", SIZES)
def test_engine_agrees_with_onnx_runtime(backend: TensorRtBackend, size: tuple[int, int]) -> None:
    frames = frames_of(size)
    for _ in range(3):
        assert agreement_db(expected_of(frames), backend.run({"frames": frames})["restored"]) > AGREEMENT_DB


def test_overlapping_frames_of_changing_sizes_agree(backend: TensorRtBackend) -> None:
    waiting = None
    for size in SIZES * 3:
        coming = backend.submit({"frames": frames_of(size)}), frames_of(size)
        if waiting is not None:
            restored = backend.collect(waiting[0])["restored"]
            assert agreement_db(expected_of(waiting[1]), restored) > AGREEMENT_DB
        waiting = coming
    assert waiting is not None
    backend.collect(waiting[0])


@pytest.mark.parametrize("has_stream", [True, False])
def test_arrays_on_the_gpu_agree(backend: TensorRtBackend, cuda: CudaLayer, has_stream: bool) -> None:
    frames, stream = frames_of((96, 128)), cuda.create_stream()
    pinned = PinnedMemory(cuda).reserve(frames.nbytes)
    pinned[:] = frames.reshape(-1)
    spec = TensorSpec("frames", "uint8", frames.shape)
    blurred = DeviceArray(spec, DeviceBlock(cuda, frames.nbytes), stream)
    cuda.upload(blurred.block.address, pinned.ctypes.data, frames.nbytes, stream)
    restored = backend.run_on_device({"frames": blurred}, stream=stream if has_stream else None)["restored"]
    assert isinstance(restored, DeviceArray)
    cuda.download(pinned.ctypes.data, restored.block.address, frames.nbytes, stream)
    cuda.finish_stream(stream)
    cuda.destroy_stream(stream)
    assert agreement_db(expected_of(frames), pinned.reshape(frames.shape)) > AGREEMENT_DB


def test_network_is_captured_into_a_graph(backend: TensorRtBackend, engine: EngineFile) -> None:
    backend.run({"frames": frames_of((96, 128))})
    if engine.manifest.backend == "tensorrt":
        assert backend._slots[0].graph is not None
