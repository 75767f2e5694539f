"""What a viewer is told of the machine: what it is, how warm and how busy it is."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

from ..core.jetson import read_jetson
from ..core.processor import fields_of, read_cpu

ROOT = Path("/")


def device_facts(root: Path = ROOT) -> dict[str, str]:
    """Facts by name, for people; what cannot be read is ``unavailable``, never a zero. Cheap enough for every second.

    Args:
        root: Where ``/proc`` and ``/sys`` are.
    """
    return {
        **fixed_facts(root),
        "load": _load(root),
        "free memory": _memory(root, "MemAvailable"),
        "temperature": _temperature(root),
    }


@cache
def fixed_facts(root: Path = ROOT) -> dict[str, str]:
    """The facts that stay."""
    cpu, jetson = read_cpu(root), read_jetson(root)
    board = {} if jetson is None else {"board": jetson.model}
    return {
        **board,
        "processor": f"{cpu.model or platform.machine()}, {cpu.usable} cores",
        "memory": _memory(root, "MemTotal"),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
    }


def _load(root: Path) -> str:
    try:
        minute = (root / "proc/loadavg").read_text().split()[0]
    except (OSError, IndexError):
        return "unavailable"
    return f"{minute} of {os.cpu_count() or 1}"


def _memory(root: Path, name: str) -> str:
    values = fields_of(root / "proc/meminfo").get(name, [])
    amount = values[0].split()[0] if values and values[0].split() else ""
    return f"{int(amount) / 1024 / 1024:.1f} GiB" if amount.isdecimal() else "unavailable"


def _temperature(root: Path) -> str:
    """Of the warmest zone, degrees Celsius."""
    degrees = []
    for place in (root / "sys/class/thermal").glob("thermal_zone*/temp"):
        try:
            degrees.append(int(place.read_text()) / 1000)
        except (OSError, ValueError):  # a zone that sleeps cannot be read
            continue
    return f"{max(degrees):.0f} °C" if degrees else "unavailable"
