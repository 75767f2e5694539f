"""What Linux tells of its processor, of the share a container has of it, and of real-time limits."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

#: instruction sets that decide how fast a network runs on the processor, as Linux names them
CPU_FEATURES = (
    *("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_bf16", "amx_int8"),
    *("asimd", "asimdhp", "asimddp", "bf16", "i8mm", "sve", "sve2"),
)
#: bit of Linux's capability to set priorities
CAP_SYS_NICE = 23
CGROUP = "sys/fs/cgroup"


@dataclass(frozen=True, slots=True)
class Cpu:
    """The processor.

    Attributes:
        model: Its name; empty: unknown.
        count: Processors the system has.
        usable: Of them, those this process may run on.
        quota: How many processors' time a container may use; None: no limit.
        features: Those of ``CPU_FEATURES`` it has.
    """

    model: str = ""
    count: int = 1
    usable: int = 1
    quota: float | None = None
    features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RealTime:
    """What this process may ask for.

    Attributes:
        priority: Highest priority of real-time threads the user's limit allows; 0: none, None: unknown.
        is_privileged: Whether the process may set any priority whatever that limit says.
    """

    priority: int | None = None
    is_privileged: bool = False


def read_cpu(root: Path) -> Cpu:
    """Read the processor from ``/proc`` and ``/sys`` under ``root``; Python's own count where they are missing."""
    info = fields_of(root / "proc/cpuinfo")
    count = len(info.get("processor", ())) or os.cpu_count() or 1
    allowed = fields_of(root / "proc/self/status").get("Cpus_allowed_list", [])
    flags = set(" ".join(info.get("flags", info.get("Features", []))[:1]).split())
    return Cpu(
        model=next(iter(info.get("model name", [])), ""),
        count=count,
        usable=_listed(allowed[0]) if allowed else count,
        quota=_quota(root),
        features=tuple(name for name in CPU_FEATURES if name in flags),
    )


def read_real_time(root: Path) -> RealTime:
    """Read the limits of this process from ``/proc`` under ``root``."""
    limit = re.search(r"^Max realtime priority\s+(\w+)", text_of(root / "proc/self/limits"), re.M)
    mask = fields_of(root / "proc/self/status").get("CapEff", ["0"])[0]
    priority = None
    if limit:
        priority = int(limit[1]) if limit[1].isdigit() else 99
    return RealTime(priority, bool(int(mask, 16) >> CAP_SYS_NICE & 1))


def fields_of(path: Path) -> dict[str, list[str]]:
    """Values of lines ``name: value``, in order, by name; empty where the file cannot be read."""
    found: dict[str, list[str]] = {}
    for line in text_of(path).splitlines():
        name, colon, value = line.partition(":")
        if colon:
            found.setdefault(name.strip(), []).append(value.strip())
    return found


def text_of(path: Path) -> str:
    """Text of a file, device tree strings without their closing zero; empty where it cannot be read."""
    try:
        return path.read_text(errors="replace").replace("\0", " ").strip()
    except OSError:
        return ""


def _listed(ranges: str) -> int:
    """How many processors ``0-3,8`` names."""
    total = 0
    for part in ranges.split(","):
        first, _, last = part.partition("-")
        total += int(last or first) - int(first) + 1
    return total


def _quota(root: Path) -> float | None:
    """Smallest limit of the control groups around this process, in processors."""
    groups = [line.split(":", 2) for line in text_of(root / "proc/self/cgroup").splitlines()]
    own = next((path for number, _, path in groups if number == "0"), "/").strip("/")
    folder = root / CGROUP
    places = [folder, *(folder.joinpath(*own.split("/")[:depth]) for depth in range(1, len(own.split("/")) + 1))]
    limits = [text_of(place / "cpu.max").split() for place in dict.fromkeys(places)]
    # version 1 of control groups has two files; -1 is no limit
    old = root / CGROUP / "cpu"
    limits.append([text_of(old / "cpu.cfs_quota_us"), text_of(old / "cpu.cfs_period_us")])
    found = [int(limit[0]) / int(limit[1]) for limit in limits if len(limit) == 2 and all(map(str.isdigit, limit))]
    return min(found, default=None)
