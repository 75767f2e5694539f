"""Architectures of GPUs, written ``sm87``: how they are read, this machine's, which run each other's code."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..core.errors import MachineError, UsageError
from ..core.gpus import probe_gpus

#: the GPUs of Jetson and DRIVE; CUDA's programming guide has code of other GPUs not run on them, nor theirs on others
TEGRA = frozenset({"sm87", "sm101", "sm110"})
_WRITTEN = re.compile(r"(?:sm_?)?([1-9]\d{1,2})")
_MINOR = re.compile(r"\d$")


def parse_arch(text: str) -> str:
    """Read ``87``, ``sm87`` or ``sm_87``; gives ``sm87``.

    Raises:
        UsageError: It is none of them.
    """
    found = _WRITTEN.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"{text!r} is no compute capability, expected such as sm87 or sm110")
    return f"sm{found[1]}"


def nvcc_arch(arch: str) -> str:
    """Write ``sm87`` as nvcc does, ``sm_87``."""
    return f"sm_{arch.removeprefix('sm')}"


def this_gpu() -> tuple[str, ...]:
    """Compute capabilities of this machine's GPUs, the first of CUDA first; empty where there is none."""
    told = (gpu.compute_capability for gpu in probe_gpus().gpus)
    return tuple(dict.fromkeys(f"sm{capability.replace('.', '')}" for capability in told if capability))


def first_gpu() -> str:
    """The compute capability of the GPU that programs get who choose none.

    Raises:
        MachineError: There is none, or it does not tell.
    """
    found = this_gpu()
    if not found:
        raise MachineError("no GPU here tells its compute capability; name it: --arch sm87")
    return found[0]


def serves(built: Iterable[str], arch: str) -> bool:
    """Whether code built for some GPUs runs on another: on the same, or on a later one of the same major version."""
    return any(one == arch or _is_later_of_its_major(one, arch) for one in built)


def _is_later_of_its_major(built: str, arch: str) -> bool:
    if {built, arch} & TEGRA or _MINOR.sub("", built) != _MINOR.sub("", arch):
        return False
    return int(built[-1]) <= int(arch[-1])
