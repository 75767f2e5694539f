"""What NVIDIA's driver measures of its GPUs: energy, clocks, temperature and why clocks are held back (NVML)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

LIBRARY = "libnvidia-ml.so.1"

_SUCCESS, _NOT_SUPPORTED, _NO_PERMISSION = 0, 3, 4
_NAME_BYTES = 96
_TEMPERATURE_GPU = 0
#: kinds of clocks of ``nvmlDeviceGetClockInfo``
_CLOCKS = {"SM": 1, "memory": 2}
#: bit -> why clocks are held back, as ``nvmlClocksEventReasons`` has them; an idle GPU is not held back
_REASONS = {
    0x2: "applications clocks setting",
    0x4: "software power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
    0x100: "display clocks setting",
}

#: loads a shared library
Load = Callable[[str], Any]


class NvmlGpu:
    """One GPU; every reading raises ``OSError`` with the reason where the driver does not give it.

    Attributes:
        name: For reports, ``GPU 0 NVIDIA RTX A4000``.
    """

    def __init__(self, library: Any, index: int) -> None:
        self._library = library
        self._handle = ctypes.c_void_p()
        self._check(library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(self._handle)), f"GPU {index}")
        text = ctypes.create_string_buffer(_NAME_BYTES)
        self._check(library.nvmlDeviceGetName(self._handle, text, _NAME_BYTES), f"name of GPU {index}")
        self.name = f"GPU {index} {text.value.decode(errors='replace')}"

    def energy_mj(self) -> int:
        """Energy since the driver was loaded, millijoules, of the whole board."""
        value = ctypes.c_ulonglong()
        self._check(self._library.nvmlDeviceGetTotalEnergyConsumption(self._handle, ctypes.byref(value)), "energy")
        return value.value

    def temperature_c(self) -> float:
        """Of the chip, degrees Celsius."""
        value = ctypes.c_uint()
        code = self._library.nvmlDeviceGetTemperature(self._handle, _TEMPERATURE_GPU, ctypes.byref(value))
        self._check(code, "temperature")
        return float(value.value)

    def clocks_mhz(self) -> dict[str, float]:
        """Clocks at this moment by kind."""
        clocks = {}
        for kind, number in _CLOCKS.items():
            value = ctypes.c_uint()
            self._check(self._library.nvmlDeviceGetClockInfo(self._handle, number, ctypes.byref(value)), "clocks")
            clocks[kind] = float(value.value)
        return clocks

    def throttle_reasons(self) -> list[str]:
        """Why clocks are held back at this moment; empty where they are not."""
        value = ctypes.c_ulonglong()
        code = self._library.nvmlDeviceGetCurrentClocksThrottleReasons(self._handle, ctypes.byref(value))
        self._check(code, "throttle reasons")
        return [reason for bit, reason in _REASONS.items() if value.value & bit]

    def power_limit_w(self) -> float:
        """What the board may draw, watts."""
        value = ctypes.c_uint()
        self._check(self._library.nvmlDeviceGetEnforcedPowerLimit(self._handle, ctypes.byref(value)), "power limit")
        return value.value / 1000

    def _check(self, code: int, what: str) -> None:
        reasons = {_NOT_SUPPORTED: "not supported by this GPU", _NO_PERMISSION: "no permission"}
        if code != _SUCCESS:
            raise OSError(f"{what}: {reasons.get(code, f'NVML error {code}')}")


def open_nvml(load: Load = ctypes.CDLL) -> list[NvmlGpu]:
    """Find the GPUs; the driver stays opened until the process ends.

    Raises:
        OSError: There is no driver, or it does not answer; with the reason.
    """
    try:
        library = load(LIBRARY)
    except OSError as error:
        raise OSError(f"no NVIDIA driver ({LIBRARY} does not load)") from error
    code = library.nvmlInit_v2()
    if code != _SUCCESS:
        raise OSError(f"NVML does not start (error {code})")
    count = ctypes.c_uint()
    code = library.nvmlDeviceGetCount_v2(ctypes.byref(count))
    if code != _SUCCESS:
        raise OSError(f"NVML does not count GPUs (error {code})")
    return [NvmlGpu(library, index) for index in range(count.value)]
