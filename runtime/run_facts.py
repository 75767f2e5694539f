"""What a run's figures depend on: machine, versions, the files of the networks, scheduling."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from ..core.artifacts import open_onnx
from ..core.engine_file import is_engine
from ..core.errors import DeblurrtError
from ..core.manifest import read_manifest
from .device_facts import ROOT, fixed_facts
from .nvml import NvmlGpu
from .scheduling import PRIORITY
from .shipped_models import find_model

#: packages whose versions change pictures or figures
PACKAGES = (
    *("deblurrt", "numpy", "onnxruntime", "onnxruntime-gpu", "openvino", "av"),
    *("tensorrt", "tensorrt-cu12", "tensorrt-cu13", "tensorrt-rtx", "torch"),
    *("opencv-python", "opencv-python-headless"),
)


def machine_facts(gpus: Sequence[NvmlGpu] = (), root: Path = ROOT) -> dict[str, Any]:
    """The machine in words, and its NVIDIA GPUs."""
    return {**fixed_facts(root), "kernel": platform.release(), "gpus": [gpu.name for gpu in gpus]}


def versions() -> dict[str, str]:
    """Of Python and of the packages that are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def hash_of_model(model: str | Path) -> str | None:
    """SHA-256 of a shipped model, an ONNX file with its weights, or an engine; None for a network that is no file.

    Reads the file whole.
    """
    try:
        if is_engine(model):
            return read_manifest(Path(model)).plan_sha256
        return open_onnx(find_model(model)).sha256()
    except DeblurrtError:
        return None


def scheduling_facts(is_real_time: bool | None) -> dict[str, str]:
    """How the thread that lets frames out is scheduled, and why not in real time."""
    if is_real_time is None:
        return {"mode": "unknown", "reason": "the run has not begun"}
    if is_real_time:
        return {"mode": "real-time", "reason": f"SCHED_FIFO, priority {PRIORITY}"}
    return {"mode": "normal", "reason": "this user may not set real-time priorities (ulimit -r, or run as root)"}
