from __future__ import annotations

from pathlib import Path

import pytest

from deblurrt.runtime.device_facts import device_facts


@pytest.mark.fault("P1", "`/proc` and `/sys` made up, a zone that cannot be read", "right values")
def test_facts_are_read_where_linux_has_them(tmp_path: Path) -> None:
    for place, text in {
        "proc/cpuinfo": "processor : 0\nmodel name : A processor\n\nprocessor : 1\n",
        "proc/meminfo": "MemTotal: 8388608 kB\nMemAvailable: 1048576 kB\n",
        "proc/loadavg": "0.50 0.40 0.30 1/200 999\n",
        "sys/class/thermal/thermal_zone0/temp": "41000\n",
        "sys/class/thermal/thermal_zone1/temp": "56500\n",
        "sys/class/thermal/thermal_zone2/temp": "not now\n",
    }.items():
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(text)
    facts = device_facts(tmp_path)
    assert facts["processor"].startswith("A processor, ")
    assert (facts["memory"], facts["free memory"]) == ("8.0 GiB", "1.0 GiB")
    assert facts["load"].startswith("0.50 of ")
    assert facts["temperature"] == "56 °C"


@pytest.mark.fault("P1", "no `/proc`, no `/sys`", "`unavailable`, never 0")
def test_what_cannot_be_read_is_unavailable_and_never_zero(tmp_path: Path) -> None:
    facts = device_facts(tmp_path)
    assert {facts[name] for name in ("memory", "free memory", "load", "temperature")} == {"unavailable"}


def test_this_machine_has_a_processor() -> None:
    assert device_facts()["processor"]
