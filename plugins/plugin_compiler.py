"""One run of CMake that makes the plugin library, and the programs it needs."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import MachineError
from .kernel_library import SOURCES
from .tensorrt_headers import TensorrtHeaders
from .toolchain import Compiler, CompilerName, find_compiler, gpu_archs, host_compiler, run_compiler

LIBRARY = "libdeblurrt_plugins.so"
PURPOSE = "compile plugins for TensorRT"
#: what TensorRT 10.3 to 11 run on; a library is for these where no GPU is named or here
ARCHS = ("sm75", "sm80", "sm86", "sm87", "sm89", "sm90", "sm100", "sm110", "sm120", "sm121")
COMPILERS: tuple[CompilerName, ...] = ("nvcc", "g++")
RELEASE = re.compile(r"release (\d+\.\d+)")


@dataclass(frozen=True, slots=True)
class PluginTools:
    """Programs a library is compiled with.

    Attributes:
        nvcc: CUDA's compiler.
        cxx: The C++ compiler.
        cmake: What calls the compilers.
        cuda: Version of ``nvcc``, ``12.6``.
    """

    nvcc: Compiler
    cxx: Compiler
    cmake: str
    cuda: str


def find_tools() -> PluginTools:
    """Find the programs.

    Raises:
        MachineError: Some are missing; names all of them, with what brings them.
    """
    found: dict[CompilerName, Compiler] = {}
    missing = []
    for name in COMPILERS:
        try:
            found[name] = find_compiler(name, PURPOSE)
        except MachineError as error:
            missing.append(str(error))
    cmake = shutil.which("cmake")
    if cmake is None:
        missing.append(f"cmake is needed to {PURPOSE} and was not found; sudo apt install cmake, or pip install cmake")
    if missing or cmake is None:
        raise MachineError("; ".join(missing))
    nvcc = found["nvcc"]
    said = RELEASE.search(nvcc.version)
    if said is None:
        raise MachineError(f"{nvcc.path} does not tell its version; name another compiler: CUDACXX=PATH")
    return PluginTools(nvcc, found["g++"], cmake, said[1])


def archs_of(tools: PluginTools) -> tuple[str, ...]:
    """Compute capabilities the compiler knows, from old to new."""
    return tuple(arch.replace("_", "") for arch in gpu_archs(tools.nvcc))


def compile_library(
    folder: Path, headers: TensorrtHeaders, tools: PluginTools, archs: Sequence[str], kernels: Sequence[Path]
) -> Path:
    """Compile into ``folder``; gives the library, in a folder of its own.

    Args:
        folder: Empty.
        headers: Of TensorRT.
        tools: What it is compiled with.
        archs: Compute capabilities, ``sm87``.
        kernels: Sources in place of our kernels.

    Raises:
        MachineError: The compiler refuses; with its first complaints.
    """
    numbers = sorted((int(arch[2:]) for arch in archs), reverse=True)
    # newer GPUs translate the newest
    targets = [str(numbers[0]), *(f"{number}-real" for number in numbers[1:])]
    build, result = folder / "build", folder / "result"
    configure = [
        tools.cmake, "-S", str(SOURCES), "-B", str(build),
        f"-DTENSORRT_INCLUDE_DIR={headers.folder}", f"-DCMAKE_CUDA_COMPILER={tools.nvcc.path}",
        f"-DCMAKE_CXX_COMPILER={tools.cxx.path}", f"-DCMAKE_CUDA_ARCHITECTURES={';'.join(targets)}",
        *([f"-DCMAKE_CUDA_HOST_COMPILER={tools.cxx.path}"] if host_compiler() else []),
        f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={result}",
        *([f"-DDEBLURRT_KERNELS={';'.join(map(str, kernels))}"] if kernels else []),
    ]  # fmt: skip
    what = f"compile the plugins for {headers.describe()}"
    run_compiler(configure, what)
    run_compiler([tools.cmake, "--build", str(build), "--parallel", str(os.cpu_count() or 1)], what)
    return result / LIBRARY
