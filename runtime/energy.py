"""How much energy this machine uses: counters and power sensors of Jetson boards, NVIDIA GPUs and x86 processors."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from ..core.processor import text_of
from .nvml import NvmlGpu

#: the input of the whole module; where it is measured the other rails of a Jetson are parts of it
_WHOLE_MODULE = "VDD_IN"
#: rails of the module that are not connected
_NOT_CONNECTED = "NC"
_INA3221 = "ina3221"
_CHANNELS = range(1, 4)


class Rail(Protocol):
    """Something whose energy is measured.

    Attributes:
        name: Sensor and rail, for reports.
        joules: Energy since it was opened, up to the last sample.
    """

    name: str
    joules: float

    def sample(self, now_s: float) -> None:
        """Read the sensor; ``OSError`` or ``ValueError`` where it cannot be read."""


class RaplRail:
    """A domain of Intel's or AMD's processors, which counts microjoules and begins anew after a while.

    Args:
        folder: Its folder under ``/sys/class/powercap``.
        name: For reports.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.joules = 0.0
        self._place = folder / "energy_uj"
        self._range_uj = int((folder / "max_energy_range_uj").read_text())
        self._last_uj = int(self._place.read_text())

    def sample(self, now_s: float) -> None:
        del now_s
        value_uj = int(self._place.read_text())
        used_uj = value_uj - self._last_uj
        self.joules += (used_uj if used_uj >= 0 else used_uj + self._range_uj) / 1e6
        self._last_uj = value_uj


class NvmlRail:
    """A GPU board, whose driver counts millijoules."""

    def __init__(self, gpu: NvmlGpu) -> None:
        self.name = f"NVML {gpu.name}"
        self.joules = 0.0
        self._gpu = gpu
        self._last_mj = gpu.energy_mj()

    def sample(self, now_s: float) -> None:
        del now_s
        value_mj = self._gpu.energy_mj()
        if value_mj < self._last_mj:
            raise OSError("its counter went backwards, the driver was loaded anew")
        self.joules += (value_mj - self._last_mj) / 1e3
        self._last_mj = value_mj


class Ina3221Rail:
    """A rail of a Jetson module: voltage times current, summed over time by the trapezoidal rule.

    Args:
        folder: Of the sensor under ``/sys/class/hwmon``.
        channel: 1 to 3.
        name: For reports.
    """

    def __init__(self, folder: Path, channel: int, name: str) -> None:
        self.name = name
        self.joules = 0.0
        self._millivolts, self._milliamperes = folder / f"in{channel}_input", folder / f"curr{channel}_input"
        self._last: tuple[float, float] | None = None
        self._power_w()

    def sample(self, now_s: float) -> None:
        power_w = self._power_w()
        if self._last is not None:
            last_s, last_w = self._last
            self.joules += (now_s - last_s) * (power_w + last_w) / 2
        self._last = now_s, power_w

    def _power_w(self) -> float:
        return int(self._millivolts.read_text()) * int(self._milliamperes.read_text()) / 1e6


class EnergyMeter:
    """Sums up what rails use; one that cannot be read any more is left out, with the reason.

    Args:
        rails: What is measured; parts of each other must not be among them.
        unavailable: Sensor -> why it gives nothing.
        clock: Gives seconds.
    """

    def __init__(
        self, rails: Sequence[Rail], unavailable: dict[str, str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rails, self.unavailable, self._clock = list(rails), unavailable, clock
        self._idle_w: dict[str, float] = {}
        self.begin()

    @property
    def has_rails(self) -> bool:
        """Whether anything is measured."""
        return bool(self._rails)

    def begin(self) -> None:
        """Count from now on."""
        self.sample()
        self._began_s = self._last_s
        self._before_j = {rail.name: rail.joules for rail in self._rails}

    def sample(self) -> None:
        """Read all sensors; a few times a second, at least once a minute."""
        self._last_s = self._clock()
        for rail in list(self._rails):
            try:
                rail.sample(self._last_s)
            except (OSError, ValueError) as error:
                self._rails.remove(rail)
                self.unavailable[rail.name] = reason_of(error)

    def take_as_idle(self) -> None:
        """Take what was used until now as the machine at rest, and begin anew."""
        self.sample()
        seconds = self._last_s - self._began_s
        self._idle_w = {rail.name: self._joules(rail) / seconds for rail in self._rails if seconds > 0}
        self.begin()

    def to_dict(self, frames: int) -> dict[str, object]:
        """What ``frames`` frames took, ``energy_j_per_frame`` of the summary; None where nothing is measured."""
        seconds = self._last_s - self._began_s
        rails: dict[str, dict[str, float | None]] = {}
        for rail in self._rails:
            gross_j, idle_w = self._joules(rail), self._idle_w.get(rail.name)
            rails[rail.name] = {
                "gross": _per_frame(gross_j, frames),
                "net": None if idle_w is None else _per_frame(gross_j - idle_w * seconds, frames),
                "joules": round(gross_j, 3),
                "mean_w": round(gross_j / seconds, 3) if seconds > 0 else None,
                "idle_w": None if idle_w is None else round(idle_w, 3),
            }
        values = list(rails.values())
        return {
            "gross": _sum([value["gross"] for value in values]),
            "net": _sum([value["net"] for value in values]),
            "rails": rails,
            "unavailable": dict(self.unavailable),
        }

    def _joules(self, rail: Rail) -> float:
        return rail.joules - self._before_j[rail.name]


def find_rails(root: Path, gpus: Sequence[NvmlGpu]) -> tuple[list[Rail], dict[str, str]]:
    """Find what can be measured here.

    Args:
        root: Where ``/sys`` is.
        gpus: NVIDIA GPUs of the driver.

    Returns:
        The rails, none part of another, and why other sensors give nothing.
    """
    rails: list[Rail] = []
    unavailable: dict[str, str] = {}
    found = {**_module_rails(root), **_processor_rails(root)}
    found |= {f"NVML {gpu.name}": partial(NvmlRail, gpu) for gpu in gpus}
    for name, open_rail in found.items():
        try:
            rails.append(open_rail())
        except (OSError, ValueError) as error:
            unavailable[name] = reason_of(error)
    for sensor, folder in (("INA3221", "sys/class/hwmon"), ("RAPL", "sys/class/powercap")):
        if not any(name.startswith(sensor) for name in found):
            unavailable[sensor] = f"no such sensor in /{folder}"
    return rails, unavailable


def reason_of(error: Exception) -> str:
    """Say in one line why a sensor could not be read."""
    if isinstance(error, PermissionError):
        return f"no permission to read {error.filename}"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}"
    return str(error)


def _module_rails(root: Path) -> dict[str, Callable[[], Rail]]:
    """What opens the rails of a Jetson module, by name; only its input where that is measured."""
    found: dict[str, Callable[[], Rail]] = {}
    for folder in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        for channel in _CHANNELS if text_of(folder / "name") == _INA3221 else ():
            label = text_of(folder / f"in{channel}_label")
            if label and label != _NOT_CONNECTED:
                name = f"INA3221 {label}"
                found[name] = partial(Ina3221Rail, folder, channel, name)
    whole = f"INA3221 {_WHOLE_MODULE}"
    return {whole: found[whole]} if whole in found else found


def _processor_rails(root: Path) -> dict[str, Callable[[], Rail]]:
    """What opens the packages of the processor, and its memory, which is not part of them."""
    found: dict[str, Callable[[], Rail]] = {}
    for folder in sorted((root / "sys/class/powercap").glob("intel-rapl:*")):
        domain = text_of(folder / "name")
        if domain.startswith("package") or domain == "dram":
            # a machine of two sockets has two domains called dram
            name = f"RAPL {domain}" if domain != "dram" else f"RAPL dram of {folder.name}"
            found[name] = partial(RaplRail, folder, name)
    return found


def _per_frame(joules: float, frames: int) -> float | None:
    return round(joules / frames, 5) if frames else None


def _sum(values: Sequence[float | None]) -> float | None:
    """None where any is missing, or there is none."""
    known = [value for value in values if value is not None]
    return round(sum(known), 5) if values and len(known) == len(values) else None
