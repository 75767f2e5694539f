"""Latency of an engine, measured by trtexec, the tool that comes with TensorRT."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..core.errors import MachineError
from ..core.gpus import Run, run_command

#: where JetPack and NVIDIA's packages put it, which is on no PATH
PLACES = ("/usr/src/tensorrt/bin/trtexec", "/opt/tensorrt/bin/trtexec")
SUMMARY = re.compile(
    r"GPU Compute Time: min = (?P<least>[\d.]+) ms, max = (?P<most>[\d.]+) ms, mean = (?P<mean>[\d.]+) ms, "
    r"median = (?P<median>[\d.]+) ms(?:.*?percentile\(99%\) = (?P<p99>[\d.]+) ms)?"
)
THROUGHPUT = re.compile(r"Throughput: (?P<rate>[\d.]+) qps")


@dataclass(frozen=True, slots=True)
class GpuLatency:
    """What trtexec measured, milliseconds of computing on the GPU; copies are not in it.

    Attributes:
        median: Median.
        least: Quickest.
        most: Slowest.
        p99: 99th percentile; None: this version does not say.
        frames_per_second: Throughput.
    """

    median: float
    least: float
    most: float
    p99: float | None
    frames_per_second: float | None

    def to_dict(self) -> dict[str, float | None]:
        """Plain values for JSON."""
        return asdict(self)


def find_trtexec() -> Path | None:
    """Find the tool on the PATH or where NVIDIA's packages put it."""
    found = shutil.which("trtexec")
    places = [Path(found)] if found else [Path(place) for place in PLACES]
    return next((place for place in places if place.is_file()), None)


def command_of(trtexec: Path, engine: Path, shape: Sequence[int], plugins: Sequence[Path] = ()) -> list[str]:
    """The command that measures an engine on frames of one shape; copies are left out on every version."""
    dims = "x".join(map(str, shape))
    libraries = [f"--dynamicPlugins={path}" for path in plugins]
    return [
        str(trtexec), f"--loadEngine={engine}", f"--shapes=frames:{dims}", "--noDataTransfers", "--useCudaGraph",
        "--useSpinWait", "--warmUp=500", "--duration=10", *libraries,
    ]  # fmt: skip


def measure_engine(command: Sequence[str], run: Run = run_command) -> GpuLatency:
    """Run trtexec and read its summary.

    Raises:
        MachineError: It cannot be started, fails, or says nothing of its time; with its last line.
    """
    ran = run(command)
    if ran is None:
        raise MachineError(f"{command[0]} cannot be started or does not end; run it by hand: {' '.join(command)}")
    found = SUMMARY.search(ran.text)
    if ran.status != 0 or found is None:
        lines = [line.strip() for line in ran.text.splitlines() if line.strip()]
        reason = next((line for line in reversed(lines) if "[E]" in line), lines[-1] if lines else "it said nothing")
        raise MachineError(f"trtexec ended with {ran.status} ({reason[:200]}); run it by hand: {' '.join(command)}")
    rate = THROUGHPUT.search(ran.text)
    return GpuLatency(
        median=float(found["median"]),
        least=float(found["least"]),
        most=float(found["most"]),
        p99=float(found["p99"]) if found["p99"] else None,
        frames_per_second=float(rate["rate"]) if rate else None,
    )
