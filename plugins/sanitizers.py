"""A process in which wrong addresses and undefined behaviour of the kernels end it at once."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

from ..core.errors import MachineError
from .toolchain import find_compiler, run_compiler

#: the runtime of the address sanitizer must be the first library of a process
RUNTIME = "libasan.so"
#: Python itself keeps memory to its end, which is no leak of ours
OPTIONS = {"ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0", "UBSAN_OPTIONS": "print_stacktrace=1"}


def has_sanitizers() -> bool:
    """Whether this process was started with them."""
    return hasattr(ctypes.CDLL(None), "__asan_init")


def run_with_sanitizers() -> int:
    """Run the command this process was started with once more, with sanitizers; its exit status.

    Raises:
        MachineError: The compiler or its sanitizers are missing.
    """
    compiler = find_compiler("g++", "compile the kernels with sanitizers")
    runtime = run_compiler([compiler.path, f"-print-file-name={RUNTIME}"], "tell where its sanitizers are").strip()
    # a compiler answers with the bare name of what it does not have
    if runtime == RUNTIME:
        raise MachineError(f"{compiler.path} has no {RUNTIME}; install the package libasan of its version")
    start = "from deblurrt.cli.main import main; main()"
    command = [sys.executable, "-c", start, *sys.argv[1:]]
    return subprocess.run(command, check=False, env={**os.environ, **OPTIONS, "LD_PRELOAD": runtime}).returncode
