"""Which NVIDIA GPUs CUDA programs see, as its runtime and ``nvidia-smi`` tell; neither is needed."""

from __future__ import annotations

import csv
import importlib
import os
import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple
from uuid import UUID

#: asked one by one: a driver that does not know a field refuses the whole question
QUERIES = ("name,memory.total,memory.free,driver_version,compute_cap", "name,memory.total,memory.free,driver_version")
#: chooses and orders what CUDA sees: indices and the beginnings of UUIDs
VISIBLE = "CUDA_VISIBLE_DEVICES"
#: drivers from 610 on call them KMD and CUDA UMD version
CUDA_VERSION = re.compile(r"CUDA (?:UMD )?Version\s*:\s*(\d+\.\d+)")
COMMAND_TIMEOUT_S = 60.0
MIB = 2**20
UUID_BYTES = 16


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
class NamedGpu(Gpu):
    """A GPU that is told from others of its kind while they are matched; reports do not name single devices.

    Attributes:
        uuid: ``GPU-`` and 32 digits in groups.
    """

    uuid: str = ""


@dataclass(frozen=True, slots=True)
class GpuFacts:
    """The GPUs and what drives them; what is not known is empty.

    Attributes:
        gpus: Those that CUDA programs see, the one they take first; in the order of ``nvidia-smi`` where the
            CUDA runtime does not answer.
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
    gpu = Gpu(name.strip("\0 "), f"{told.major}.{told.minor}", told.totalGlobalMem // MIB)
    uuid = told.uuid.bytes if hasattr(told, "uuid") else b""
    return _named(gpu, f"GPU-{UUID(bytes=uuid)}") if len(uuid) == UUID_BYTES and any(uuid) else gpu


def probe_gpus(run: Run = run_command, cuda: Callable[[], GpuFacts | None] = read_cuda) -> GpuFacts:
    """Find the GPUs, first the one that CUDA programs take; no driver, no tool and no package all mean: none.

    Args:
        run: Runs ``nvidia-smi``, which lists all GPUs in an order of its own.
        cuda: Asks the CUDA runtime.
    """
    told, asked = _ask_tool(run), cuda() or GpuFacts()
    wanted, listed = os.environ.get(VISIBLE), told.gpus
    is_clear = len(listed) < 2 and [gpu.name for gpu in asked.gpus] == [gpu.name for gpu in listed]
    if listed and (not is_clear if asked.gpus else "GPU-" in (wanted or "")):
        listed = _with_uuids(listed, run)
    gpus = tuple(_filled(gpu, _twins(gpu, asked.gpus, listed)) for gpu in asked.gpus) or _visible(listed, wanted)
    return replace(told, gpus=gpus, cuda=told.cuda or asked.cuda)


def _twins(gpu: Gpu, gpus: tuple[Gpu, ...], listed: tuple[Gpu, ...]) -> list[Gpu]:
    """What may be this GPU among those of ``nvidia-smi``: by UUID, by name where a UUID is not known."""
    if _uuid(gpu) and all(map(_uuid, listed)):
        return [other for other in listed if _uuid(other) == _uuid(gpu)]
    if len(gpus) == len(listed) == 1:
        return list(listed)
    return [other for other in listed if other.name == gpu.name]


def _filled(gpu: Gpu, twins: list[Gpu]) -> Gpu:
    """Add what only the tool knows; of several GPUs that may be meant, the least free memory can be planned with."""
    first = twins[0] if twins else gpu
    free = [twin.memory_free_mib for twin in twins if twin.memory_free_mib is not None]
    return Gpu(
        gpu.name,
        gpu.compute_capability or first.compute_capability,
        first.memory_total_mib or gpu.memory_total_mib,
        min(free, default=None),
    )


def _visible(listed: tuple[Gpu, ...], wanted: str | None) -> tuple[Gpu, ...]:
    """Choose and order as CUDA does, up to the first word that names no GPU; parts of GPUs (MIG) are not known."""
    plain = tuple(_filled(gpu, [gpu]) for gpu in listed)
    if wanted is None or "MIG-" in wanted:
        return plain
    chosen: dict[int, Gpu] = {}
    for word in wanted.split(","):
        index = _index(word.strip(), listed)
        if index is None:
            break
        chosen[index] = plain[index]
    return tuple(chosen.values())


def _index(word: str, listed: tuple[Gpu, ...]) -> int | None:
    if word.isdecimal():
        return int(word) if int(word) < len(listed) else None
    found = [index for index, gpu in enumerate(listed) if word.startswith("GPU-") and _uuid(gpu).startswith(word)]
    return found[0] if len(found) == 1 else None


def _with_uuids(listed: tuple[Gpu, ...], run: Run) -> tuple[Gpu, ...]:
    """Ask the tool for UUIDs, in the order it lists GPUs; a tool that does not tell all is not believed."""
    ran = run(["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"])
    lines = [line.strip() for line in ran.text.splitlines()] if ran and ran.status == 0 else []
    uuids = [line for line in lines if line.startswith("GPU-")]
    return tuple(map(_named, listed, uuids)) if len(uuids) == len(listed) else listed


def _named(gpu: Gpu, uuid: str) -> NamedGpu:
    return NamedGpu(gpu.name, gpu.compute_capability, gpu.memory_total_mib, gpu.memory_free_mib, uuid)


def _uuid(gpu: Gpu) -> str:
    return gpu.uuid if isinstance(gpu, NamedGpu) else ""


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
