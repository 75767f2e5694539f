"""The kernels as a library for this machine's CPU or for a GPU: compiled once, kept in the cache, called by ctypes.

Example:
    >>> kernels = load_kernels(build_kernels())
    >>> kernels.local_avg_pool(np.ones((1, 1, 4, 4), np.float32), (3, 3)).sum()
    np.float32(16.0)
"""

from __future__ import annotations

import ctypes
import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from ..core.caches import cache_folder
from ..core.errors import ContractError, MachineError
from ..core.outputs import output_error
from ..core.tensors import Array
from .archs import first_gpu, nvcc_arch
from .kernel_calls import KERNELS, OK, KernelCall, kernel_call
from .toolchain import Compiler, CompilerName, find_compiler, host_compiler, run_compiler

SOURCES = Path(__file__).parent / "csrc"
SOURCE = SOURCES / "kernels.cu"
Device = Literal["cpu", "cuda"]
COMPILERS: dict[Device, CompilerName] = {"cpu": "g++", "cuda": "nvcc"}
#: no -ffast-math: the CPU stands for what a GPU computes. Shared memory holds other types from phase to phase: barriers
#: keep that in order on a GPU, and nothing would on a CPU.
CPU_FLAGS = ("-std=c++20", "-fno-strict-aliasing", "-Wall", "-Wextra", "-shared", "-fPIC", "-x", "c++")
FAST_FLAGS = ("-O3",)
#: on errors the process ends, so that no test can pass over one
SANITIZER_FLAGS = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
CUDA_FLAGS = ("-std=c++17", "-O3", "-shared", "-Xcompiler", "-fPIC")


@dataclass(frozen=True, slots=True)
class KernelBuild:
    """Choices of a build of the kernels.

    Attributes:
        device: What they run on.
        arch: Of the GPU, ``sm87``; empty is that of this machine's first.
        is_sanitized: Whether wrong addresses and undefined behaviour end the process; for the CPU only.
    """

    device: Device = "cpu"
    arch: str = ""
    is_sanitized: bool = False

    @property
    def flags(self) -> tuple[str, ...]:
        """Options of the compiler."""
        if self.device == "cuda":
            chosen = host_compiler()
            return (*CUDA_FLAGS, f"-arch={nvcc_arch(self.arch)}", *(("-ccbin", chosen.path) if chosen else ()))
        return (*(SANITIZER_FLAGS if self.is_sanitized else FAST_FLAGS), *CPU_FLAGS)


def kernel_sources() -> list[Path]:
    """Files the kernels are compiled from."""
    return sorted([SOURCE, *SOURCES.glob("*.h")])


def build_kernels(build: KernelBuild | None = None) -> Path:
    """Compile the kernels, or find them as compiled before from the same files by the same compiler.

    Raises:
        MachineError: The compiler is missing or refuses, or no GPU tells which architecture it is.
        OutputError: The cache cannot be written.
    """
    build = build or KernelBuild()
    compiler = find_compiler(COMPILERS[build.device], "compile the kernels of our operators")
    if build.device == "cuda" and not build.arch:
        # before the key: the cache may serve machines with other GPUs
        build = replace(build, arch=first_gpu())
    path = cache_folder("plugins") / f"kernels_{build.device}_{_key(compiler, build)}.so"
    if not path.exists():
        _compile(compiler, build, path)
    return path


def _key(compiler: Compiler, build: KernelBuild) -> str:
    told = hashlib.sha256("\0".join([compiler.path, compiler.version, *build.flags]).encode())
    for source in kernel_sources():
        told.update(source.name.encode() + source.read_bytes())
    return told.hexdigest()[:16]


def _compile(compiler: Compiler, build: KernelBuild, path: Path) -> None:
    try:
        # beside its place: two processes may compile at once, and each puts a whole file there
        with tempfile.TemporaryDirectory(prefix=".compiling-", dir=path.parent) as folder:
            made = Path(folder) / path.name
            command = [compiler.path, *build.flags, str(SOURCE), "-o", str(made)]
            run_compiler(command, f"compile the kernels for {build.device}")
            made.replace(path)
    except OSError as error:
        raise output_error(path, error) from error


def load_kernels(path: Path) -> KernelLibrary:
    """Load a library of kernels.

    Raises:
        MachineError: It does not load.
    """
    try:
        return KernelLibrary(ctypes.CDLL(str(path)))
    except (OSError, AttributeError) as error:
        raise MachineError(f"{path} is no library of kernels ({error}); delete it and it is compiled anew") from error


class KernelLibrary:
    """Kernels that are loaded; may be called from several threads at once.

    Args:
        library: Has the functions of ``csrc/kernels.h``.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self.library = library
        self._error = library.deblurrt_error
        self._error.restype = ctypes.c_char_p
        self._functions = {op: getattr(library, symbol.name) for op, symbol in KERNELS.items()}
        self._workspaces = {op: getattr(library, f"{symbol.name}_workspace") for op, symbol in KERNELS.items()}
        for workspace in self._workspaces.values():
            workspace.restype = ctypes.c_size_t

    def workspace_bytes(self, call: KernelCall) -> int:
        """How much memory a call works with."""
        return int(self._workspaces[call.op](ctypes.byref(call.structure)))

    def start(
        self, call: KernelCall, inputs: Sequence[int], output: int, workspace: tuple[int, int] = (0, 0), stream: int = 0
    ) -> int:
        """Put a call on a stream; on the CPU it has ended on return.

        Args:
            call: What is computed.
            inputs: Addresses of the tensors, on the device of the library.
            output: Address of the result.
            workspace: Address, a multiple of 16, and bytes.
            stream: Handle of the stream; 0 is the default one.

        Returns:
            0, or a code ``explain`` knows.
        """
        symbol = KERNELS[call.op]
        pointers = [*inputs, *[0] * (symbol.inputs - len(inputs)), output, workspace[0]]
        arguments = [*map(ctypes.c_void_p, pointers), ctypes.c_size_t(workspace[1]), ctypes.c_void_p(stream)]
        return int(self._functions[call.op](ctypes.byref(call.structure), *arguments))

    def explain(self, code: int) -> str:
        """Say what a code means."""
        text: bytes = self._error(code)
        return text.decode()

    def check(self, code: int) -> None:
        """Raise what a code means, unless it is 0.

        Raises:
            ContractError: The call is not one the kernels take.
            MachineError: The GPU refuses.
        """
        if code != OK:
            raise (MachineError if code > 0 else ContractError)(f"kernels give code {code}: {self.explain(code)}")

    def compute(self, op: str, inputs: Sequence[Array], **attributes: object) -> Array:
        """Compute an operator on arrays of this machine's memory; for libraries for the CPU.

        Raises:
            ContractError: Shapes, types and attributes do not fit each other.
        """
        arrays = [np.ascontiguousarray(array) for array in inputs]
        call = kernel_call(op, arrays[0].dtype, [array.shape for array in arrays], attributes)
        if wrong := sorted({str(array.dtype) for array in arrays} - {str(call.dtype)}):
            raise ContractError(f"inputs of {op} are {call.dtype} and {', '.join(wrong)}; expected one type")
        result = np.empty(call.output_shape, call.dtype)
        size = self.workspace_bytes(call)
        workspace = np.empty(size // 16 + 1, np.complex128)
        addresses = [array.ctypes.data for array in arrays]
        self.check(self.start(call, addresses, result.ctypes.data, (workspace.ctypes.data, size)))
        return result

    def modulated_deform_conv(self, inputs: Sequence[Array], **attributes: object) -> Array:
        """Convolve bilinear samples; inputs and attributes as in ``plugins.modulated_deform_conv``."""
        return self.compute("ModulatedDeformConv", inputs, **attributes)

    def local_avg_pool(self, x: Array, window: Sequence[int]) -> Array:
        """Average the window of every pixel of ``x``."""
        return self.compute("LocalAvgPool", [x], window=tuple(window))
