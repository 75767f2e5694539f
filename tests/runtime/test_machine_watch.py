from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from deblurrt.runtime.machine_watch import MachineWatch
from deblurrt.runtime.thermal import read_thermal, zone_temperatures

from .fake_nvml import FakeGpu, FakeNvml, no_driver
from .test_energy import Clock, write, write_module, write_rapl

ZONE = "sys/class/thermal/thermal_zone{}"
CPU = "sys/devices/system/cpu/cpu{}"
SW_POWER_CAP, HW_THERMAL, GPU_IDLE = 0x4, 0x40, 0x1


def watch_of(root: Path, clock: Clock, *gpus: FakeGpu) -> MachineWatch:
    return MachineWatch(root, FakeNvml(*gpus).load if gpus else no_driver, clock)


def thermal_of(watch: MachineWatch) -> dict[str, Any]:
    thermal = watch.to_dict(1)["thermal"]
    assert isinstance(thermal, dict)
    return thermal


def warm(root: Path, *temperatures_c: float) -> None:
    for index, temperature_c in enumerate(temperatures_c):
        write(
            root,
            {f"{ZONE.format(index)}/type": f"zone-{index}", f"{ZONE.format(index)}/temp": round(temperature_c * 1000)},
        )


@pytest.mark.fault("P1", "thermal zones made up, warm in between", "the warmest of the whole run")
def test_warmest_zone_of_the_whole_run_is_kept(tmp_path: Path) -> None:
    clock = Clock()
    warm(tmp_path, 40, 45)
    watch = watch_of(tmp_path, clock)
    for temperatures_c in ((81.5, 46), (60, 50)):
        clock.now_s += 1
        warm(tmp_path, *temperatures_c)
        watch.sample()
    watch.finish()
    thermal = thermal_of(watch)
    assert (thermal["temperature_max_c"], thermal["zone"]) == (81.5, "zone-0")
    assert (thermal["start"]["temperature_c"], thermal["start"]["zone"]) == (45, "zone-1")
    assert (thermal["end"]["temperature_c"], thermal["end"]["zone"]) == (60, "zone-0")
    assert "temperature" not in thermal["unavailable"]


def test_zone_that_sleeps_is_left_out_and_frost_is_not(tmp_path: Path) -> None:
    write(tmp_path, {f"{ZONE.format(0)}/temp": "not now", f"{ZONE.format(1)}/temp": "-5000"})
    assert zone_temperatures(tmp_path) == {"thermal_zone1": -5.0}


def test_clocks_and_mode_of_a_jetson(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "var/lib/nvpmodel/status": "pmode:0002",
            "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=2 NAME=MODE_30W >",
            f"{CPU.format(0)}/cpufreq/scaling_cur_freq": 729600,
            f"{CPU.format(1)}/cpufreq/scaling_cur_freq": 2188800,
            f"{CPU.format(0)}/cpufreq/scaling_governor": "schedutil",
            "sys/class/devfreq/17000000.gpu/cur_freq": 1300500000,
            "sys/class/devfreq/15480000.nvdec/cur_freq": 793600000,
        },
    )
    state = read_thermal(tmp_path)
    assert state.clocks_mhz == {"cpu": 2188.8, "gpu": 1300.5}
    assert state.power_mode == {"nvpmodel": "MODE_30W", "cpu governor": "schedutil"}


@pytest.mark.fault("P1", "clocks held back during a run (NVML, counters)", "named and counted")
def test_throttling_during_the_run_is_counted_and_named(tmp_path: Path) -> None:
    places = [f"{CPU.format(index)}/thermal_throttle/core_throttle_count" for index in (0, 1)]
    write(tmp_path, dict.fromkeys(places, 5))
    clock, gpu = Clock(), FakeGpu(reasons=GPU_IDLE)
    watch = watch_of(tmp_path, clock, gpu)
    write(tmp_path, {places[1]: 8})
    gpu.reasons, clock.now_s = SW_POWER_CAP | HW_THERMAL, 1.0
    watch.sample()
    gpu.reasons = 0
    watch.finish()
    thermal = thermal_of(watch)
    assert thermal["throttle_events"] == {"core_throttle_count": 3}
    name = "GPU 0 NVIDIA RTX A4000"
    assert thermal["throttled"] == [f"{name}: hardware thermal slowdown", f"{name}: software power cap"]
    assert (thermal["start"]["throttled"], thermal["end"]["throttled"]) == ([], [])


def test_graphics_board_tells_temperature_clocks_and_limit(tmp_path: Path) -> None:
    state = read_thermal(tmp_path, watch_of(tmp_path, Clock(), FakeGpu()).gpus)
    name = "GPU 0 NVIDIA RTX A4000"
    assert state.temperatures_c == {name: 50}
    assert state.clocks_mhz == {f"{name} SM": 1500, f"{name} memory": 7000}
    assert state.power_mode == {f"{name} power limit": "140 W"}


def test_reading_that_a_driver_lacks_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(FakeNvml, "nvmlDeviceGetClockInfo")
    state = read_thermal(tmp_path, watch_of(tmp_path, Clock(), FakeGpu(temperature_c=None)).gpus)
    assert (state.temperatures_c, state.clocks_mhz, state.throttled) == ({}, {}, [])
    assert state.power_mode == {"GPU 0 NVIDIA RTX A4000 power limit": "140 W"}


@pytest.mark.fault("P1", "no sensor, no driver", "nothing is 0, the reason is said")
def test_what_cannot_be_read_is_none_with_a_reason_and_never_zero(tmp_path: Path) -> None:
    watch = watch_of(tmp_path, Clock())
    watch.finish()
    thermal = thermal_of(watch)
    nothing = dict.fromkeys(("temperature_c", "zone", "clocks_mhz", "throttled", "power_mode"))
    assert thermal["start"] == thermal["end"] == nothing
    assert set(thermal["unavailable"]) == {"temperature", "clocks", "throttling", "power mode"}
    energy = watch.to_dict(1)["energy_j_per_frame"]
    assert isinstance(energy, dict)
    assert "no NVIDIA driver" in energy["unavailable"]["NVML"]


def test_energy_is_read_often_and_temperatures_rarely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rapl(tmp_path, 0)
    clock = Clock()
    watch = watch_of(tmp_path, clock)
    reads: list[str] = []
    monkeypatch.setattr(watch.energy, "sample", lambda: reads.append("energy"))
    monkeypatch.setattr(watch, "_read_thermal", lambda: reads.append("thermal"))
    for _ in range(200):
        clock.now_s += 1 / 64
        watch.sample()
    assert 20 < reads.count("energy") <= 200 / 64 / 0.1
    assert reads.count("thermal") == 3


def test_machine_at_rest_is_measured_before_and_subtracted(tmp_path: Path) -> None:
    write_module(tmp_path, {"VDD_IN": (5000, 1000)})
    watch = MachineWatch(tmp_path, no_driver)
    watch.measure_idle(0.05)
    watch.begin()
    write_module(tmp_path, {"VDD_IN": (5000, 3000)})
    for _ in range(3):
        time.sleep(0.02)
        watch.energy.sample()
    energy = watch.to_dict(10)["energy_j_per_frame"]
    assert isinstance(energy, dict)
    rail = energy["rails"]["INA3221 VDD_IN"]
    assert rail["idle_w"] == pytest.approx(5)
    # the first of the three steps rises from 5 W to 15 W
    assert 10 < rail["mean_w"] < 15
    assert energy["net"] == pytest.approx(energy["gross"] * (1 - 5 / rail["mean_w"]), abs=1e-4)
