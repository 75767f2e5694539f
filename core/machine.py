"""What this machine has: processor, memory, GPUs, Jetson board, limits, disk and installed packages."""

from __future__ import annotations

import ctypes
import platform
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from importlib.metadata import distributions
from pathlib import Path

from .caches import cache_folder
from .errors import OutputError
from .gpus import MIB, Gpu, GpuFacts, Run, probe_gpus, read_cuda, run_command
from .jetson import GPU_OF_SOC, Jetson, read_jetson
from .processor import Cpu, RealTime, fields_of, read_cpu, read_real_time, text_of

#: packages worth telling: by name, or by how the name begins
PACKAGES = ("deblurrt", "numpy", "onnx", "av", "openvino", "torch", "torchvision", "pycuda", "polygraphy")
PACKAGE_PREFIXES = ("onnxruntime", "onnxscript", "opencv-", "tensorrt", "cuda-", "nvidia-cuda-runtime")
#: module -> packages that bring it; a module is tried where one of them is installed
OWNERS = {
    "numpy": ("numpy",),
    "onnx": ("onnx",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "av": ("av",),
    "openvino": ("openvino",),
    "cv2": (
        *("opencv-python", "opencv-python-headless"),
        *("opencv-contrib-python", "opencv-contrib-python-headless"),
    ),
    "tensorrt": ("tensorrt", "tensorrt-cu11", "tensorrt-cu12", "tensorrt-cu13"),
    "tensorrt_rtx": ("tensorrt-rtx", "tensorrt-rtx-cu12", "tensorrt-rtx-cu13"),
    "cuda.bindings.runtime": ("cuda-bindings",),
    "pycuda.driver": ("pycuda",),
}
NVIDIA_VENDOR = "0x10de"
CUDA_DRIVER = {"Linux": "libcuda.so.1", "Windows": "nvcuda.dll"}


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine and the Python environment on it; what is not known is empty or None.

    Attributes:
        python: Version of the interpreter, ``3.11.7``.
        system: ``Linux``, ``Windows``, ``Darwin``.
        arch: ``x86_64``, ``aarch64``.
        cpu: The processor.
        memory_total_mib: Memory.
        memory_free_mib: Memory programs can still get.
        gpu: NVIDIA GPUs and their driver.
        has_cuda_driver: Whether the driver's library (libcuda) loads.
        has_nvidia_device: Whether an NVIDIA device is on the bus, driver or not.
        jetson: The board, where this is a Jetson.
        real_time: Which priorities this process may ask for.
        cache_folder: Where engines and other files that can be made again lie; empty: it cannot be made.
        cache_free_mib: Space left there.
        packages: Versions of installed packages that matter here, by name in small letters with dashes.
        import_errors: What importing said, by module; a module that is installed and not in here loads.
    """

    python: str
    system: str = "Linux"
    arch: str = "x86_64"
    cpu: Cpu = field(default_factory=Cpu)
    memory_total_mib: int | None = None
    memory_free_mib: int | None = None
    gpu: GpuFacts = field(default_factory=GpuFacts)
    has_cuda_driver: bool = False
    has_nvidia_device: bool = False
    jetson: Jetson | None = None
    real_time: RealTime = field(default_factory=RealTime)
    cache_folder: str = ""
    cache_free_mib: int | None = None
    packages: Mapping[str, str] = field(default_factory=dict)
    import_errors: Mapping[str, str] = field(default_factory=dict)


def installed_packages() -> dict[str, str]:
    """Versions of all installed packages by name in small letters with dashes; the first found counts."""
    found: dict[str, str] = {}
    for entry in distributions():
        name = entry.metadata["Name"]
        if name:
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), entry.version)
    return found


def library_loads(name: str) -> bool:
    """Whether the system's loader finds and loads a shared library."""
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Readers:
    """Where a machine is read from; other ones stand for other machines.

    Attributes:
        root: Folder that holds ``proc``, ``sys`` and ``etc``.
        run: Runs a command.
        cuda: Asks the CUDA runtime; None: cuda-bindings is not installed.
        versions: Tells versions of installed packages by name.
        loads: Tells whether a shared library loads.
        cache: Makes and tells the folder of engines.
        free_bytes: Tells the space left in a folder.
        python: Version of the interpreter.
        system: Name of the operating system.
        arch: Of the processor.
    """

    root: Path = Path("/")
    run: Run = run_command
    cuda: Callable[[], GpuFacts | None] = read_cuda
    versions: Callable[[], Mapping[str, str]] = installed_packages
    loads: Callable[[str], bool] = library_loads
    cache: Callable[[], Path] = lambda: cache_folder("engines")
    free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free
    python: str = platform.python_version()
    system: str = platform.system()
    arch: str = platform.machine()


def probe_machine(readers: Readers | None = None) -> Machine:
    """Read everything there is to know; takes some seconds, for every installed module is imported once.

    Nothing missing is an error: a machine without a GPU, without ``/proc`` or without packages is one too.
    """
    readers = readers or Readers()
    packages = {name: version for name, version in readers.versions().items() if is_told(name)}
    jetson = read_jetson(readers.root)
    if jetson is not None:
        packages = {**_system_tensorrt(readers.run), **packages}
    memory = fields_of(readers.root / "proc/meminfo")
    total, free = _mib(memory, "MemTotal"), _mib(memory, "MemAvailable")
    folder, free_bytes = _cache(readers)
    return Machine(
        python=readers.python,
        system=readers.system,
        arch=readers.arch,
        cpu=read_cpu(readers.root),
        memory_total_mib=total,
        memory_free_mib=free,
        gpu=_gpu_facts(readers, jetson, total, free),
        has_cuda_driver=readers.loads(CUDA_DRIVER.get(readers.system, "libcuda.so")),
        has_nvidia_device=_has_nvidia_device(readers.root) or jetson is not None,
        jetson=jetson,
        real_time=read_real_time(readers.root),
        cache_folder=folder,
        cache_free_mib=None if free_bytes is None else free_bytes // MIB,
        packages=packages,
        import_errors=_import_errors(packages, readers.run),
    )


def is_told(name: str) -> bool:
    """Whether a package matters here."""
    return name in PACKAGES or name.startswith(PACKAGE_PREFIXES)


def version_numbers(version: str) -> tuple[int, ...]:
    """Leading numbers of a version for comparing: ``10.3.0.30`` and ``580.65.06``; empty: none."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, match[0].split("."))) if match else ()


def _import_errors(packages: Mapping[str, str], run: Run) -> dict[str, str]:
    """Import every installed module in a process of its own: a bad one can crash or hang."""
    modules = [name for name, owners in OWNERS.items() if any(owner in packages for owner in owners)]
    with ThreadPoolExecutor(max_workers=2) as pool:
        errors = pool.map(lambda name: _import_error(name, run), modules)
        return {name: error for name, error in zip(modules, errors, strict=True) if error}


def _import_error(module: str, run: Run) -> str:
    # a folder of the same name where the command is typed must not be taken for the package
    ran = run([sys.executable, "-c", f"import sys; sys.path = [p for p in sys.path if p]; import {module}"])
    if ran is None:
        return "importing it does not end"
    lines = ran.text.strip().splitlines()
    if ran.status == 0:
        return ""
    ended = f"ended by signal {-ran.status}" if ran.status < 0 else f"ended with status {ran.status}"
    return lines[-1].strip() if lines else ended


def _system_tensorrt(run: Run) -> dict[str, str]:
    """Ask a Jetson's TensorRT itself: system packages need not leave a record that Python reads."""
    ran = run([sys.executable, "-c", "import tensorrt; print(tensorrt.__version__)"])
    return {"tensorrt": ran.text.split()[-1]} if ran and ran.status == 0 and ran.text.strip() else {}


def _gpu_facts(readers: Readers, jetson: Jetson | None, total_mib: int | None, free_mib: int | None) -> GpuFacts:
    """Find the GPUs; a Jetson's is known from its chip, and its memory is the system's."""
    facts = probe_gpus(readers.run, readers.cuda)
    if jetson is None or jetson.soc not in GPU_OF_SOC:
        return facts
    name, capability = GPU_OF_SOC[jetson.soc]
    gpu = facts.gpus[0] if facts.gpus else Gpu(name)
    gpu = replace(
        gpu,
        compute_capability=gpu.compute_capability or capability,
        memory_total_mib=gpu.memory_total_mib or total_mib,
        memory_free_mib=gpu.memory_free_mib or free_mib,
    )
    return replace(facts, gpus=(gpu, *facts.gpus[1:]))


def _cache(readers: Readers) -> tuple[str, int | None]:
    """The folder of engines and the bytes left there; nothing where it cannot be made."""
    try:
        folder = readers.cache()
        return str(folder), readers.free_bytes(folder)
    except (OSError, OutputError):
        return "", None


def _mib(memory: Mapping[str, list[str]], name: str) -> int | None:
    """A line of ``/proc/meminfo``, which counts in KiB."""
    values = memory.get(name)
    return int(values[0].split()[0]) // 1024 if values else None


def _has_nvidia_device(root: Path) -> bool:
    return any(text_of(path) == NVIDIA_VENDOR for path in (root / "sys/bus/pci/devices").glob("*/vendor"))
