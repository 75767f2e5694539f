"""Compilers of the plugins: found, or named with what brings them; and one run of CMake."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import MachineError
from .tensorrt_headers import TensorrtHeaders

SOURCES = Path(__file__).parent / "csrc"
LIBRARY = "libdeblurrt_plugins.so"
#: what TensorRT 10.3 to 11 run on; of these the compiler's own are taken where there is no GPU to ask
ARCHS = ("sm75", "sm80", "sm86", "sm87", "sm89", "sm90", "sm100", "sm110", "sm120", "sm121")
#: folders of compilers that JetPack and NVIDIA's packages leave out of PATH
CUDA_FOLDERS = ("CUDA_HOME", "CUDA_PATH")
CUDA_HOME = Path("/usr/local/cuda")
RELEASE = re.compile(r"release (\d+\.\d+)")
#: what brings each program
PACKAGES = {
    "nvcc": "sudo apt install cuda-nvcc-12-6 cuda-cudart-dev-12-6 (JetPack 6; elsewhere of your CUDA's version)",
    "cmake": "sudo apt install cmake, or pip install cmake",
    "g++": "sudo apt install g++",
}
SAID_LINES = 3


@dataclass(frozen=True, slots=True)
class PluginTools:
    """Programs a library is compiled with.

    Attributes:
        nvcc: CUDA's compiler.
        cmake: What calls the compilers.
        cxx: The C++ compiler.
        cuda: Version of ``nvcc``, ``12.6``.
    """

    nvcc: str
    cmake: str
    cxx: str
    cuda: str


def find_tools() -> PluginTools:
    """Find the programs.

    Raises:
        MachineError: Some are missing; with the packages that bring them.
    """
    places = [Path(os.environ[name]) for name in CUDA_FOLDERS if os.environ.get(name)] + [CUDA_HOME]
    search = os.pathsep.join([os.environ.get("PATH", ""), *(str(place / "bin") for place in places)])
    found = {
        "nvcc": os.environ.get("CUDACXX") or shutil.which("nvcc", path=search),
        "cmake": shutil.which("cmake"),
        "g++": os.environ.get("CXX") or shutil.which("g++"),
    }
    missing = [name for name, path in found.items() if not path]
    if missing:
        remedies = "; ".join(f"{name}: {PACKAGES[name]}" for name in missing)
        raise MachineError(
            f"plugins are compiled with {' and '.join(missing)}, which was not found; install {remedies}"
        )
    nvcc = str(found["nvcc"])
    said = RELEASE.search(_ran([nvcc, "--version"]).stdout)
    if said is None:
        raise MachineError(f"{nvcc} does not tell its version; name another compiler: CUDACXX=PATH")
    return PluginTools(nvcc, str(found["cmake"]), str(found["g++"]), said[1])


def archs_of(tools: PluginTools) -> tuple[str, ...]:
    """Compute capabilities the compiler knows and TensorRT runs on."""
    known = set(re.findall(r"compute_(\d+)", _ran([tools.nvcc, "--list-gpu-arch"]).stdout))
    return tuple(arch for arch in ARCHS if arch[2:] in known)


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
        MachineError: The compiler refuses; with its first error.
    """
    numbers = sorted((int(arch[2:]) for arch in archs), reverse=True)
    # newer GPUs translate the newest
    targets = [str(numbers[0]), *(f"{number}-real" for number in numbers[1:])]
    build, result = folder / "build", folder / "result"
    configure = [
        tools.cmake, "-S", str(SOURCES), "-B", str(build),
        f"-DTENSORRT_INCLUDE_DIR={headers.folder}", f"-DCMAKE_CUDA_COMPILER={tools.nvcc}",
        f"-DCMAKE_CXX_COMPILER={tools.cxx}", f"-DCMAKE_CUDA_ARCHITECTURES={';'.join(targets)}",
        f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={result}",
        *([f"-DDEBLURRT_KERNELS={';'.join(map(str, kernels))}"] if kernels else []),
    ]  # fmt: skip
    compile_ = [tools.cmake, "--build", str(build), "--parallel", str(os.cpu_count() or 1)]
    for command in (configure, compile_):
        done = _ran(command)
        if done.returncode:
            raise MachineError(
                f"plugins do not compile for {headers.describe()}: {_reason(done.stdout)}; see all of it: "
                f"cmake -S {SOURCES} -B build -DTENSORRT_INCLUDE_DIR={headers.folder} && cmake --build build"
            )
    return result / LIBRARY


def _reason(said: str) -> str:
    """The first lines that tell of an error, else the last ones."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [index for index, line in enumerate(lines) if re.search(r"\berror\b", line, re.I)]
    first = errors[0] if errors else len(lines) - SAID_LINES
    return " | ".join(lines[max(first, 0) :][:SAID_LINES])


def _ran(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, errors="replace"
        )
    except OSError as error:
        raise MachineError(f"{command[0]} cannot be started ({error.strerror})") from error
