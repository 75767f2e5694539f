from __future__ import annotations

import hashlib
import platform
from pathlib import Path
from typing import Any

import pytest

from deblurrt.runtime.device_facts import energy_text, facts_of_run
from deblurrt.runtime.nvml import open_nvml
from deblurrt.runtime.run_facts import hash_of_model, machine_facts, scheduling_facts, versions
from deblurrt.runtime.shipped_models import find_model

from .fake_nvml import FakeGpu, FakeNvml


def test_hash_is_that_of_the_file_and_none_of_what_is_no_file() -> None:
    assert hash_of_model("fast") == hashlib.sha256(find_model("fast").read_bytes()).hexdigest()
    assert hash_of_model("wrcan") is None


def test_versions_name_what_is_installed() -> None:
    found = versions()
    assert found["python"] == platform.python_version()
    assert {"deblurrt", "numpy", "onnxruntime", "av"} <= set(found)


def test_machine_names_its_graphics_boards(tmp_path: Path) -> None:
    gpus = open_nvml(FakeNvml(FakeGpu("A"), FakeGpu("B")).load)
    assert machine_facts(gpus, tmp_path)["gpus"] == ["GPU 0 A", "GPU 1 B"]


@pytest.mark.parametrize(("is_real_time", "mode"), [(True, "real-time"), (False, "normal"), (None, "unknown")])
def test_scheduling_is_named_with_its_reason(is_real_time: bool | None, mode: str) -> None:
    facts = scheduling_facts(is_real_time)
    assert facts["mode"] == mode
    assert facts["reason"]


def test_energy_is_said_with_its_rails_or_with_why_there_is_none() -> None:
    energy: dict[str, Any] = {"gross": 0.4321, "net": None, "rails": {"INA3221 VDD_IN": {}}, "unavailable": {}}
    assert energy_text(energy) == "0.432 J (INA3221 VDD_IN)"
    assert energy_text(energy | {"net": 0.21}) == "0.432 J, 0.21 J above the machine at rest (INA3221 VDD_IN)"
    none = {"gross": None, "net": None, "rails": {}, "unavailable": {"RAPL": "no permission to read /sys/x"}}
    assert energy_text(none) == "unavailable (RAPL: no permission to read /sys/x)"


def test_facts_of_a_run_are_said_for_people() -> None:
    thermal = {
        "temperature_max_c": 81.4,
        "zone": "cpu-thermal",
        "throttled": ["GPU 0 A: software power cap"],
        "throttle_events": {"core_throttle_count": 2, "package_throttle_count": 0},
        "end": {"clocks_mhz": {"cpu": 2188.8, "gpu": 1300.5}, "power_mode": {"nvpmodel": "MODE_30W"}},
    }
    facts = facts_of_run({"thermal": thermal, "scheduling": {"mode": "normal"}})
    assert facts == {
        "warmest in this run": "81 °C (cpu-thermal)",
        "clocks": "cpu 2189 MHz, gpu 1300 MHz",
        "clocks held back": "GPU 0 A: software power cap, core_throttle_count 2",
        "power mode": "nvpmodel MODE_30W",
        "energy per frame": "unavailable",
        "scheduling": "normal",
    }


def test_cool_machine_and_one_that_tells_nothing_are_different() -> None:
    assert facts_of_run({"thermal": {"throttled": [], "throttle_events": None}})["clocks held back"] == "no"
    assert set(facts_of_run({}).values()) == {"unavailable"}
