"""How warm this machine is, how fast its clocks run, and what holds them back."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ..core.processor import text_of
from .nvml import NvmlGpu

#: chosen power mode of a Jetson, and what its numbers are called
_POWER_MODE, _POWER_MODES = "var/lib/nvpmodel/status", "etc/nvpmodel.conf"
#: names of the GPU among the clocks of a Jetson (``/sys/class/devfreq``)
_JETSON_GPU = re.compile(r"gpu|gv11b|ga10b|gb10b")
#: counters of how often the processor, or a Jetson's power supply, held clocks back
_THROTTLE_COUNTERS = (
    "sys/devices/system/cpu/cpu*/thermal_throttle/core_throttle_count",
    "sys/devices/system/cpu/cpu*/thermal_throttle/package_throttle_count",
    "sys/class/hwmon/hwmon*/oc*_event_cnt",
)


@dataclass(frozen=True, slots=True)
class ThermalState:
    """A machine at one moment; what cannot be read is missing, never zero.

    Attributes:
        temperatures_c: Degrees Celsius by zone.
        clocks_mhz: Clocks by name.
        throttled: Why GPUs hold their clocks back at this moment; None where nobody says.
        throttle_counts: How often clocks were held back since the machine was started, by counter.
        power_mode: Chosen mode by what it is a mode of.
    """

    temperatures_c: dict[str, float] = field(default_factory=dict)
    clocks_mhz: dict[str, float] = field(default_factory=dict)
    throttled: list[str] | None = None
    throttle_counts: dict[str, int] = field(default_factory=dict)
    power_mode: dict[str, str] = field(default_factory=dict)

    @property
    def warmest(self) -> tuple[str, float] | None:
        """The warmest zone; None where none can be read."""
        return max(self.temperatures_c.items(), key=lambda zone: zone[1], default=None)

    def to_dict(self) -> dict[str, object]:
        """Plain values; None for what cannot be read."""
        return {
            "temperature_c": None if self.warmest is None else self.warmest[1],
            "zone": None if self.warmest is None else self.warmest[0],
            "clocks_mhz": self.clocks_mhz or None,
            "throttled": self.throttled,
            "power_mode": self.power_mode or None,
        }


def read_thermal(root: Path, gpus: Sequence[NvmlGpu] = ()) -> ThermalState:
    """Read the machine; takes a millisecond or two.

    Args:
        root: Where ``/sys``, ``/var`` and ``/etc`` are.
        gpus: NVIDIA GPUs of the driver.
    """
    temperatures, clocks, mode = zone_temperatures(root), _clocks(root), _power_mode(root)
    throttled: list[str] | None = None
    for gpu in gpus:
        with suppress(OSError):  # what a GPU does not tell is left out
            temperatures[gpu.name] = gpu.temperature_c()
        with suppress(OSError):
            clocks |= {f"{gpu.name} {kind}": clock_mhz for kind, clock_mhz in gpu.clocks_mhz().items()}
        with suppress(OSError):
            reasons = [f"{gpu.name}: {reason}" for reason in gpu.throttle_reasons()]
            throttled = [*(throttled or []), *reasons]
        with suppress(OSError):
            mode[f"{gpu.name} power limit"] = f"{gpu.power_limit_w():.0f} W"
    return ThermalState(temperatures, clocks, throttled, _throttle_counts(root), mode)


def zone_temperatures(root: Path) -> dict[str, float]:
    """Degrees Celsius by kind of zone, of the warmest one of each kind."""
    found: dict[str, float] = {}
    for folder in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        text = text_of(folder / "temp")  # a zone that sleeps cannot be read
        if re.fullmatch(r"-?\d+", text):
            name = text_of(folder / "type") or folder.name
            found[name] = max(int(text) / 1000, found.get(name, -273.0))
    return found


def _clocks(root: Path) -> dict[str, float]:
    """The fastest core's clock and that of a Jetson's GPU."""
    clocks: dict[str, float] = {}
    cores = [text_of(place) for place in (root / "sys/devices/system/cpu").glob("cpu*/cpufreq/scaling_cur_freq")]
    fastest_khz = max((int(text) for text in cores if text.isdecimal()), default=None)
    if fastest_khz is not None:
        clocks["cpu"] = fastest_khz / 1000
    for folder in sorted((root / "sys/class/devfreq").glob("*")):
        text = text_of(folder / "cur_freq")
        if _JETSON_GPU.search(folder.name) and text.isdecimal():
            clocks["gpu"] = int(text) / 1e6
    return clocks


def _throttle_counts(root: Path) -> dict[str, int]:
    """Counters, summed over cores of the same kind."""
    found: dict[str, int] = {}
    for pattern in _THROTTLE_COUNTERS:
        for place in root.glob(pattern):
            text = text_of(place)
            if text.isdecimal():
                found[place.name] = found.get(place.name, 0) + int(text)
    return found


def _power_mode(root: Path) -> dict[str, str]:
    """A Jetson's mode, and how the processor's clock is chosen."""
    mode: dict[str, str] = {}
    chosen = re.search(r"pmode:0*(\d+)", text_of(root / _POWER_MODE))
    if chosen:
        pattern = rf"POWER_MODEL\s+ID={chosen[1]}\s+NAME=(\S+)"
        named = re.search(pattern, text_of(root / _POWER_MODES))
        mode["nvpmodel"] = named[1] if named else f"mode {chosen[1]}"
    governor = text_of(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    if governor:
        mode["cpu governor"] = governor
    return mode
