"""The account of a live run has the keys of the table in docs/live.md, and no others."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deblurrt.cli.live_networks import settings_of
from deblurrt.runtime.frame import Frame
from deblurrt.runtime.latency import LatencyRecorder, LatencyReport
from deblurrt.runtime.live_job import LiveJobConfig, run_live
from deblurrt.runtime.live_runner import LiveConfig
from deblurrt.runtime.live_source import SourceEvent
from deblurrt.runtime.machine_watch import MachineWatch
from deblurrt.runtime.session import SessionConfig
from tests.fakes import unchanged
from tests.live_fakes import KeptResults, ScriptedSource, camera_script, scripted_session
from tests.runtime.fake_nvml import FakeGpu, FakeNvml
from tests.runtime.test_energy import write, write_module

PAGE = Path(__file__).parents[2] / "docs" / "live.md"
#: mappings whose keys are names
NAMED = re.compile(
    r"(^|\.)(emitted|states|stages_ms|rails|clocks_mhz|power_mode|throttle_events|versions|events|unavailable|sinks)$"
)
LEISURE = LiveJobConfig(LiveConfig(deadline_ms=60_000))
PERCENTILES = set(LatencyReport(0, None, None, None, None, None).to_dict())
JITTER = {"max", "mean", "std"}
#: on a Jetson only
ELSEWHERE = {"machine.board"}


def keys_of(values: Any, at: str = "") -> Iterator[str]:
    """Places of all values, as the table writes them."""
    if isinstance(values, dict) and values and set(values) not in (PERCENTILES, JITTER):
        for key, value in values.items():
            step = "*" if NAMED.search(at) else key
            yield from keys_of(value, f"{at}.{step}" if at else step)
    elif isinstance(values, list):
        for value in values or [None]:
            yield from keys_of(value, f"{at}[]")
    else:
        yield at


def table_keys() -> set[str]:
    """The first column, {…} written out."""
    section = PAGE.read_text().partition("## The account of a run")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    keys = set()
    for place in re.findall(r"`([^`]+)`", " ".join(cells)):
        parts = [part.strip("{}").split(",") for part in re.split(r"(\{[^}]*\})", place)]
        keys |= {"".join(choice) for choice in itertools.product(*parts)}
    return keys


def account(root: Path) -> dict[str, Any]:
    """A run with everything that has a key."""
    write_module(root, {"VDD_IN": (5000, 1000)})
    write(root, {"sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": 1})
    source = ScriptedSource([SourceEvent("opened", "cam: opened", 0), *camera_script(20, period_s=0.002)])
    source.lateness = LatencyRecorder()  # type: ignore[attr-defined]
    config = replace(
        LEISURE,
        watch=MachineWatch(root, FakeNvml(FakeGpu()).load),
        model_hashes=["abc"],
        settings=settings_of(SessionConfig()),
    )
    return run_live([source], lambda: [scripted_session(unchanged)], [KeptResults()], config)


def test_account_and_table_have_the_same_keys(tmp_path: Path) -> None:
    found = set(keys_of(account(tmp_path)))
    # this machine tells everything of its heat, so that there is no name for what it does not tell
    found = {"thermal.unavailable.*" if key == "thermal.unavailable" else key for key in found}
    assert found == table_keys() - ELSEWHERE


def test_account_holds_what_was_told_and_measured(tmp_path: Path) -> None:
    summary = account(tmp_path)
    (stream,) = summary["streams"]
    assert summary["models"] == [{"model": "scripted", "backend": summary["backend"], "sha256": "abc"}]
    assert set(summary["energy_j_per_frame"]["rails"]) == {
        *("INA3221 VDD_IN", "NVML GPU 0 NVIDIA RTX A4000"),
    }
    assert summary["energy_j_per_frame"]["gross"] > 0
    assert summary["energy_j_per_frame"]["net"] is None
    assert summary["scheduling"]["mode"] in ("real-time", "normal")
    assert 0 < stream["time_to_first_frame_s"] <= stream["time_to_first_deblurred_s"]
    assert summary["energy_j_per_frame"]["unavailable"] == {"RAPL": "no such sensor in /sys/class/powercap"}
    assert stream["deblur_coverage"] == stream["effective_coverage"] == stream["states"]["deblurred"] / 20 > 0
    assert stream["deadline_miss_rate"] == 0.0
    assert stream["latency_ms"]["p50"] > 0
    assert stream["latency_ms"]["p90"] is None
    assert summary["sinks"]["kept"]["latency_ms"]["count"] == 20


def test_loss_of_a_source_is_a_stall_and_a_recovery() -> None:
    lost, tried, back = (SourceEvent(kind, "cam: away", 0) for kind in ("lost", "reconnecting", "opened"))
    again = [replace(frame, epoch=1) for frame in camera_script(3) if isinstance(frame, Frame)]
    script = [*camera_script(3), lost, 0.2, tried, 0.2, back, *again]
    summary = run_live([ScriptedSource(script)], lambda: [scripted_session(unchanged)], [KeptResults()], LEISURE)
    (stream,) = summary["streams"]
    assert (stream["epochs"], stream["stalls"], stream["reconnects"]) == (2, 1, 1)
    assert stream["time_to_recover_s"]["last"] == stream["time_to_recover_s"]["worst"] >= 0.4
    assert stream["stall_s"] >= stream["time_to_recover_s"]["worst"]


@pytest.mark.parametrize("key", ["captured", "emitted", "states", "epochs", "fps", "latency_ms"])
def test_keys_that_others_rely_on_come_first(key: str, tmp_path: Path) -> None:
    assert key in list(account(tmp_path))[:6]
