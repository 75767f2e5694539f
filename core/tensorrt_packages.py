"""Which TensorRT is installed, and what this machine offers an engine."""

from __future__ import annotations

from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Literal, cast

from .engine_file import Host
from .errors import MachineError
from .gpus import probe_gpus, read_cuda
from .optional import require

BackendName = Literal["tensorrt", "tensorrt-rtx"]

#: Python module behind each backend
MODULES: dict[BackendName, str] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
#: packages that bring each of them; asking them is quicker than importing it
PACKAGES: dict[BackendName, tuple[str, ...]] = {
    "tensorrt": ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
    "tensorrt-rtx": ("tensorrt-rtx-cu13", "tensorrt-rtx-cu12", "tensorrt-rtx"),
}


def library_version(backend: BackendName, purpose: str) -> str:
    """Version of TensorRT, from its package where there is one.

    Args:
        backend: Whose.
        purpose: What it is needed for, as ``require`` takes it.

    Raises:
        MissingExtraError: It is not installed.
    """
    for package in PACKAGES[backend]:
        with suppress(PackageNotFoundError):
            return version(package)
    return str(require(MODULES[backend], purpose=purpose).__version__)


def this_host(backend: str) -> Host:
    """What of this machine an engine of ``backend`` has to fit: the GPU that CUDA takes, where CUDA tells."""
    installed = ""
    with suppress(MachineError):
        installed = library_version(cast(BackendName, backend), "run an engine")
    told = read_cuda()
    # CUDA's first GPU need not be that of nvidia-smi: CUDA_VISIBLE_DEVICES chooses, and the order differs
    gpus = (told.gpus if told else ()) or probe_gpus().gpus
    return Host(installed, gpus[0].compute_capability, gpus[0].name) if gpus else Host(installed)
