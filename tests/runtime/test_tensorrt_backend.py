"""The TensorRT backend on stand-ins for CUDA and TensorRT: order, memory, graphs and errors; nothing ran on a GPU."""

from __future__ import annotations

import gc
import hashlib
import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deblurrt.core.errors import BackendError, ContractError, MachineError, ModelFileError
from deblurrt.core.tensors import Array, TensorSpec
from deblurrt.plugins.plugin_compiler import LIBRARY
from deblurrt.plugins.tensorrt_library import RECORD
from deblurrt.runtime.backend import OverlappingBackend
from deblurrt.runtime.batch_limit import batch_max_of
from deblurrt.runtime.session import open_session
from deblurrt.runtime.tensorrt_backend import TensorRtBackend
from tests.runtime.fake_cuda import cudaError_t
from tests.runtime.fake_gpu import FakeGpu, place_gpu
from tests.runtime.fake_tensorrt import VALUES, DataType

ORDER = (
    "cudaMemcpyAsync",
    "cudaEventRecord",
    "cudaStreamWaitEvent",
    "cudaGraphLaunch",
    "cudaEventRecord",
    "cudaStreamWaitEvent",
    "cudaMemcpyAsync",
    "cudaEventRecord",
    "cudaEventSynchronize",
)
#: every order of streams that a wrong result has a fair chance in
SEEDS = range(30)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeGpu:
    """A GPU on which nothing runs before the host waits for it."""
    return place_gpu(monkeypatch, tmp_path)


def frames_of(seed: int, size: tuple[int, int] = (4, 6)) -> dict[str, Array]:
    return {"frames": np.random.default_rng(seed).integers(0, 256, (1, *size, 3), np.uint8)}


def assert_negative(restored: Array, frames: Array) -> None:
    np.testing.assert_array_equal(restored, 255 - frames)


def test_backend_keeps_the_protocol_of_overlapping_frames(gpu: FakeGpu) -> None:
    backend: OverlappingBackend = gpu.backend()
    assert_negative(backend.collect(backend.submit(frames_of(0)))["restored"], frames_of(0)["frames"])
    backend.close()


def test_tensors_and_description_are_those_of_the_engine(gpu: FakeGpu) -> None:
    backend = gpu.backend()
    assert backend.inputs == (TensorSpec("frames", "uint8", (1, "height", "width", 3)),)
    assert backend.outputs == (TensorSpec("restored", "uint8", ("batch", "height", "width", 3)),)
    assert (backend.name, backend.description) == ("tensorrt", "TensorRT 10.3.0 on NVIDIA Fake, fp16")
    backend.close()


def test_engine_of_one_size_says_so(gpu: FakeGpu) -> None:
    gpu.trt.profile = ((1, 4, 6, 3),) * 3
    backend = gpu.backend(shapes=((4, 6),) * 3)
    assert backend.inputs[0].shape == (1, 4, 6, 3)
    with pytest.raises(MachineError, match=r"frames are 4x8, m\.engine takes 4x6"):
        backend.run(frames_of(0, (4, 8)))
    backend.close()


def test_engine_for_three_frames_takes_one_to_three_and_refuses_more(gpu: FakeGpu) -> None:
    gpu.trt.profile = ((1, 2, 2, 3), (3, 4, 6, 3), (3, 16, 16, 3))
    backend = gpu.backend(batch_max=3)
    assert backend.inputs == (TensorSpec("frames", "uint8", ("batch", "height", "width", 3)),)
    assert batch_max_of(backend) == 3
    for count in (1, 3, 2):
        arrays = {"frames": np.random.default_rng(count).integers(0, 256, (count, 4, 6, 3), np.uint8)}
        assert_negative(backend.run(arrays)["restored"], arrays["frames"])
    for count in (4, 0):
        with pytest.raises(ContractError, match=rf"{count} frames come at once, m\.engine takes 1 to 3; build it"):
            backend.run({"frames": np.zeros((count, 4, 6, 3), np.uint8)})
    assert_negative(backend.run(frames_of(0))["restored"], frames_of(0)["frames"])
    backend.close()


def test_session_of_an_engine_of_one_size_restores_several_pictures_at_once(gpu: FakeGpu) -> None:
    gpu.trt.profile = ((1, 4, 6, 3), (3, 4, 6, 3), (3, 4, 6, 3))
    engine = gpu.engine(shapes=((4, 6),) * 3, batch_max=3)
    with open_session(engine.path) as session:
        assert session.batch_max == 3
        pictures = list(np.random.default_rng(0).integers(0, 256, (3, 4, 6, 3), np.uint8))
        restored = session.restore_batch(pictures, [None] * 3)
        shapes = [call[2] for call in gpu.trt.calls if call[0] == "set_input_shape"]
        larger = list(np.random.default_rng(1).integers(0, 256, (2, 8, 12, 3), np.uint8))
        tiled = session.restore_batch(larger, [None] * 2) + session.restore_batch(larger[:1], [None])
    assert shapes == [(3, 4, 6, 3)]
    for picture, given in zip([*restored, *tiled], [*pictures, *larger, larger[0]], strict=True):
        assert_negative(picture, given)


def test_engine_for_one_frame_restores_one_at_a_time(gpu: FakeGpu) -> None:
    with open_session(gpu.engine().path) as session:
        assert session.batch_max == 1


def test_frame_goes_up_is_computed_and_comes_back_in_this_order(gpu: FakeGpu) -> None:
    backend = gpu.backend()
    backend.prepare({"frames": (1, 4, 6, 3)})
    gpu.cuda.calls.clear()
    arrays = frames_of(0)
    assert_negative(backend.run(arrays)["restored"], arrays["frames"])
    assert tuple(gpu.cuda.names()) == ORDER
    assert len({call[-1] for call in gpu.cuda.calls if call[0] in ("cudaMemcpyAsync", "cudaGraphLaunch")}) == 3
    backend.close()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("captures", [True, False])
def test_any_order_cuda_may_choose_gives_the_same_results(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, seed: int, captures: bool
) -> None:
    gpu = place_gpu(monkeypatch, tmp_path, seed)
    gpu.trt.captures = captures
    backend = gpu.backend()
    sizes = [(4, 6)] * 4 + [(8, 6), (3, 3), (16, 16)]
    waiting: list[tuple[Any, Array]] = []
    for index, size in enumerate(sizes):
        arrays = frames_of(index, size)
        expected = arrays["frames"].copy()
        waiting.append((backend.submit(arrays), expected))
        arrays["frames"][:] = 0  # may change once submitted
        if len(waiting) == 2:
            ticket, expected = waiting.pop(0)
            assert_negative(backend.collect(ticket)["restored"], expected)
    for ticket, expected in waiting:
        assert_negative(backend.collect(ticket)["restored"], expected)
    backend.close()


def test_second_frame_is_copied_up_while_the_first_is_computed(gpu: FakeGpu) -> None:
    backend = gpu.backend()
    backend.prepare({"frames": (1, 4, 6, 3)})
    gpu.cuda.done.clear()
    first, second = backend.submit(frames_of(0)), backend.submit(frames_of(1))
    upload, compute, download = backend._lanes.upload, backend._lanes.compute, backend._lanes.download
    gpu.cuda.finish(upload)
    assert [what for _, what in gpu.cuda.done].count("upload") == 2
    gpu.cuda.finish(compute)
    assert [what for _, what in gpu.cuda.done].count("graph") == 2
    gpu.cuda.finish(download)
    assert [what for _, what in gpu.cuda.done].count("download") == 2
    for ticket, seed in ((second, 1), (first, 0)):
        assert_negative(backend.collect(ticket)["restored"], frames_of(seed)["frames"])
    backend.close()


def test_submitting_does_not_wait_for_the_gpu(gpu: FakeGpu) -> None:
    backend = gpu.backend()
    backend.prepare({"frames": (1, 4, 6, 3)})
    gpu.cuda.calls.clear()
    ticket = backend.submit(frames_of(0))
    assert not [name for name in gpu.cuda.names() if name.endswith("Synchronize")]
    backend.collect(ticket)
    backend.close()


def test_third_frame_waits_for_a_slot_and_tickets_count_once(gpu: FakeGpu) -> None:
    backend = gpu.backend()
    first = backend.submit(frames_of(0))
    backend.submit(frames_of(1))
    with pytest.raises(BackendError, match="2 frames are under way already; collect one"):
        backend.submit(frames_of(2))
    backend.collect(first)
    with pytest.raises(BackendError, match="frame 1 is not under way; every ticket is collected once"):
        backend.collect(first)
    backend.close()


def test_memory_is_used_again_and_only_grows(gpu: FakeGpu) -> None:
    backend = gpu.backend()

    def reserved(size: tuple[int, int]) -> Counter[str]:
        gpu.cuda.calls.clear()
        for seed in range(3):
            backend.run(frames_of(seed, size))
        return Counter(name for name in gpu.cuda.names() if name in ("cudaMalloc", "cudaHostAlloc", "cudaFree"))

    assert reserved((4, 6)) == {"cudaMalloc": 3, "cudaHostAlloc": 2}
    assert reserved((4, 6)) == {}
    assert reserved((2, 2)) == {}
    assert reserved((8, 8)) == {"cudaMalloc": 3, "cudaHostAlloc": 2, "cudaFree": 3}
    assert reserved((4, 6)) == {}
    backend.close()


@pytest.mark.parametrize(("knows_sizes", "size"), [(True, 4 * 6 * 3 * VALUES), (False, 16 * 16 * 3 * VALUES)])
def test_memory_for_values_is_that_of_the_shapes_or_of_the_largest_where_tensorrt_does_not_say(
    gpu: FakeGpu, knows_sizes: bool, size: int
) -> None:
    gpu.trt.knows_sizes = knows_sizes
    backend = gpu.backend()
    backend.run(frames_of(0))
    assert ("set_device_memory", size) in gpu.trt.calls
    backend.close()


def test_closing_gives_everything_back_and_may_be_repeated(gpu: FakeGpu) -> None:
    backend = gpu.backend()
    backend.submit(frames_of(0))
    backend.close()
    backend.close()
    gc.collect()
    assert (gpu.cuda.device, gpu.cuda.pinned, gpu.cuda.runnable, gpu.cuda.graphs) == ({}, {}, {}, {})
    assert (set(gpu.cuda.streams), gpu.cuda.recorded) == ({1, 2}, {})
    with pytest.raises(BackendError, match=r"m\.engine is closed; open it again"):
        backend.run(frames_of(0))


def test_result_stays_readable_after_closing(gpu: FakeGpu) -> None:
    backend = gpu.backend()
    restored = backend.run(frames_of(0))["restored"]
    backend.close()
    assert_negative(restored, frames_of(0)["frames"])
    assert len(gpu.cuda.pinned) == 1
    del restored
    assert gpu.cuda.pinned == {}


def test_graph_is_captured_once_per_shape_after_a_first_run_and_launched_from_then_on(gpu: FakeGpu) -> None:
    backend = gpu.backend()
    for _ in range(3):
        backend.run(frames_of(0))
    assert [call[0] for call in gpu.trt.calls].count("execute_async_v3") == 2  # to warm up, and into the graph
    names = gpu.cuda.names()
    assert names.index("cudaStreamSynchronize", names.index("cudaHostAlloc")) < names.index("cudaStreamBeginCapture")
    assert (names.count("cudaStreamBeginCapture"), names.count("cudaGraphLaunch")) == (1, 3)
    backend.run(frames_of(0, (8, 8)))
    assert len(gpu.cuda.runnable) == 1
    backend.close()


def test_graph_of_an_earlier_size_is_not_launched_when_that_size_comes_back(gpu: FakeGpu) -> None:
    backend = gpu.backend()
    backend.prepare({"frames": (1, 4, 6, 3)})
    backend.run(frames_of(0, (16, 16)))  # takes one slot, and other memory for values
    tickets = [backend.submit(frames_of(seed)) for seed in (1, 2)]
    for ticket, seed in zip(tickets, (1, 2), strict=True):
        assert_negative(backend.collect(ticket)["restored"], frames_of(seed)["frames"])
    backend.close()


@pytest.mark.parametrize(
    ("failing", "reason"),
    [
        ("execute_async_v3", "TensorRT could not run it: m.engine: the reason; build it again: deblurrt build"),
        ("cudaStreamBeginCapture", "CUDA could not begin a graph: cudaErrorStreamCaptureUnsupported (operation not"),
        ("cudaStreamEndCapture", "CUDA could not end a graph: cudaErrorStreamCaptureUnsupported (operation not"),
        ("cudaGraphInstantiate", "CUDA could not prepare a graph: cudaErrorStreamCaptureUnsupported (operation not"),
    ],
)
def test_engine_runs_without_a_graph_where_none_can_be_captured_and_says_why_once(
    gpu: FakeGpu, caplog: pytest.LogCaptureFixture, failing: str, reason: str
) -> None:
    if failing == "execute_async_v3":
        gpu.trt.captures = False
    else:
        gpu.cuda.fails[failing] = cudaError_t.cudaErrorStreamCaptureUnsupported
    backend = gpu.backend()
    for seed, size in enumerate([(4, 6), (4, 6), (8, 8)]):
        arrays = frames_of(seed, size)
        assert_negative(backend.run(arrays)["restored"], arrays["frames"])
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(f"m.engine runs without a CUDA graph, a little slower: {reason}")
    assert "cudaGraphLaunch" not in gpu.cuda.names()
    backend.close()


def test_rtx_is_asked_to_make_graphs_itself(gpu: FakeGpu) -> None:
    backend = gpu.backend(backend="tensorrt-rtx", targets=("sm89",), gpu="", compute_capability="")
    arrays = frames_of(0)
    assert_negative(backend.run(arrays)["restored"], arrays["frames"])
    (config,) = (call[1] for call in gpu.trt.calls if call[0] == "create_execution_context")
    assert config.cuda_graph_strategy.name == "WHOLE_GRAPH_CAPTURE"
    assert "cudaStreamBeginCapture" not in gpu.cuda.names()
    assert backend.description == "TensorRT-RTX 10.3.0 on NVIDIA Fake, fp16"
    backend.close()


@pytest.mark.fault("E3", "TensorRT refuses the engine", "its reason and the remedy")
@pytest.mark.parametrize(
    ("failing", "said"),
    [
        ("deserialize_cuda_engine", "TensorRT could not load it: m.engine: the reason; build it again: deblurrt build"),
        ("create_execution_context", "TensorRT could not make an execution context: m.engine: the reason; build"),
    ],
)
def test_refused_engine_is_an_error_with_the_reason_and_the_remedy(gpu: FakeGpu, failing: str, said: str) -> None:
    gpu.trt.refuses.add(failing)
    with pytest.raises(BackendError) as caught:
        gpu.backend()
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("failing", "said"),
    [
        ("set_input_shape", "TensorRT could not take {'frames': (1, 4, 6, 3)}: m.engine: the reason; build it again"),
        ("infer_shapes", "TensorRT could not take {'frames': (1, 4, 6, 3)}: m.engine: the reason; build it again"),
        ("set_tensor_address", "TensorRT could not run it: m.engine: the reason; build it again"),
        ("execute_async_v3", "TensorRT could not run it: m.engine: the reason; build it again"),
    ],
)
def test_refused_run_is_an_error_and_the_next_one_works(gpu: FakeGpu, failing: str, said: str) -> None:
    backend = gpu.backend()
    gpu.trt.refuses.add(failing)
    with pytest.raises(BackendError) as caught:
        backend.run(frames_of(0))
    assert str(caught.value).startswith(said)
    gpu.trt.refuses.clear()
    assert_negative(backend.run(frames_of(0))["restored"], frames_of(0)["frames"])
    backend.close()


@pytest.mark.parametrize("call", ["cudaMemcpyAsync", "cudaGraphLaunch", "cudaEventSynchronize"])
def test_failed_launch_names_cudas_error_and_leaves_the_backend_usable(gpu: FakeGpu, call: str) -> None:
    backend = gpu.backend()
    backend.prepare({"frames": (1, 4, 6, 3)})
    gpu.cuda.fails[call] = cudaError_t.cudaErrorLaunchFailure
    with pytest.raises(BackendError, match=r"cudaErrorLaunchFailure \(unspecified launch failure\); deblurrt doctor"):
        backend.run(frames_of(0))
    gpu.cuda.fails.clear()
    assert_negative(backend.run(frames_of(1))["restored"], frames_of(1)["frames"])
    backend.close()


def test_memory_that_does_not_suffice_is_named_with_the_remedy_and_smaller_frames_still_run(gpu: FakeGpu) -> None:
    backend = gpu.backend()
    gpu.cuda.memory = 1000
    with pytest.raises(BackendError) as caught:
        backend.run(frames_of(0, (16, 16)))
    assert str(caught.value) == (
        "CUDA could not reserve 0.1 MiB on the GPU: cudaErrorMemoryAllocation (out of memory); end what else uses it "
        "(nvidia-smi lists it), or cut frames: --tile HxW"
    )
    assert_negative(backend.run(frames_of(0))["restored"], frames_of(0)["frames"])
    backend.close()


@pytest.mark.parametrize("call", ["cudaEventRecord", "cudaStreamWaitEvent", "cudaGraphLaunch"])
def test_failed_frame_has_left_the_gpu_before_its_memory_is_given_back(gpu: FakeGpu, call: str) -> None:
    backend = gpu.backend()
    backend.prepare({"frames": (1, 4, 6, 3)})
    gpu.cuda.fails[call] = cudaError_t.cudaErrorLaunchFailure
    with pytest.raises(BackendError, match="cudaErrorLaunchFailure"):
        backend.submit(frames_of(0))
    gpu.cuda.fails.clear()
    arrays = frames_of(1, (16, 16))
    assert_negative(backend.run(arrays)["restored"], arrays["frames"])
    backend.close()


def test_memory_goes_before_more_is_asked_for(gpu: FakeGpu) -> None:
    backend = gpu.backend()
    backend.run(frames_of(0, (8, 8)))
    # in, out and values of one frame of 16x16, with hardly anything to spare
    gpu.cuda.memory = 16 * 16 * 3 * (1 + 1 + VALUES) + 100
    backend.run(frames_of(0, (16, 16)))
    backend.close()


@pytest.mark.parametrize("call", ["cudaStreamCreateWithFlags", "cudaEventCreateWithFlags"])
def test_failed_opening_gives_back_what_it_had(gpu: FakeGpu, call: str) -> None:
    gpu.cuda.fails[call] = cudaError_t.cudaErrorMemoryAllocation
    with pytest.raises(BackendError, match="cudaErrorMemoryAllocation"):
        gpu.backend()
    assert (set(gpu.cuda.streams), gpu.cuda.device, gpu.cuda.recorded) == ({1, 2}, {}, {})


@pytest.mark.parametrize(
    ("arrays", "error", "said"),
    [
        ({"frames": np.zeros((1, 4, 6, 3), np.float32)}, ContractError, "input 'frames' is float32[1, 4, 6, 3]"),
        ({"frames": np.zeros((2, 4, 6, 3), np.uint8)}, ContractError, "input 'frames' is uint8[2, 4, 6, 3]"),
        ({"blurred": np.zeros((1, 4, 6, 3), np.uint8)}, ContractError, "inputs are ['blurred']"),
        ({"frames": np.zeros((1, 4, 17, 3), np.uint8)}, MachineError, "frames are 4x17, m.engine takes 2x2 to 16x16"),
        ({"frames": np.zeros((1, 1, 6, 3), np.uint8)}, MachineError, "frames are 1x6, m.engine takes 2x2 to 16x16"),
    ],
)
def test_unfit_array_is_refused_and_the_next_one_runs(
    gpu: FakeGpu, arrays: dict[str, Array], error: type[Exception], said: str
) -> None:
    backend = gpu.backend()
    with pytest.raises(error) as caught:
        backend.run(arrays)
    assert str(caught.value).startswith(said)
    assert_negative(backend.run(frames_of(0))["restored"], frames_of(0)["frames"])
    backend.close()


def test_views_that_are_not_contiguous_are_read_right(gpu: FakeGpu) -> None:
    backend = gpu.backend()
    whole = frames_of(0, (16, 16))["frames"]
    for view in (whole[:, :, 3:9], whole[:, ::-1], whole.swapaxes(1, 2)):
        assert_negative(backend.run({"frames": view})["restored"], view)
    backend.close()


@pytest.mark.fault("E3", "engine of another version or GPU", "refused before TensorRT sees it")
@pytest.mark.parametrize(
    ("changes", "gpus", "said"),
    [
        ({"tensorrt": "10.13.3"}, 1, "m.engine does not fit this machine: it was built with tensorrt 10.13.3, here is"),
        ({"compute_capability": "8.7", "gpu": "Orin"}, 1, "m.engine does not fit this machine: it was built on Orin"),
        ({}, 0, "m.engine does not fit this machine: it needs a GPU, and none was found; deblurrt doctor says"),
    ],
)
def test_engine_that_does_not_fit_is_refused_before_tensorrt_sees_it(
    gpu: FakeGpu, changes: dict[str, str], gpus: int, said: str
) -> None:
    gpu.cuda.gpus = gpus
    with pytest.raises(MachineError) as caught:
        gpu.backend(**changes)
    assert str(caught.value).startswith(said)
    assert caught.value.exit_code == 5
    assert gpu.trt.calls == []


def test_tensor_of_a_type_numpy_lacks_is_refused(gpu: FakeGpu) -> None:
    gpu.trt.dtype = DataType.FP8
    with pytest.raises(ModelFileError, match=r"m\.engine: 'frames' is FP8, expected one of UINT8, FLOAT"):
        gpu.backend()


def test_plugins_are_loaded_before_the_engine(gpu: FakeGpu) -> None:
    engine = gpu.engine(plugins={"libdeblurrt_plugins.so": "b" * 64})
    library = gpu.folder / "libdeblurrt_plugins.so"
    backend = TensorRtBackend(engine, plugin_library=lambda manifest: library)
    names = [call[0] for call in gpu.trt.calls]
    assert names.index("load_library") < names.index("deserialize_cuda_engine")
    assert gpu.trt.calls[0] == ("load_library", str(library))
    backend.close()


def test_library_without_our_operators_is_refused_with_what_tensorrt_said(gpu: FakeGpu) -> None:
    engine = gpu.engine(plugins={"libdeblurrt_plugins.so": "b" * 64})
    gpu.trt.refuses.add("get_creator")
    with pytest.raises(BackendError, match=r"load the plugins in p\.so"):
        TensorRtBackend(engine, plugin_library=lambda manifest: gpu.folder / "p.so")
    assert "deserialize_cuda_engine" not in [call[0] for call in gpu.trt.calls]


def test_engine_whose_plugins_are_not_here_is_refused_with_the_command_that_makes_them(
    gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(gpu.folder))
    with pytest.raises(MachineError, match=r"runs with libdeblurrt_plugins\.so .* deblurrt build negative\.onnx"):
        gpu.backend(plugins={"libdeblurrt_plugins.so": "b" * 64})
    assert gpu.trt.calls == []


def test_compiled_plugins_are_found_by_their_hash(gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(gpu.folder))
    place = gpu.folder / "deblurrt/plugins/entry"
    place.mkdir(parents=True)
    (place / LIBRARY).write_bytes(b"a library")
    digest = hashlib.sha256(b"a library").hexdigest()
    record = {"sha256": digest, "sources": "", "tensorrt": [10, 3], "cuda": "12.6", "archs": ["sm89"]}
    (place / RECORD).write_text(json.dumps(record))
    backend = gpu.backend(plugins={LIBRARY: digest})
    assert gpu.trt.calls[0] == ("load_library", str(place / LIBRARY))
    backend.close()
