"""What a viewer is told of the machine: what it is, how warm and how busy it is."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ..core.jetson import read_jetson
from ..core.processor import fields_of, read_cpu
from .thermal import zone_temperatures

UNAVAILABLE = "unavailable"

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
        return UNAVAILABLE
    return f"{minute} of {os.cpu_count() or 1}"


def _memory(root: Path, name: str) -> str:
    values = fields_of(root / "proc/meminfo").get(name, [])
    amount = values[0].split()[0] if values and values[0].split() else ""
    return f"{int(amount) / 1024 / 1024:.1f} GiB" if amount.isdecimal() else UNAVAILABLE


def _temperature(root: Path) -> str:
    """Of the warmest zone."""
    temperatures = zone_temperatures(root)
    return f"{max(temperatures.values()):.0f} °C" if temperatures else UNAVAILABLE


def facts_of_run(summary: Mapping[str, Any]) -> dict[str, str]:
    """What a run's account says of the machine, for people.

    Args:
        summary: The account, or part of it.
    """
    thermal, energy = summary.get("thermal", {}), summary.get("energy_j_per_frame", {})
    now = thermal.get("end", {})
    clocks = ", ".join(f"{name} {clock_mhz:.0f} MHz" for name, clock_mhz in (now.get("clocks_mhz") or {}).items())
    modes = ", ".join(f"{name} {mode}" for name, mode in (now.get("power_mode") or {}).items())
    warmest = thermal.get("temperature_max_c")
    return {
        "warmest in this run": UNAVAILABLE if warmest is None else f"{warmest:.0f} °C ({thermal['zone']})",
        "clocks": clocks or UNAVAILABLE,
        "clocks held back": _throttling(thermal),
        "power mode": modes or UNAVAILABLE,
        "energy per frame": energy_text(energy),
        "scheduling": summary.get("scheduling", {}).get("mode", UNAVAILABLE),
    }


def energy_text(energy: Mapping[str, Any]) -> str:
    """Say what a frame took and which rails were measured, or why nothing was."""
    if energy.get("gross") is None:
        reasons = "; ".join(f"{sensor}: {reason}" for sensor, reason in energy.get("unavailable", {}).items())
        return f"{UNAVAILABLE} ({reasons})" if reasons and not energy.get("rails") else UNAVAILABLE
    net = "" if energy["net"] is None else f", {energy['net']:.3g} J above the machine at rest"
    return f"{energy['gross']:.3g} J{net} ({', '.join(energy['rails'])})"


def _throttling(thermal: Mapping[str, Any]) -> str:
    """Reasons of the driver and counters of the system; a machine that tells neither is no cool one."""
    reasons, events = thermal.get("throttled"), thermal.get("throttle_events")
    if reasons is None and events is None:
        return UNAVAILABLE
    told = [*(reasons or ()), *(f"{name} {count}" for name, count in (events or {}).items() if count)]
    return ", ".join(told) or "no"
