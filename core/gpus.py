"""Which NVIDIA GPUs there are, as ``nvidia-smi`` and the CUDA runtime tell; neither is needed."""

from __future__ import annotations

import csv
import importlib
import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

#: asked one by one: a driver that does not know a field refuses the whole question
QUERIES = ("name,memory.total,memory.free,driver_version,compute_cap", "name,memory.total,memory.free,driver_version")
#: drivers from 610 on call them KMD and CUDA UMD version
CUDA_VERSION = re.compile(r"CUDA (?:UMD )?Version\s*:\s*(\d+\.\d+)")
COMMAND_TIMEOUT_S = 60.0
MIB = 2**20


class Ran(NamedTuple):
    """What a command left: its exit status (negative: ended by a signal) and all it printed."""

    status: int
    text: str


Run = Callable[[Sequence[str]], Ran | None]


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU; what is not known is empty or None.

    Attributes:
        name: As NVIDIA calls it.
        compute_capability: ``8.7``.
        memory_total_mib: Its memory, or what it shares with the processor.
        memory_free_mib: Of it, not in use.
    """

    name: str
    compute_capability: str = ""
    memory_total_mib: int | None = None
    memory_free_mib: int | None = None


@dataclass(frozen=True, slots=True)
class GpuFacts:
    """The GPUs and what drives them; what is not known is empty.

    Attributes:
        gpus: In the order of ``nvidia-smi``; of the CUDA runtime where only that answers.
        driver: Version of the driver, ``580.65.06``.
        cuda: Newest CUDA the driver runs, ``13.0``.
        trouble: What the driver's own tool said when it failed.
    """

    gpus: tuple[Gpu, ...] = ()
    driver: str = ""
    cuda: str = ""
    trouble: str = ""


def run_command(command: Sequence[str]) -> Ran | None:
    """Run a command; None where it does not exist or does not end within a minute."""
    try:
        done = subprocess.run(
            list(command),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            timeout=COMMAND_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return Ran(done.returncode, done.stdout)


def read_cuda() -> GpuFacts | None:
    """Ask the CUDA runtime through cuda-bindings; None where the package is missing or does not load."""
    try:
        runtime = importlib.import_module("cuda.bindings.runtime")
    except (ImportError, RuntimeError):
        return None
    # first, and alone: without a driver later calls fail in worse ways
    error, count = runtime.cudaGetDeviceCount()
    if error != runtime.cudaError_t.cudaSuccess:
        return GpuFacts()
    _, version = runtime.cudaDriverGetVersion()
    gpus = tuple(_cuda_gpu(runtime, index) for index in range(count))
    return GpuFacts(gpus, cuda=f"{version // 1000}.{version % 1000 // 10}")


def _cuda_gpu(runtime: Any, index: int) -> Gpu:
    error, told = runtime.cudaGetDeviceProperties(index)
    if error != runtime.cudaError_t.cudaSuccess:
        return Gpu(f"GPU {index}")
    name = told.name.decode(errors="replace") if isinstance(told.name, bytes) else str(told.name)
    return Gpu(name.strip("\0 "), f"{told.major}.{told.minor}", told.totalGlobalMem // MIB)


def probe_gpus(run: Run = run_command, cuda: Callable[[], GpuFacts | None] = read_cuda) -> GpuFacts:
    """Find the GPUs; no driver, no tool and no package all mean: none.

    Args:
        run: Runs ``nvidia-smi``.
        cuda: Asks the CUDA runtime.
    """
    told, asked = _ask_tool(run), cuda() or GpuFacts()
    if not told.gpus:
        return replace(asked, driver=told.driver, cuda=told.cuda or asked.cuda, trouble=told.trouble)
    return replace(told, gpus=_completed(told.gpus, asked.gpus), cuda=told.cuda or asked.cuda)


def _completed(gpus: tuple[Gpu, ...], others: tuple[Gpu, ...]) -> tuple[Gpu, ...]:
    """Fill what ``nvidia-smi`` left open; the two orders may differ, so GPUs are matched by name."""
    if len(gpus) == len(others) == 1:
        return (_filled(gpus[0], others[0]),)
    by_name = {gpu.name: gpu for gpu in others}
    return tuple(_filled(gpu, by_name.get(gpu.name, gpu)) for gpu in gpus)


def _filled(gpu: Gpu, other: Gpu) -> Gpu:
    return replace(
        gpu,
        compute_capability=gpu.compute_capability or other.compute_capability,
        memory_total_mib=gpu.memory_total_mib or other.memory_total_mib,
    )


def _ask_tool(run: Run) -> GpuFacts:
    ran: Ran | None = None
    for fields in QUERIES:
        ran = run(["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"])
        if ran is None:
            return GpuFacts()
        if ran.status == 0:
            return _tool_facts(fields.split(","), ran.text, run)
    assert ran is not None
    return GpuFacts(trouble=" ".join(ran.text.split()) or f"nvidia-smi ended with status {ran.status}")


def _tool_facts(fields: list[str], text: str, run: Run) -> GpuFacts:
    rows = [
        {field: _known(value) for field, value in zip(fields, row, strict=True)}
        for row in csv.reader(text.strip().splitlines(), skipinitialspace=True)
        # a line of another kind is a remark, such as "No devices were found"
        if len(row) == len(fields)
    ]
    gpus = tuple(
        Gpu(row["name"], row.get("compute_cap", ""), _mib(row, "memory.total"), _mib(row, "memory.free"))
        for row in rows
        if row.get("name")
    )
    driver = next((row["driver_version"] for row in rows if row.get("driver_version")), "")
    banner = run(["nvidia-smi"])
    cuda = CUDA_VERSION.search(banner.text) if banner else None
    return GpuFacts(gpus, driver, cuda[1] if cuda else "")


def _known(value: str) -> str:
    """A value, or nothing where the tool says that it knows none: ``[N/A]``, ``[Not Supported]``."""
    value = value.strip()
    return "" if value.startswith("[") or value == "N/A" else value


def _mib(row: dict[str, str], field: str) -> int | None:
    value = row.get(field, "")
    return int(value) if value.isdigit() else None
