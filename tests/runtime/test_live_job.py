from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deblurrt.core.errors import OutputError, UsageError
from deblurrt.core.tensors import Array
from deblurrt.runtime.live_job import LiveJobConfig, place_of_camera, run_live
from deblurrt.runtime.live_runner import LiveConfig
from deblurrt.runtime.session import Session
from tests.fakes import FakeBackend, unchanged
from tests.live_fakes import KeptResults, ScriptedSource, camera_script, scripted_session

LEISURE = LiveConfig(deadline_ms=60_000)


def open_sessions() -> list[Session]:
    return [scripted_session(unchanged)]


def camera(count: int = 20, name: str = "cam") -> ScriptedSource:
    return ScriptedSource(camera_script(count, period_s=0.002), name)


def test_summary_has_the_promised_keys_and_balances() -> None:
    summary = run_live([camera()], open_sessions, [KeptResults()], LiveJobConfig(LEISURE))
    assert {"captured", "emitted", "states", "epochs", "fps", "latency_ms"} <= set(summary)
    assert {"p50", "p90", "p99", "max"} <= set(summary["latency_ms"])
    assert summary["captured"] == 20 == sum(summary["states"].values())
    assert summary["emitted"] == {"kept": 20}
    assert summary["imbalances"] == []
    assert summary["incomplete"] == "cam: the script is over"
    json.dumps(summary)


def test_cameras_record_into_files_of_their_own(tmp_path: Path) -> None:
    place, ledger = tmp_path / "out.mkv", tmp_path / "frames.jsonl"
    sources = [camera(10, "left"), camera(15, "right")]
    summary = run_live(sources, open_sessions, [str(place)], LiveJobConfig(LEISURE, ledger))
    assert summary["emitted"] == {str(place): 10, str(tmp_path / "out-camera2.mkv"): 15}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames.jsonl", "out-camera2.mkv", "out.mkv"]
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert sorted((line["stream"], line["seq"]) for line in lines) == [
        *(("left", seq) for seq in range(10)),
        *(("right", seq) for seq in range(15)),
    ]


@pytest.mark.parametrize(
    ("place", "second"),
    [("out.mkv", "out-camera2.mkv"), ("a.b/out.mp4", "a.b/out-camera2.mp4"), ("frames/", "frames-camera2/")],
)
def test_recording_of_the_second_camera_has_its_own_name(place: str, second: str) -> None:
    assert (place_of_camera(place, 0), place_of_camera(place, 1)) == (place, second)


def test_failed_sink_makes_the_run_incomplete_and_others_whole() -> None:
    def fail(_result: object) -> None:
        raise OutputError("disk full")

    good, bad = KeptResults("good"), KeptResults("bad", fail)
    summary = run_live([camera()], open_sessions, [good, bad], LiveJobConfig(LEISURE))
    assert "bad was given up: disk full" in summary["incomplete"]
    assert summary["emitted"] == {"good": 20, "bad": 0}


def test_output_that_exists_ends_the_run_before_it_begins_and_closes_everything(tmp_path: Path) -> None:
    (tmp_path / "out.mkv").write_text("mine")
    source, opened = camera(), open_sessions()
    with pytest.raises(OutputError):
        run_live([source], lambda: opened, [str(tmp_path / "out.mkv")], LiveJobConfig(ledger=tmp_path / "l.jsonl"))
    assert source.is_closed
    assert isinstance(opened[0].backend, FakeBackend)
    assert opened[0].backend.is_closed
    assert not (tmp_path / "l.jsonl").exists()


def test_outputs_of_one_name_are_refused() -> None:
    """Their accounts would be one."""
    with pytest.raises(UsageError, match="named twice"):
        run_live([camera()], open_sessions, [KeptResults("mine"), KeptResults("mine")], LiveJobConfig(LEISURE))


def test_status_grows_to_the_summary() -> None:
    seen: list[dict[str, Any]] = []
    source = ScriptedSource(camera_script(20, period_s=0.02))
    run_live([source], open_sessions, [KeptResults()], LiveJobConfig(LEISURE), seen.append)
    captured = [status["captured"] for status in seen]
    assert captured == sorted(captured)
    assert seen


def test_smaller_network_takes_over_where_the_larger_one_is_too_slow() -> None:
    """Refusals come from the estimate of a deadline nobody can keep, so that no clock decides."""

    def larger(frames: Array) -> Array:
        return frames

    sink = KeptResults()
    source = ScriptedSource(camera_script(60, period_s=0.002))
    config = LiveJobConfig(LiveConfig(deadline_ms=0.001))
    summary = run_live(
        [source], lambda: [scripted_session(larger, "large"), scripted_session(unchanged, "small")], [sink], config
    )
    assert summary["model"] == "small"
    assert "deblurred" not in summary["states"]


@pytest.mark.parametrize("deadline_ms", [0, -1, float("nan"), float("inf")])
def test_deadline_that_is_none_is_refused(deadline_ms: float) -> None:
    with pytest.raises(UsageError, match="deadline"):
        LiveConfig(deadline_ms)
