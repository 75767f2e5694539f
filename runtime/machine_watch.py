"""What a run does to the machine: energy, temperature and clocks from its beginning to its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from ctypes import CDLL
from pathlib import Path

from .energy import EnergyMeter, find_rails
from .nvml import Load, NvmlGpu, open_nvml
from .thermal import ThermalState, read_thermal

#: how often sensors are read at most: of energy, and of everything else
ENERGY_S, THERMAL_S = 0.1, 1.0


class MachineWatch:
    """Reads sensors while a run goes on.

    Args:
        root: Where ``/proc``, ``/sys``, ``/var`` and ``/etc`` are.
        load: Loads NVIDIA's library.
        clock: Gives seconds.

    Attributes:
        gpus: NVIDIA GPUs of the driver.
    """

    def __init__(self, root: Path = Path("/"), load: Load = CDLL, clock: Callable[[], float] = time.monotonic) -> None:
        self._root, self._clock = root, clock
        self.gpus: list[NvmlGpu] = []
        trouble = {}
        try:
            self.gpus = open_nvml(load)
        except OSError as error:
            trouble = {"NVML": str(error)}
        rails, unavailable = find_rails(root, self.gpus)
        self.energy = EnergyMeter(rails, unavailable | trouble, clock)
        self.begin()

    def begin(self) -> None:
        """Count from now on."""
        self.energy.begin()
        self._start = self._now = read_thermal(self._root, self.gpus)
        self._warmest = self._start.warmest
        self._throttled = set(self._start.throttled or ())
        self._energy_s = self._thermal_s = self._clock()

    def measure_idle(self, seconds: float) -> None:
        """Wait, and take what the machine uses meanwhile as its use at rest."""
        self.energy.begin()
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            time.sleep(min(left_s, ENERGY_S))
            self.energy.sample()
        self.energy.take_as_idle()

    def sample(self) -> None:
        """Read what is due; call a few times a second."""
        now_s = self._clock()
        if now_s - self._energy_s >= ENERGY_S:
            self._energy_s = now_s
            self.energy.sample()
        if now_s - self._thermal_s >= THERMAL_S:
            self._thermal_s = now_s
            self._read_thermal()

    def finish(self) -> None:
        """Read everything for the last time."""
        self.energy.sample()
        self._read_thermal()

    def to_dict(self, frames: int) -> dict[str, object]:
        """``energy_j_per_frame`` over so many emitted frames and ``thermal`` of the summary."""
        return {"energy_j_per_frame": self.energy.to_dict(frames), "thermal": self._thermal()}

    def _read_thermal(self) -> None:
        self._now = read_thermal(self._root, self.gpus)
        zones = [zone for zone in (self._warmest, self._now.warmest) if zone is not None]
        self._warmest = max(zones, key=lambda zone: zone[1], default=None)
        self._throttled |= set(self._now.throttled or ())

    def _thermal(self) -> dict[str, object]:
        counts = {
            name: count - self._start.throttle_counts.get(name, 0) for name, count in self._now.throttle_counts.items()
        }
        return {
            "temperature_max_c": None if self._warmest is None else self._warmest[1],
            "zone": None if self._warmest is None else self._warmest[0],
            "throttled": sorted(self._throttled) if self._now.throttled is not None else None,
            "throttle_events": counts or None,
            "start": self._start.to_dict(),
            "end": self._now.to_dict(),
            "unavailable": _missing(self._now),
        }


def _missing(state: ThermalState) -> dict[str, str]:
    """What the machine does not tell, and where it was looked for."""
    places = {
        "temperature": (state.temperatures_c, "no thermal zone in /sys/class/thermal, no NVIDIA driver"),
        "clocks": (state.clocks_mhz, "no cpufreq or devfreq in /sys, no NVIDIA driver"),
        "throttling": (
            state.throttled is not None or state.throttle_counts,
            "no counter in /sys, no NVIDIA driver",
        ),
        "power mode": (state.power_mode, "no nvpmodel, no cpufreq governor, no NVIDIA driver"),
    }
    return {name: reason for name, (found, reason) in places.items() if not found}
