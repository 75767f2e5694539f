# ruff: noqa: N802 - the names are NVML's
"""A stand-in for ``libnvidia-ml.so.1``: GPUs whose readings a test sets."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

NOT_SUPPORTED = 3


@dataclass
class FakeGpu:
    """A GPU; a reading that is None is not supported."""

    name: str = "NVIDIA RTX A4000"
    energy_mj: int | None = 0
    temperature_c: int | None = 50
    sm_mhz: int = 1500
    memory_mhz: int = 7000
    reasons: int = 0
    limit_mw: int = 140_000


class FakeNvml:
    """Keeps to the calling convention of the C library, pointers included."""

    def __init__(self, *gpus: FakeGpu, init_code: int = 0) -> None:
        self.gpus, self._init_code = gpus, init_code

    def load(self, name: str) -> FakeNvml:
        assert name == "libnvidia-ml.so.1"
        return self

    def nvmlInit_v2(self) -> int:
        return self._init_code

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:
        return give(count, len(self.gpus))

    def nvmlDeviceGetHandleByIndex_v2(self, index: int, handle: Any) -> int:
        return give(handle, index + 1)

    def nvmlDeviceGetName(self, handle: Any, text: Any, length: int) -> int:
        text.value = self._gpu(handle).name.encode()[: length - 1]
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Any, value: Any) -> int:
        return give(value, self._gpu(handle).energy_mj)

    def nvmlDeviceGetTemperature(self, handle: Any, sensor: int, value: Any) -> int:
        assert sensor == 0
        return give(value, self._gpu(handle).temperature_c)

    def nvmlDeviceGetClockInfo(self, handle: Any, kind: int, value: Any) -> int:
        gpu = self._gpu(handle)
        return give(value, {1: gpu.sm_mhz, 2: gpu.memory_mhz}[kind])

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: Any, value: Any) -> int:
        return give(value, self._gpu(handle).reasons)

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: Any, value: Any) -> int:
        return give(value, self._gpu(handle).limit_mw)

    def _gpu(self, handle: ctypes.c_void_p) -> FakeGpu:
        assert handle.value is not None
        return self.gpus[handle.value - 1]


def give(pointer: Any, value: int | None) -> int:
    """Write through ``byref(...)``; gives the code of the call."""
    if value is None:
        return NOT_SUPPORTED
    pointer._obj.value = value
    return 0


def no_driver(name: str) -> Any:
    raise OSError(f"{name}: cannot open shared object file")
