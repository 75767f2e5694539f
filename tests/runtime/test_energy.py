from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from deblurrt.runtime.energy import EnergyMeter, RaplRail, find_rails, reason_of
from deblurrt.runtime.nvml import open_nvml

from .fake_nvml import FakeGpu, FakeNvml, no_driver

RAPL = "sys/class/powercap/intel-rapl:0"
INA = "sys/class/hwmon/hwmon3"


def write(root: Path, files: Mapping[str, object]) -> None:
    for place, value in files.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text(f"{value}\n")


def write_rapl(root: Path, energy_uj: int, folder: str = RAPL, name: str = "package-0") -> None:
    files = {"name": name, "energy_uj": energy_uj, "max_energy_range_uj": 1_000_000}
    write(root, {f"{folder}/{file}": value for file, value in files.items()})


def write_module(root: Path, rails: Mapping[str, tuple[int, int]], folder: str = INA) -> None:
    """A sensor with rails, label -> millivolts and milliamperes."""
    write(root, {f"{folder}/name": "ina3221"})
    for channel, (label, (millivolts, milliamperes)) in enumerate(rails.items(), start=1):
        files = {f"in{channel}_label": label, f"in{channel}_input": millivolts, f"curr{channel}_input": milliamperes}
        write(root, {f"{folder}/{file}": value for file, value in files.items()})


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def meter_of(root: Path, clock: Clock, *gpus: FakeGpu) -> EnergyMeter:
    rails, unavailable = find_rails(root, open_nvml(FakeNvml(*gpus).load) if gpus else [])
    return EnergyMeter(rails, unavailable, clock)


def used_j(meter: EnergyMeter) -> dict[str, Any]:
    rails = meter.to_dict(1)["rails"]
    assert isinstance(rails, dict)
    return {name: values["joules"] for name, values in rails.items()}


@pytest.mark.fault("P1", "RAPL made up, counter wraps around", "right joules")
def test_processor_counts_from_the_beginning_and_through_a_wrap_around(tmp_path: Path) -> None:
    write_rapl(tmp_path, 300_000)
    clock = Clock()
    meter = meter_of(tmp_path, clock)
    for energy_uj in (900_000, 100_000, 50_000):
        clock.now_s += 1
        write_rapl(tmp_path, energy_uj)
        meter.sample()
    assert used_j(meter) == {"RAPL package-0": pytest.approx(0.6 + 0.2 + 0.95)}


def test_processor_parts_within_others_are_not_counted_twice(tmp_path: Path) -> None:
    for zone, name in {
        "0": "package-0",
        "1": "package-1",
        "0:0": "core",
        "0:1": "dram",
        "1:1": "dram",
        "2": "psys",
    }.items():
        write_rapl(tmp_path, 0, f"sys/class/powercap/intel-rapl:{zone}", name)
    write_rapl(tmp_path, 0, "sys/class/powercap/intel-rapl-mmio:0", "package-0")
    names = [rail.name for rail in find_rails(tmp_path, [])[0]]
    dram = ["RAPL dram of intel-rapl:0:1", "RAPL dram of intel-rapl:1:1"]
    assert sorted(names) == [*dram, "RAPL package-0", "RAPL package-1"]


@pytest.mark.fault("P1", "INA3221 of a Jetson made up", "joules of a whole module, parts not counted twice")
def test_module_is_voltage_times_current_summed_over_time(tmp_path: Path) -> None:
    write_module(tmp_path, {"VDD_IN": (5000, 1000), "VDD_CPU_GPU_CV": (5000, 400), "NC": (0, 0)})
    clock = Clock()
    meter = meter_of(tmp_path, clock)
    for now_s, milliamperes in ((2.0, 1000), (3.0, 3000), (3.5, 3000)):
        clock.now_s = now_s
        write_module(tmp_path, {"VDD_IN": (5000, milliamperes)})
        meter.sample()
    # 5 W for 2 s, 5 W rising to 15 W in 1 s, 15 W for 0.5 s; the other rail is part of the input
    assert used_j(meter) == {"INA3221 VDD_IN": pytest.approx(10 + 10 + 7.5)}


def test_module_without_an_input_rail_is_all_its_rails(tmp_path: Path) -> None:
    write_module(tmp_path, {"VDD_GPU_SOC": (19000, 100), "VDD_CPU_CV": (19000, 50), "VIN_SYS_5V0": (5000, 100)})
    write_module(tmp_path, {"NC": (1, 1), "VDDQ_VDD2_1V8AO": (5000, 10)}, "sys/class/hwmon/hwmon4")
    write(tmp_path, {"sys/class/hwmon/hwmon5/name": "nct6775", "sys/class/hwmon/hwmon5/in1_label": "Vcore"})
    names = {rail.name for rail in find_rails(tmp_path, [])[0]}
    assert names == {f"INA3221 {label}" for label in ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO")}


@pytest.mark.fault("P1", "NVML made up", "right joules")
def test_graphics_board_counts_millijoules(tmp_path: Path) -> None:
    gpu = FakeGpu(energy_mj=5_000_000)
    clock = Clock()
    meter = meter_of(tmp_path, clock, gpu)
    gpu.energy_mj, clock.now_s = 5_012_500, 0.5
    meter.sample()
    assert used_j(meter) == {"NVML GPU 0 NVIDIA RTX A4000": 12.5}


def test_frames_get_their_share_with_and_without_the_machine_at_rest(tmp_path: Path) -> None:
    write_rapl(tmp_path, 0)
    clock, gpu = Clock(), FakeGpu(energy_mj=0)
    meter = meter_of(tmp_path, clock, gpu)
    clock.now_s, gpu.energy_mj = 10.0, 20_000
    write_rapl(tmp_path, 500_000)
    meter.take_as_idle()
    assert meter.to_dict(0)["gross"] is None
    clock.now_s, gpu.energy_mj = 14.0, 60_000
    write_rapl(tmp_path, 900_000)
    meter.sample()
    values = meter.to_dict(20)
    assert values["rails"] == {
        "RAPL package-0": {"gross": 0.02, "net": 0.01, "joules": 0.4, "mean_w": 0.1, "idle_w": 0.05},
        "NVML GPU 0 NVIDIA RTX A4000": {"gross": 2.0, "net": 1.6, "joules": 40.0, "mean_w": 10.0, "idle_w": 2.0},
    }
    assert (values["gross"], values["net"]) == (2.02, 1.61)


def test_without_a_measure_of_the_machine_at_rest_there_is_no_net_energy(tmp_path: Path) -> None:
    write_rapl(tmp_path, 0)
    clock = Clock()
    meter = meter_of(tmp_path, clock)
    clock.now_s = 1.0
    write_rapl(tmp_path, 1000)
    meter.sample()
    assert (meter.to_dict(1)["gross"], meter.to_dict(1)["net"]) == (0.001, None)


@pytest.mark.fault("P1", "no energy sensor", "`unavailable` with the reason, never 0")
def test_nothing_to_measure_is_unavailable_with_the_reason_and_never_zero(tmp_path: Path) -> None:
    assert meter_of(tmp_path, Clock()).to_dict(100) == {
        "gross": None,
        "net": None,
        "rails": {},
        "unavailable": {
            "INA3221": "no such sensor in /sys/class/hwmon",
            "RAPL": "no such sensor in /sys/class/powercap",
        },
    }


@pytest.mark.fault("P1", "energy counter without permission", "`unavailable` with the reason, never 0")
def test_sensor_that_may_not_be_read_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rapl(tmp_path, 0)

    def refuse(folder: Path, name: str) -> RaplRail:
        raise PermissionError(13, "Permission denied", str(folder / "energy_uj"))

    monkeypatch.setattr("deblurrt.runtime.energy.RaplRail", refuse)
    rails, unavailable = find_rails(tmp_path, [])
    assert rails == []
    assert unavailable["RAPL package-0"] == f"no permission to read {tmp_path / RAPL}/energy_uj"


def test_graphics_board_without_a_counter_says_so(tmp_path: Path) -> None:
    _, unavailable = find_rails(tmp_path, open_nvml(FakeNvml(FakeGpu(energy_mj=None)).load))
    assert (
        unavailable["NVML GPU 0 NVIDIA RTX A4000"] == "nvmlDeviceGetTotalEnergyConsumption: not supported by this GPU"
    )


def test_sensor_that_fails_on_the_way_is_left_out_with_the_reason(tmp_path: Path) -> None:
    write_rapl(tmp_path, 0)
    clock = Clock()
    meter = meter_of(tmp_path, clock)
    (tmp_path / RAPL / "energy_uj").unlink()
    meter.sample()
    values = meter.to_dict(5)
    assert (values["gross"], values["rails"]) == (None, {})
    assert meter.unavailable["RAPL package-0"].startswith("No such file")


def test_counter_that_went_backwards_is_not_believed(tmp_path: Path) -> None:
    gpu = FakeGpu(energy_mj=5000)
    meter = meter_of(tmp_path, Clock(), gpu)
    gpu.energy_mj = 10
    meter.sample()
    assert "backwards" in meter.unavailable["NVML GPU 0 NVIDIA RTX A4000"]


def test_machine_without_a_driver_says_so() -> None:
    with pytest.raises(OSError, match="no NVIDIA driver"):
        open_nvml(no_driver)
    with pytest.raises(OSError, match="error 9"):
        open_nvml(FakeNvml(init_code=9).load)


def test_reason_names_the_file() -> None:
    assert reason_of(OSError(5, "Input/output error", "/sys/x")) == "Input/output error: /sys/x"
    assert reason_of(ValueError("no number")) == "no number"
