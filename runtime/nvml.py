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
        _call(library, "nvmlDeviceGetHandleByIndex_v2", index, ctypes.byref(self._handle))
        text = ctypes.create_string_buffer(_NAME_BYTES)
        _call(library, "nvmlDeviceGetName", self._handle, text, _NAME_BYTES)
        self.name = f"GPU {index} {text.value.decode(errors='replace')}"

    def energy_mj(self) -> int:
        """Energy since the driver was loaded, millijoules, of the whole board."""
        return self._read("nvmlDeviceGetTotalEnergyConsumption", ctypes.c_ulonglong())

    def temperature_c(self) -> float:
        """Of the chip, degrees Celsius."""
        return float(self._read("nvmlDeviceGetTemperature", ctypes.c_uint(), _TEMPERATURE_GPU))

    def clocks_mhz(self) -> dict[str, float]:
        """Clocks at this moment by kind."""
        read = "nvmlDeviceGetClockInfo"
        return {kind: float(self._read(read, ctypes.c_uint(), number)) for kind, number in _CLOCKS.items()}

    def throttle_reasons(self) -> list[str]:
        """Why clocks are held back at this moment; empty where they are not."""
        bits = self._read("nvmlDeviceGetCurrentClocksThrottleReasons", ctypes.c_ulonglong())
        return [reason for bit, reason in _REASONS.items() if bits & bit]

    def power_limit_w(self) -> float:
        """What the board may draw, watts."""
        return self._read("nvmlDeviceGetEnforcedPowerLimit", ctypes.c_uint()) / 1000

    def _read(self, function: str, value: ctypes.c_uint | ctypes.c_ulonglong, *arguments: int) -> int:
        _call(self._library, function, self._handle, *arguments, ctypes.byref(value))
        return value.value


def open_nvml(load: Load = ctypes.CDLL) -> list[NvmlGpu]:
    """Find the GPUs; the driver stays opened until the process ends.

    Raises:
        OSError: There is no driver, or it does not answer; with the reason.
    """
    try:
        library = load(LIBRARY)
    except OSError as error:
        raise OSError(f"no NVIDIA driver ({LIBRARY} does not load)") from error
    _call(library, "nvmlInit_v2")
    count = ctypes.c_uint()
    _call(library, "nvmlDeviceGetCount_v2", ctypes.byref(count))
    return [NvmlGpu(library, index) for index in range(count.value)]


def _call(library: Any, function: str, *arguments: Any) -> None:
    """Call a function; ``OSError`` with the reason where it is missing or fails."""
    try:
        code = getattr(library, function)(*arguments)
    except AttributeError as error:
        raise OSError(f"{function}: not in this driver") from error
    if code != _SUCCESS:
        reasons = {_NOT_SUPPORTED: "not supported by this GPU", _NO_PERMISSION: "no permission"}
        raise OSError(f"{function}: {reasons.get(code, f'NVML error {code}')}")
