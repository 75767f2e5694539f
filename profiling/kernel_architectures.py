"""Registers, spills and shared memory of every kernel on every architecture, as the compiler tells them.

``python -m deblurrt.profiling.kernel_architectures docs/kernels.md`` writes the table of that page.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import MachineError
from ..plugins.kernel_library import SOURCE
from ..plugins.toolchain import Compiler, find_compiler, gpu_archs, run_compiler
from .page_sections import write_section

SECTION = "kernel-architectures"
FLAGS = ("-std=c++17", "-O3", "-cubin", "-Xptxas", "-v")
#: name in the object file -> what it is for; element types of what a kernel reads and writes follow
_ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(\w+)'")
_CONVOLUTION = re.compile(r"DeformConvI(f|6__half)NS_\d+(Float|Tensor)Tile")
_POOL = re.compile(r"(Short|Long|Endless)WindowsI(f|6__half)(f|6__half)(?:Lb([01])ELi(\d+))?")
_TYPES = {"f": "float32", "6__half": "float16"}
_UNITS = {"Float": "", "Tensor": ", tensor cores"}
_WINDOWS = {("Short", None): "below 16", ("Long", "8"): "to 128", ("Long", "32"): "to 512", ("Endless", None): "longer"}
_AXES = {"0": " down", "1": " across", None: ""}


@dataclass(frozen=True, slots=True)
class KernelUse:
    """What a kernel takes on an architecture.

    Attributes:
        kernel: What it is for.
        arch: ``sm_87``.
        registers: Of each thread.
        spilled_bytes: Written to memory for want of registers, by each thread.
        shared_bytes: Shared memory of each block.
    """

    kernel: str
    arch: str
    registers: int
    spilled_bytes: int
    shared_bytes: int


def kernel_uses(archs: Sequence[str] | None = None) -> list[KernelUse]:
    """Compile the kernels for each architecture; all the compiler knows if none is named.

    Raises:
        MachineError: nvcc is missing, or refuses.
    """
    nvcc = find_compiler("nvcc", "compile the kernels for GPUs")
    return [use for arch in archs or gpu_archs(nvcc) for use in _compiled(nvcc, arch)]


def _compiled(nvcc: Compiler, arch: str) -> Iterator[KernelUse]:
    with tempfile.TemporaryDirectory() as folder:
        command = [nvcc.path, *FLAGS, f"-arch={arch}", str(SOURCE), "-o", str(Path(folder) / "kernels.cubin")]
        yield from read_uses(run_compiler(command, f"compile the kernels for {arch}"))


def read_uses(said: str) -> Iterator[KernelUse]:
    """Read what ptxas says of each kernel.

    Raises:
        MachineError: It says something else.
    """
    parts = _ENTRY.split(said)
    for entry, arch, rest in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        registers, spilled = re.search(r"Used (\d+) registers", rest), re.search(r"(\d+) bytes spill stores", rest)
        shared = re.search(r"(\d+) bytes smem", rest)
        if registers is None:
            raise MachineError(f"ptxas does not tell the registers of {entry} for {arch}")
        numbers = [int(found[1]) if found else 0 for found in (registers, spilled, shared)]
        yield KernelUse(name_of(entry), arch, *numbers)


def name_of(entry: str) -> str:
    """What a kernel is for, from its name in the object file; that name where it is unknown."""
    if found := _CONVOLUTION.search(entry):
        return f"convolution, {_TYPES[found[1]]}{_UNITS[found[2]]}"
    if found := _POOL.search(entry):
        types = f"{_TYPES[found[2]]} to {_TYPES[found[3]]}"
        return f"pool, windows {_WINDOWS[found[1], found[5]]}{_AXES[found[4]]}, {types}"
    return entry


def describe(uses: Sequence[KernelUse]) -> str:
    """A table: a line for each kernel, a column for each architecture; spilled bytes in brackets."""
    archs = list(dict.fromkeys(use.arch for use in uses))
    found: Mapping[tuple[str, str], KernelUse] = {(use.kernel, use.arch): use for use in uses}
    lines = [
        "| kernel | shared KiB | " + " | ".join(arch.removeprefix("sm_") for arch in archs) + " |",
        "|---|" + "---:|" * (len(archs) + 1),
    ]
    for kernel in sorted({use.kernel for use in uses}):
        row = [found[kernel, arch] for arch in archs]
        shared = max(use.shared_bytes for use in row) / 1024
        lines.append(f"| {kernel} | {shared:.1f} | " + " | ".join(map(_cell, row)) + " |")
    return "\n".join(lines)


def _cell(use: KernelUse) -> str:
    return f"{use.registers} ({use.spilled_bytes})" if use.spilled_bytes else str(use.registers)


if __name__ == "__main__":
    write_section(Path(sys.argv[1]), SECTION, describe(kernel_uses()))
