"""Compilers of the kernels: found, or named with what brings them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..core.errors import MachineError

CompilerName = Literal["g++", "nvcc"]
#: variable that names another program, as build tools have it
VARIABLES: dict[CompilerName, str] = {"g++": "CXX", "nvcc": "CUDACXX"}
#: packages of the CUDA toolkit leave its folder out of PATH
CUDA_FOLDERS = ("CUDA_HOME", "CUDA_PATH")
CUDA_HOME = "/usr/local/cuda"
REMEDIES: dict[CompilerName, str] = {
    "g++": "sudo apt install g++",
    "nvcc": "install NVIDIA's CUDA toolkit 12.6 or later (on Jetson: sudo apt install nvidia-jetpack)",
}
#: lines of a compiler's complaint that an error shows
SAID_LINES = 3


@dataclass(frozen=True, slots=True)
class Compiler:
    """A compiler of this machine.

    Attributes:
        name: Which one.
        path: The program.
        version: All it says of its version; part of the key of what it compiles.
    """

    name: CompilerName
    path: str
    version: str


def find_compiler(name: CompilerName, purpose: str) -> Compiler:
    """Find a compiler: the one its variable names, on PATH, in the folder of CUDA.

    Args:
        name: Which one.
        purpose: What it is needed for, as a verb phrase.

    Raises:
        MachineError: It is missing; with what brings it.
    """
    folders = [os.environ[variable] for variable in CUDA_FOLDERS if os.environ.get(variable)] + [CUDA_HOME]
    search = os.pathsep.join([os.environ.get("PATH", ""), *(str(Path(folder) / "bin") for folder in folders)])
    variable = VARIABLES[name]
    wanted = os.environ.get(variable) or name
    path = shutil.which(wanted, path=search)
    if path is None:
        raise MachineError(
            f"{wanted} is needed to {purpose} and was not found; {REMEDIES[name]}, or name it: {variable}=PATH"
        )
    return Compiler(name, path, run_compiler([path, "--version"], "tell its version"))


def host_compiler() -> Compiler | None:
    """The C++ compiler nvcc shall use: the one ``CXX`` names; None leaves it to nvcc.

    Raises:
        MachineError: It is missing.
    """
    return find_compiler("g++", "compile for GPUs") if os.environ.get(VARIABLES["g++"]) else None


def run_compiler(command: Sequence[str], what: str) -> str:
    """Run a compiler and return what it says on both outputs.

    Raises:
        MachineError: It cannot be started or fails; with its first complaints.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, errors="replace")
    except OSError as error:
        raise MachineError(f"{command[0]} cannot be started ({error.strerror})") from error
    said = done.stdout + done.stderr
    if done.returncode:
        raise MachineError(f"{Path(command[0]).name} does not {what}: {_complaint(said)}")
    return said


def _complaint(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [index for index, line in enumerate(lines) if re.search(r"\b(error|fatal)\b", line, re.I)]
    first = errors[0] if errors else max(len(lines) - SAID_LINES, 0)
    return " | ".join(lines[first : first + SAID_LINES]) or "it says nothing"


def gpu_archs(nvcc: Compiler) -> tuple[str, ...]:
    """Architectures a compiler of CUDA knows, ``sm_87``, from old to new."""
    said = run_compiler([nvcc.path, "--list-gpu-arch"], "list its architectures")
    return tuple(f"sm_{number}" for number in sorted({int(found) for found in re.findall(r"compute_(\d+)\b", said)}))
