"""What runs a model: the protocol every backend keeps, the table of them, and how one is chosen."""

from __future__ import annotations

import importlib
import logging
import math
import os
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from ..core.artifacts import OnnxFile
from ..core.engine_file import EngineFile
from ..core.errors import BackendError, MachineError, ModelFileError, UsageError
from ..core.tensors import Array, TensorSpec

Precision = Literal["auto", "fp32", "bf16"]

logger = logging.getLogger(__name__)


class Backend(Protocol):
    """Runs one model on one device; not to be used from two threads at once."""

    @property
    def name(self) -> str:
        """Its name in the table."""

    @property
    def description(self) -> str:
        """Library, version, device, arithmetic and threads, for reports."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What the model takes."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What it gives."""

    def prepare(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Compile for these input shapes, allocate buffers and warm up; cheap when already done."""

    def run(self, arrays: Mapping[str, Array]) -> Mapping[str, Array]:
        """Run once; the result is valid until the next call.

        Raises:
            ContractError: An array has another name, type or shape than the model expects.
            BackendError: The library failed.
        """

    def close(self) -> None:
        """Release everything; closing twice is fine."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A frame that is under way.

    Attributes:
        number: Counted from 1.
    """

    number: int


class OverlappingBackend(Backend, Protocol):
    """A backend that copies one frame while it computes another."""

    def submit(self, arrays: Mapping[str, Array]) -> Ticket:
        """Send a frame on its way; at most two may be uncollected."""

    def collect(self, ticket: Ticket) -> Mapping[str, Array]:
        """Wait for a frame; the result is valid until the next ``submit`` or ``run``."""


class StoppableBackend(Backend, Protocol):
    """A backend whose run can be stopped."""

    def cancel(self) -> bool:
        """Stop the run another thread waits for, which raises ``BackendError``; whether that is possible."""


def cancel_run(backend: Backend) -> bool:
    """Stop the run another thread waits for; whether the backend can."""
    return hasattr(backend, "cancel") and cast("StoppableBackend", backend).cancel()


@dataclass(frozen=True, slots=True)
class BackendConfig:
    """How a backend runs a model.

    Attributes:
        precision: Arithmetic on the CPU; ``auto`` is fp32 for a named backend, and lets the choice
            of backend consider bf16 where the processor computes in it.
        threads: CPU threads, None for all cores this process may use.
        provider: ONNX Runtime's execution provider by its short name (``cuda``, ``tensorrt``,
            ``dml``, ``coreml``, …); others than ``cpu`` need their own onnxruntime wheel.
    """

    precision: Precision = "auto"
    threads: int | None = None
    provider: str = "cpu"

    @property
    def thread_count(self) -> int:
        """Threads to use."""
        if self.threads is not None:
            return self.threads
        try:
            return len(os.sched_getaffinity(0))
        except AttributeError:  # not on macOS or Windows
            return os.cpu_count() or 1


#: name -> (module, class); each class is made with (OnnxFile, BackendConfig)
ONNX_BACKENDS: dict[str, tuple[str, str]] = {
    "onnxruntime": (".onnxruntime_backend", "OnnxRuntimeBackend"),
    "openvino": (".openvino_backend", "OpenVinoBackend"),
}
#: name -> (module, class); each class is made with (EngineFile)
ENGINE_BACKENDS: dict[str, tuple[str, str]] = {
    "tensorrt": (".tensorrt_backend", "TensorRtBackend"),
    "tensorrt-rtx": (".tensorrt_backend", "TensorRtBackend"),
}
BACKENDS = ONNX_BACKENDS | ENGINE_BACKENDS

#: picture the candidates are compared on: large enough that the network, not the call, takes the time
CHECK_SIZE = (368, 640)
CHECK_RUNS = 3
#: a backend must agree this well with the reference; rounding alone gives 59 dB
FP32_AGREEMENT_DB = 55.0
#: bf16 keeps 8 bits: what it changes must stay far below what the network restores (about 26 dB)
BF16_AGREEMENT_DB = 45.0


def open_backend(name: str, file: OnnxFile | EngineFile, config: BackendConfig) -> Backend:
    """Open the backend called ``name``, or with ``auto`` the fastest that computes correctly.

    An engine runs on what it was built for, which ``auto`` takes.

    Raises:
        MissingExtraError: Its library is not installed.
        BackendError: It cannot load the model, or there is no backend of that name.
        MachineError: The engine does not fit this machine.
        UsageError: The backend runs other files.
    """
    if name != "auto" and name not in BACKENDS:
        raise BackendError(f"no backend called {name!r}, expected auto, {', '.join(BACKENDS)}")
    if isinstance(file, EngineFile):
        return _engine_backend(name, file, config)
    if name == "auto":
        return _fastest_backend(file, config)
    if name in ENGINE_BACKENDS:
        path, engine = shlex.quote(str(file.path)), shlex.quote(f"{file.path.stem}.engine")
        raise UsageError(
            f"--backend {name} runs engines, {file.path.name} is an ONNX file; build one for the size of your frames, "
            f"then run it: deblurrt build {path} --backend {name} --size 720x1280 -o {engine}"
        )
    backend: Backend = _class_of(ONNX_BACKENDS[name])(file, config)
    return backend


def _engine_backend(name: str, engine: EngineFile, config: BackendConfig) -> Backend:
    built_for = engine.manifest.backend
    if built_for not in ENGINE_BACKENDS:
        raise ModelFileError(
            f"{engine.path.name} is an engine of {built_for!r:.40}, expected one of {', '.join(ENGINE_BACKENDS)}"
        )
    if name not in ("auto", built_for):
        raise UsageError(f"{engine.path.name} is an engine of {built_for}, asked for {name}; leave --backend out")
    if config.provider != "cpu" or config.precision != "auto":
        raise UsageError(
            f"--provider and --precision go with ONNX files, {engine.path.name} computes as it was built; "
            "leave them out"
        )
    backend: Backend = _class_of(ENGINE_BACKENDS[built_for])(engine)
    return backend


def _class_of(entry: tuple[str, str]) -> Any:
    module, attribute = entry
    return getattr(importlib.import_module(module, __package__), attribute)


def _fastest_backend(onnx_file: OnnxFile, config: BackendConfig) -> Backend:
    """Try every candidate on one picture; keep the fastest that agrees with ONNX Runtime in fp32."""
    if config.provider != "cpu":
        return open_backend("onnxruntime", onnx_file, config)
    reference = open_backend("onnxruntime", onnx_file, replace(config, precision="fp32"))
    arrays = {spec.name: check_array(spec) for spec in reference.inputs}
    expected, reference_s = _try(reference, arrays)
    # the reference has no bf16: where that is asked for, it is only compared with
    best, best_s = reference, math.inf if config.precision == "bf16" else reference_s
    for name, candidate_config in _candidates(config):
        candidate = _agreeing_backend(name, onnx_file, candidate_config, arrays, expected)
        if candidate is None:
            continue
        backend, seconds = candidate
        if seconds < best_s:
            backend, best, best_s = best, backend, seconds
        backend.close()
    if best is reference and config.precision == "bf16":
        best.close()
        raise BackendError("no backend computes in bf16 on this machine; use --precision fp32")
    return best


def _agreeing_backend(
    name: str, onnx_file: OnnxFile, config: BackendConfig, arrays: Mapping[str, Array], expected: Array
) -> tuple[Backend, float] | None:
    """Open and time a backend; None where it cannot run the model, or gives another result."""
    try:
        backend = open_backend(name, onnx_file, config)
        result, seconds = _try(backend, arrays)
    except MachineError as error:
        logger.debug("%s is out: %s", name, error)
        return None
    agreement = agreement_db(expected, result)
    wanted = BF16_AGREEMENT_DB if config.precision == "bf16" else FP32_AGREEMENT_DB
    if agreement >= wanted:
        return backend, seconds
    logger.warning("%s is not used: it agrees with ONNX Runtime to %.1f dB, expected %.0f", name, agreement, wanted)
    backend.close()
    return None


def _candidates(config: BackendConfig) -> list[tuple[str, BackendConfig]]:
    precisions: tuple[Precision, ...] = ("fp32", "bf16") if config.precision == "auto" else (config.precision,)
    others = [name for name in ONNX_BACKENDS if name != "onnxruntime"]
    return [(name, replace(config, precision=precision)) for name in others for precision in precisions]


def _try(backend: Backend, arrays: Mapping[str, Array]) -> tuple[Array, float]:
    """Run a few times: a copy of the first output and the fastest time in seconds.

    A backend that fails is closed.
    """
    try:
        backend.prepare({name: array.shape for name, array in arrays.items()})
        times = []
        for _ in range(CHECK_RUNS):
            started = time.perf_counter()
            outputs = backend.run(arrays)
            times.append(time.perf_counter() - started)
    except BaseException:
        backend.close()
        raise
    return np.array(outputs[backend.outputs[0].name]), min(times)


def check_array(spec: TensorSpec) -> Array:
    """Make a smooth, structured array for ``spec``, the same on every machine."""
    axes, free = len(spec.shape), iter(CHECK_SIZE)
    spatial = (axes - 3, axes - 2) if spec.dtype == "uint8" else (axes - 2, axes - 1)
    shape = tuple(
        (next(free) if axis in spatial else 1) if isinstance(length, str) else length
        for axis, length in enumerate(spec.shape)
    )
    return smooth_noise(shape, spec.dtype)


def smooth_noise(shape: tuple[int, ...], dtype: str) -> Array:
    """Sums of waves along every axis plus a little noise, within 0..255 or 0..1."""
    rng = np.random.default_rng(0)
    waves: NDArray[np.float64] = np.full(shape, 0.5)
    for axis, length in enumerate(shape):
        along = np.sin(np.arange(length) * rng.uniform(0.05, 0.5) + rng.uniform(0, 6))
        waves += 0.12 * along.reshape([-1 if index == axis else 1 for index in range(len(shape))])
    picture = np.clip(waves + rng.normal(0, 0.02, shape), 0, 1)
    return np.rint(picture * 255).astype(np.uint8) if dtype == "uint8" else picture.astype(dtype)


def agreement_db(expected: Array, result: Array) -> float:
    """PSNR between two outputs in dB: 100 when they are equal, 0 when they cannot be compared.

    The peak is 255 for bytes; for floats it is 1, or the largest value expected where that is more.
    """
    if expected.shape != result.shape or expected.dtype != result.dtype:
        return 0.0
    if not (np.isfinite(expected).all() and np.isfinite(result).all()):
        return 0.0
    peak = 255.0 if expected.dtype == np.uint8 else max(1.0, float(np.abs(expected).max()))
    mse = float(np.mean((expected.astype(np.float64) - result) ** 2))
    return 100.0 if mse == 0 else min(100.0, float(10 * np.log10(peak**2 / mse)))
