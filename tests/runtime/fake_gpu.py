"""A machine with a GPU that is not there: stand-ins for CUDA and TensorRT in place of the packages, and engines."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from deblurrt.core import tensorrt_packages
from deblurrt.core.contract import FrameContract
from deblurrt.core.engine_file import EngineFile, open_engine
from deblurrt.core.gpus import probe_gpus
from deblurrt.core.manifest import EngineManifest, write_manifest
from deblurrt.core.tensorrt_packages import PACKAGES
from deblurrt.runtime.tensorrt_backend import TensorRtBackend
from tests.runtime.fake_cuda import FakeCuda
from tests.runtime.fake_tensorrt import PLAN, FakeTensorRt, fake_tensorrt

VERSION = "10.3.0"
MANIFEST = EngineManifest(
    model="negative.onnx",
    contract=FrameContract(halo_px=0),
    onnx_sha256="a" * 64,
    backend="tensorrt",
    tensorrt=VERSION,
    gpu="NVIDIA Fake",
    compute_capability="8.9",
    shapes=((2, 2), (4, 6), (16, 16)),
    precision={"fp16": 0.9, "fp32": 0.1},
    plan_sha256=hashlib.sha256(PLAN).hexdigest(),
    plan_bytes=len(PLAN),
)


@dataclass(frozen=True)
class FakeGpu:
    """The stand-ins and where engines go.

    Attributes:
        cuda: In place of ``cuda.bindings.runtime``.
        trt: State of what is in place of ``tensorrt`` and ``tensorrt_rtx``.
        folder: Of engines.
    """

    cuda: FakeCuda
    trt: FakeTensorRt
    folder: Path

    def engine(self, **changes: Any) -> EngineFile:
        """Write an engine whose manifest has these changes, and open it."""
        path = self.folder / "m.engine"
        path.write_bytes(PLAN)
        write_manifest(replace(MANIFEST, **changes), path)
        return open_engine(path)

    def backend(self, **changes: Any) -> TensorRtBackend:
        return TensorRtBackend(self.engine(**changes))


def place_gpu(monkeypatch: pytest.MonkeyPatch, folder: Path, seed: int | None = None) -> FakeGpu:
    """Put the stand-ins where the packages would be."""
    cuda = FakeCuda(seed)
    trt = FakeTensorRt(cuda)
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", cuda)
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt(trt, version=VERSION))
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", fake_tensorrt(trt, version=VERSION, is_rtx=True))
    # versions are those of the stand-ins, and the driver's tool is not asked
    for backend in PACKAGES:
        monkeypatch.setitem(PACKAGES, backend, ())
    monkeypatch.setattr(tensorrt_packages, "probe_gpus", lambda: probe_gpus(run=lambda _command: None))
    return FakeGpu(cuda, trt, folder)
