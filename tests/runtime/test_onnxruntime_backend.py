from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from deblurrt.core.artifacts import open_onnx
from deblurrt.core.errors import BackendError, MissingExtraError
from deblurrt.core.optional import require
from deblurrt.runtime.backend import BackendConfig
from deblurrt.runtime.onnxruntime_backend import OnnxRuntimeBackend
from deblurrt.runtime.shipped_models import find_model
from tests.live_fakes import PATIENCE_S
from tests.tiny_graphs import write_endless, write_identity

onnxruntime = require("onnxruntime", purpose="compare with it")

IDENTITY = open_onnx(find_model("identity"))


def test_unknown_provider_is_refused_with_the_ones_there_are() -> None:
    with pytest.raises(BackendError) as caught:
        OnnxRuntimeBackend(IDENTITY, BackendConfig(provider="npu"))
    names = (name.removesuffix("ExecutionProvider").lower() for name in onnxruntime.get_available_providers())
    assert str(caught.value).startswith(
        f"this onnxruntime has no provider 'npu', it has {', '.join(sorted(names))}; other providers come with"
    )


def test_description_names_version_and_provider() -> None:
    backend = OnnxRuntimeBackend(IDENTITY, BackendConfig(threads=1, provider="cpu"))
    assert backend.description == f"ONNX Runtime {onnxruntime.__version__} cpu fp32, 1 threads"
    backend.close()


def test_bf16_is_refused_with_the_backend_that_has_it() -> None:
    with pytest.raises(BackendError, match="no bf16 arithmetic on the CPU; use --backend openvino"):
        OnnxRuntimeBackend(IDENTITY, BackendConfig("bf16"))


def test_result_lies_in_the_same_memory_while_the_size_stays() -> None:
    backend = OnnxRuntimeBackend(IDENTITY, BackendConfig(threads=1))
    frames = np.zeros((1, 4, 4, 3), np.uint8)
    first = backend.run({"frames": frames})["restored"]
    second = backend.run({"frames": frames + np.uint8(1)})["restored"]
    assert np.shares_memory(first, second)
    assert np.all(first == 1)
    backend.close()


def test_file_gone_since_it_was_opened_is_a_backend_error(tmp_path: Path) -> None:
    onnx_file = open_onnx(write_identity(tmp_path / "gone.onnx"))
    onnx_file.path.unlink()
    with pytest.raises(BackendError, match=r"ONNX Runtime cannot load gone\.onnx"):
        OnnxRuntimeBackend(onnx_file, BackendConfig(threads=1))


def test_missing_library_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match="onnxruntime is needed to run a model and is not installed"):
        OnnxRuntimeBackend(IDENTITY, BackendConfig())


@pytest.mark.fault("E4", "a run of ONNX Runtime that never ends is cancelled", "it ends at once, the next one is right")
def test_cancelled_run_ends_and_the_next_one_is_right(tmp_path: Path, fault_result: Callable[[str], None]) -> None:
    backend = OnnxRuntimeBackend(open_onnx(write_endless(tmp_path / "endless.onnx")), BackendConfig(threads=1))
    frames = np.full((1, 8, 8, 3), 7, np.uint8)
    assert np.array_equal(backend.run({"frames": frames})["restored"], frames)
    ended: list[tuple[BaseException, float]] = []

    def run() -> None:
        try:
            backend.run({"frames": np.full_like(frames, 255)})
        except BackendError as error:
            ended.append((error, time.perf_counter()))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    cancelled_s = time.perf_counter()
    backend.cancel()
    thread.join(PATIENCE_S)
    ((error, ended_s),) = ended
    assert "terminate" in str(error)
    assert np.array_equal(backend.run({"frames": frames})["restored"], frames)
    backend.close()
    backend.cancel()
    fault_result(f"ended {(ended_s - cancelled_s) * 1e3:.1f} ms after the request; the next run is right")


class GpuRuntime:
    """Stands in for onnxruntime-gpu: says which providers it has, and falls back to the CPU when told to."""

    __version__ = "1.25.0"

    def __init__(self, *, starts: bool) -> None:
        self.starts = starts
        self.asked: list[str] = []

    def get_available_providers(self) -> list[str]:
        return ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]

    def SessionOptions(self) -> Any:  # noqa: N802 - the library's name
        return onnxruntime.SessionOptions()

    def InferenceSession(self, path: str, options: Any, providers: list[str]) -> Any:  # noqa: N802
        self.asked = providers
        return SimpleNamespace(get_providers=lambda: providers if self.starts else ["CPUExecutionProvider"])


@pytest.mark.parametrize(
    ("provider", "asked"),
    [
        ("cuda", ["CUDAExecutionProvider"]),
        # what TensorRT leaves over goes to the same GPU, not to the CPU
        ("tensorrt", ["TensorrtExecutionProvider", "CUDAExecutionProvider"]),
        ("cpu", ["CPUExecutionProvider"]),
    ],
)
def test_provider_is_chosen_by_its_short_name(monkeypatch: pytest.MonkeyPatch, provider: str, asked: list[str]) -> None:
    runtime = GpuRuntime(starts=True)
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    backend = OnnxRuntimeBackend(IDENTITY, BackendConfig(threads=1, provider=provider))
    assert runtime.asked == asked
    assert backend.description == f"ONNX Runtime 1.25.0 {provider} fp32, 1 threads"
    backend.close()


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_silent_fallback_to_the_cpu_is_refused(monkeypatch: pytest.MonkeyPatch, provider: str) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", GpuRuntime(starts=False))
    with pytest.raises(BackendError, match=r"could not start \w+ExecutionProvider and would fall back to the CPU"):
        OnnxRuntimeBackend(IDENTITY, BackendConfig(provider=provider))
