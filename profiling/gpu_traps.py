"""Traps of NVIDIA GPUs, TensorRT and Jetson boards; each function says whether a machine is in one."""

from __future__ import annotations

import re

from ..core.machine import OWNERS, Machine, version_numbers
from .findings import Finding

#: CUDA major -> oldest driver branch, for every release of that major
#: (https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html)
OLDEST_DRIVER = {11: 450, 12: 525, 13: 580}
#: compute capabilities of TensorRT-RTX; 8.0 is the builder's own, the others are in NVIDIA's support matrix
#: (https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/getting-started/support-matrix.html)
RTX_CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
#: compute capability of Jetson Orin, and the first TensorRT for Arm servers, which the wheels are, that knows it
#: (https://github.com/NVIDIA-ISAAC-ROS/isaac-ros-cli/issues/22)
ORIN, ORIN_WHEELS = "8.7", (10, 16)
#: the wheels that bring libnvinfer; a system package has no such name
PIP_TENSORRT = re.compile(r"tensorrt(-cu\d+)?-libs")
PIP_TENSORRT_PART = re.compile(r"tensorrt-(cu\d|libs|bindings)")
#: packages for one CUDA, by their names
FOR_CUDA = re.compile(r"-cu(\d\d)(?:-|$)")
NEEDS_DRIVER = ("tensorrt", "tensorrt_rtx", "cuda.bindings.runtime", "pycuda.driver")
REINSTALL_SYSTEM = "sudo apt install --reinstall python3-libnvinfer"
DRIVERS = "https://www.nvidia.com/drivers"


def pip_tensorrt_on_jetson(machine: Machine) -> Finding | None:
    """TensorRT from pip on a Jetson: made for Arm servers; it does not know the GPU of an Orin before 10.16."""
    wheels = [name for name in machine.packages if PIP_TENSORRT.fullmatch(name)]
    if machine.jetson is None or not wheels:
        return None
    version = machine.packages[wheels[0]]
    is_old = (machine.jetson.jetpack_major or 0) <= 6 or (
        machine.jetson.compute_capability == ORIN and version_numbers(version) < ORIN_WHEELS
    )
    names = " ".join(name for name in machine.packages if name == "tensorrt" or PIP_TENSORRT_PART.match(name))
    return Finding(
        "broken" if is_old else "warning",
        f"{wheels[0]} {version} from pip",
        "the system package that JetPack brings",
        f"pip uninstall --yes {names} && {REINSTALL_SYSTEM}",
    )


def tensorrt_11_on_jetpack_6(machine: Machine) -> Finding | None:
    """TensorRT 11 on JetPack 6, which has 10.3 and stays on 10."""
    version = tensorrt_version(machine)
    if machine.jetson is None or (machine.jetson.jetpack_major or 7) > 6 or version_numbers(version) < (11,):
        return None
    remedy = f"remove it and take the system's: {REINSTALL_SYSTEM}"
    return Finding("broken", f"TensorRT {version} on JetPack 6", "TensorRT 10.3", remedy)


def unseen_system_tensorrt(machine: Machine) -> Finding | None:
    """A Jetson's TensorRT is not seen from this environment."""
    if machine.jetson is None or tensorrt_version(machine):
        return None
    remedy = "python3 -m venv --system-site-packages .venv; where it is missing: sudo apt install nvidia-jetpack"
    return Finding("warning", "no tensorrt in this environment", "the system package that JetPack brings", remedy)


def other_python_on_jetpack_6(machine: Machine) -> Finding | None:
    """JetPack 6 brings TensorRT for Python 3.10 only."""
    if machine.jetson is None or machine.jetson.jetpack_major != 6:
        return None
    if version_numbers(machine.python)[:2] == (3, 10):
        return None
    remedy = "/usr/bin/python3.10 -m venv --system-site-packages .venv"
    return Finding("warning", f"Python {machine.python} on JetPack 6", "Python 3.10, the system's own", remedy)


def unknown_jetpack(machine: Machine) -> Finding | None:
    """The JetPack of this board is not in the table: what is said of it is said from its first number."""
    if machine.jetson is None or machine.jetson.jetpack:
        return None
    release = machine.jetson.release or "of unknown number"
    remedy = "compare https://developer.nvidia.com/embedded/jetpack-archive"
    return Finding("note", f"Jetson Linux {release}", "a release from JetPack 5.0 to 7.2", remedy)


def tensorrt_does_not_load(machine: Machine) -> Finding | None:
    """TensorRT is installed and its library, libnvinfer, does not load."""
    for module, error in machine.import_errors.items():
        if module not in ("tensorrt", "tensorrt_rtx"):
            continue
        names = [name for name in machine.packages if name in OWNERS[module]]
        remedy = f"pip install --force-reinstall {names[0]}" if machine.jetson is None else REINSTALL_SYSTEM
        return Finding("broken", f"import {module}: {error}", "it imports", remedy)
    return None


def missing_driver(machine: Machine) -> Finding | None:
    """Packages for the GPU are installed and the driver's library, libcuda, is not there."""
    if machine.has_cuda_driver or not any(owner in machine.packages for owner in gpu_packages()):
        return None
    if machine.has_nvidia_device:
        remedy = f"install the driver ({DRIVERS}); in a container: docker run --gpus all (--runtime nvidia on Jetson)"
        return Finding("warning", "an NVIDIA GPU, no libcuda", "the driver's library", remedy)
    return Finding(
        "note", "no libcuda and no GPU", "a GPU to run engines on", "build here (--targets), run where the GPU is"
    )


def silent_gpu(machine: Machine) -> Finding | None:
    """The driver is there and does not answer."""
    if not machine.gpu.trouble:
        return None
    remedy = "restart: library and kernel module of the driver must be of one version"
    return Finding("warning", f"nvidia-smi: {machine.gpu.trouble}", "it lists the GPUs", remedy)


def old_driver(machine: Machine) -> Finding | None:
    """The driver is too old for the CUDA that installed packages are made for."""
    needed, runs = max(cuda_majors(machine), default=0), driver_cuda_major(machine)
    if not runs or needed <= runs:
        return None
    packages = ", ".join(name for name in machine.packages if cuda_major(name, machine.packages[name]) == needed)
    found = f"driver {machine.gpu.driver or '?'} with CUDA {machine.gpu.cuda or '?'}; for CUDA {needed}: {packages}"
    oldest = f"driver {OLDEST_DRIVER.get(needed, 'of that release')} or later"
    remedy = f"take packages for CUDA {runs}, or install {oldest}: {DRIVERS}"
    return Finding("broken", found, f"{oldest} for CUDA {needed}", remedy)


def rtx_on_other_gpu(machine: Machine) -> Finding | None:
    """TensorRT-RTX does not know this GPU: its engines can be built here, not run."""
    if not any(name.startswith("tensorrt-rtx") for name in machine.packages):
        return None
    others = [gpu for gpu in machine.gpu.gpus if gpu.compute_capability]
    if not others or any(gpu.compute_capability in RTX_CAPABILITIES for gpu in others):
        return None
    found = f"TensorRT-RTX and {others[0].name} ({others[0].compute_capability})"
    expected = f"compute capability {', '.join(RTX_CAPABILITIES)}"
    return Finding("warning", found, expected, "use TensorRT here: --backend tensorrt")


def missing_cuda_bindings(machine: Machine) -> Finding | None:
    """A GPU and TensorRT are there, and cuda-bindings, which moves frames to and fro, is not."""
    has_tensorrt = any(name.startswith("tensorrt") for name in machine.packages)
    if not (has_tensorrt and machine.gpu.gpus) or "cuda-bindings" in machine.packages:
        return None
    major = driver_cuda_major(machine)
    # the wheel's major must not exceed the driver's
    remedy = f"pip install 'cuda-bindings=={major}.*'" if major else "pip install 'deblurrt[gpu]'"
    return Finding("warning", "TensorRT without cuda-bindings", "cuda-bindings, to run engines", remedy)


def cuda_bindings_do_not_load(machine: Machine) -> Finding | None:
    """cuda-bindings is installed and cannot be imported."""
    error = machine.import_errors.get("cuda.bindings.runtime")
    if error is None:
        return None
    remedy = "pip install --force-reinstall cuda-bindings"
    return Finding("broken", f"import cuda.bindings.runtime: {error}", "it imports", remedy)


def pycuda_does_not_load(machine: Machine) -> Finding | None:
    """PyCUDA needs the driver to be imported at all."""
    error = machine.import_errors.get("pycuda.driver")
    if error is None:
        return None
    if not machine.has_cuda_driver:
        return Finding("note", f"import pycuda.driver: {error}", "a driver", "use pycuda where the GPU is")
    remedy = "pip install --force-reinstall --no-binary pycuda pycuda"
    return Finding("broken", f"import pycuda.driver: {error}", "it imports", remedy)


def tensorrt_version(machine: Machine) -> str:
    """Version of the installed TensorRT; empty: none, or TensorRT-RTX only."""
    return next((machine.packages[name] for name in OWNERS["tensorrt"] if name in machine.packages), "")


def gpu_packages() -> list[str]:
    """Names of packages that are of use with a driver only."""
    return [owner for module in NEEDS_DRIVER for owner in OWNERS[module]] + ["onnxruntime-gpu"]


def driver_cuda_major(machine: Machine) -> int:
    """CUDA major the driver runs, said by itself or from its version; 0: unknown, or older than the table."""
    cuda, driver = version_numbers(machine.gpu.cuda), version_numbers(machine.gpu.driver)
    if cuda:
        return cuda[0]
    return max((major for major, oldest in OLDEST_DRIVER.items() if driver and driver[0] >= oldest), default=0)


def cuda_majors(machine: Machine) -> set[int]:
    """CUDA majors that installed packages are made for."""
    return {cuda_major(name, version) for name, version in machine.packages.items()} - {0}


def cuda_major(name: str, version: str) -> int:
    """CUDA major a package is made for; 0: it does not say."""
    if name == "cuda-bindings":
        return version_numbers(version)[0]
    if name == "torch":
        built = re.search(r"\+cu(\d\d)\d", version)
        return int(built[1]) if built else 0
    named = FOR_CUDA.search(name)
    return int(named[1]) if named else 0
