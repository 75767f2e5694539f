"""What the tests of the C++ half need: compilers, TensorRT's headers, and libraries compiled once."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from deblurrt.core.errors import MachineError
from deblurrt.plugins.kernel_library import SOURCES
from deblurrt.plugins.plugin_compiler import compile_library, find_tools
from deblurrt.plugins.tensorrt_headers import TensorrtHeaders, find_headers

HERE = Path(__file__).parent
FAKE_KERNELS = HERE / "fake_kernels.cpp"
#: folders with ``include/``, several with ``:`` between them
HEADERS_VARIABLE = "DEBLURRT_TENSORRT_HEADERS"
#: what TensorRT's public headers have as roots; without any, one place says why nothing runs
ROOTS = tuple(os.environ.get(HEADERS_VARIABLE, "").split(os.pathsep))


def headers_of(root: str) -> TensorrtHeaders:
    """TensorRT's headers, or a skipped test."""
    if not root:
        pytest.skip(
            f"no TensorRT headers: git clone --depth 1 --branch v10.3.0 https://github.com/NVIDIA/TensorRT DIR, "
            f"then {HEADERS_VARIABLE}=DIR (several: DIR:DIR)"
        )
    return find_headers(Path(root))


def compiled_with_fakes(root: str, folder: Path) -> Path:
    """The library for these headers, with stand-ins for the kernels."""
    headers = headers_of(root)
    try:
        tools = find_tools()
    except MachineError as error:
        pytest.skip(str(error))
    return compile_library(folder, headers, tools, ("sm87",), (FAKE_KERNELS,))


def compiler() -> str:
    """The C++ compiler, or a skipped test."""
    found = shutil.which("g++")
    if found is None:
        pytest.skip("g++ compiles the C++ half: sudo apt install g++")
    return found


@cache
def cuda_headers() -> Path:
    """The folder of the CUDA runtime's headers, or a skipped test."""
    places = [Path(find_tools().nvcc.path).resolve().parents[1], Path("/usr/local/cuda")]
    found = next((place for place in places if (place / "include/cuda_runtime_api.h").is_file()), None)
    if found is None:
        pytest.skip("no cuda_runtime_api.h beside nvcc")
    return found / "include"


def compile_cpp(source: Path, result: Path, *options: str) -> Path:
    """Compile one file of the tests, with warnings as errors."""
    command = [compiler(), "-std=c++17", "-Wall", "-Wextra", "-Werror", f"-I{SOURCES}", *options, str(source)]
    subprocess.run([*command, "-o", str(result), "-ldl"], check=True, timeout=300)
    return result
