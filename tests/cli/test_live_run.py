"""``deblurrt run`` on live sources, as a user meets it."""

from __future__ import annotations

import io
import json
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import pytest
from rich.console import Console

from deblurrt.cli.live_options import LiveChoice
from deblurrt.cli.live_status import live_status, status_lines, status_table, summary_lines
from deblurrt.cli.live_view import open_view

from .conftest import FRAMES

Deblurrt = Callable[..., int]
RUN = ("run", "--backend", "onnxruntime", "--threads", "1", "--model", "identity")
CAMERA = "synthetic://?size=48x64&fps=50"
PATIENCE_S = 60.0

SUMMARY: dict[str, Any] = {
    "streams": [
        {
            "stream": "rtsp://***@cam/live",
            "health": "streaming",
            "reason": "",
            "captured": 200,
            "states": {"deblurred": 150, "pass_deadline": 40, "pass_sharp": 5, "dropped_policy": 5},
            "latency_ms": {"p50": 21.04, "p99": None},
            "missed": 1,
            "stall_s": 3.04,
            "reconnects": 2,
        }
    ],
    "sinks": {"out.mkv": {"emitted": 190, "skipped": 5, "error": None}},
    "model": "fast",
    "backend": "cpu",
    "locked_out": None,
}


def start(*arguments: object) -> subprocess.Popen[str]:
    code = "import sys; from deblurrt.cli.main import main; main()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_lines(path: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Wait until the ledger has so many lines."""
    until_s = time.monotonic() + PATIENCE_S
    while not path.exists() or path.read_text().count("\n") < count:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until_s
        time.sleep(0.05)


@pytest.mark.fault("K4", "SIGINT, SIGTERM", "whole outputs, every settled frame in them, exit 0")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_a_camera_with_whole_outputs_and_success(number: signal.Signals, tmp_path: Path) -> None:
    recording, ledger, summary = (tmp_path / name for name in ("out.mkv", "frames.jsonl", "summary.json"))
    process = start(*RUN, CAMERA, recording, "--ledger", ledger, "--json", summary, "--deadline-ms", 500)
    wait_for_lines(ledger, 20, process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors
    result = json.loads(summary.read_text())
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert result["captured"] == len(lines) == sum(result["states"].values())
    with av.open(str(recording)) as container:
        assert len(list(container.decode(video=0))) == result["emitted"][str(recording)]
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.fault("K4", "SIGINT and SIGTERM together", "ends at once, exit 130, `.part` plays")
def test_second_signal_ends_at_once_and_leaves_what_plays(tmp_path: Path) -> None:
    recording, ledger = tmp_path / "out.mkv", tmp_path / "frames.jsonl"
    process = start(*RUN, CAMERA, recording, "--ledger", ledger, "--deadline-ms", 500)
    wait_for_lines(ledger, 130, process)  # a key frame, every two seconds, makes what came before safe
    process.send_signal(signal.SIGSTOP)  # both signals wait for it together
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    with av.open(str(tmp_path / "out.mkv.part")) as container:
        assert len(list(container.decode(video=0))) > 0


def test_file_with_a_deadline_is_played_like_a_camera(
    deblurrt: Deblurrt, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "out.mkv"
    assert deblurrt(*RUN, clip, place, "--deadline-ms", 5000, "--json", "-") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["captured"], result["emitted"], result["incomplete"]) == (FRAMES, {str(place): FRAMES}, None)


def test_ledger_and_gate_work_on_files(deblurrt: Deblurrt, clip: Path, tmp_path: Path) -> None:
    place, ledger = tmp_path / "out.mkv", tmp_path / "frames.jsonl"
    assert deblurrt(*RUN, clip, place, "--gate", "--ledger", ledger) == 0
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert [line["seq"] for line in lines] == list(range(FRAMES))
    assert {line["state"] for line in lines} <= {"DEBLURRED", "PASS_SHARP"}
    assert all(line["emit_ms"][str(place)] > 0 for line in lines)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ((CAMERA,), 2, "no output"),
        (("nonsense://camera", "out.mkv"), 2, "nonsense"),
        ((CAMERA, "out.mkv", "--deadline-ms", "0"), 2, "deadline"),
        ((CAMERA, "none/out.mkv"), 7, "mkdir"),
        ((CAMERA, "out.xyz"), 2, "out.xyz"),
        ((CAMERA, "out.mkv", "./out.mkv"), 2, "output 2 and output 1 are both"),
        ((CAMERA, "--source", CAMERA, "out.mkv", "out-camera2.mkv"), 2, "output 1 (camera 2) are both out-camera2.mkv"),
        ((CAMERA, "out.mkv", "--ledger", "out.mkv", "--force"), 2, "--ledger and output 1 are both out.mkv"),
        ((CAMERA, "out.mkv", "--json", "./out.mkv", "--force"), 2, "--json and output 1 are both"),
        ((CAMERA, "gopher://x"), 2, "gopher://x names no known output, expected shm://NAME"),
        ((CAMERA, "out.mkv", "--ladder", ","), 2, "--ladder ',' lacks a name"),
        ((CAMERA, "out.mkv", "--measure-idle", "inf"), 2, "no duration"),
        (("rtsp://me:secret@cam:port/live", "out.mkv"), 2, "rtsp://***@cam:port/live has no valid port; expected rtsp"),
        (("rtsp://cam:99999/live", "out.mkv"), 2, "has no valid port"),
        ((f"rtsp://cam/{'x' * 300}", "none/out.mkv"), 7, "mkdir"),
        (("clip.mp4", "out.mkv", "--ladder", "fast"), 2, "--ladder"),
        (("clip.mp4", "out.mkv", "--source", "other.mp4"), 2, "--source"),
        (("clip.mp4", "out.mkv", "--stall-timeout", "3"), 2, "--stall-timeout goes with cameras"),
        (("clip.mp4", "out.mkv", "--keep-damaged"), 2, "--keep-damaged goes with cameras"),
        ((CAMERA, "out.mkv", "--rtsp-transport", "udp"), 2, "--rtsp-transport goes with rtsp://"),
        ((CAMERA, "out.mkv", "--open-timeout", "nan"), 2, "no duration"),
        ((CAMERA, "out.mkv", "--reconnect-delay", "20"), 2, "--reconnect-delay-max"),
        ((CAMERA, "out.mkv", "--no-guard"), 2, "--no-guard"),
    ],
)
def test_what_is_wrong_is_told_with_the_right_code(
    arguments: Sequence[str],
    code: int,
    told: str,
    deblurrt: Deblurrt,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert deblurrt(*RUN, *arguments) == code
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("place", ["out.mkv", "out-camera2.mkv"])
def test_recording_that_exists_is_told_before_a_network_is_loaded(
    deblurrt: Deblurrt, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / place).write_text("mine")
    model = ("--model", tmp_path / "none.onnx")
    assert deblurrt("run", CAMERA, "--source", CAMERA, tmp_path / "out.mkv", *model) == 7
    assert place in capsys.readouterr().err
    assert (tmp_path / place).read_text() == "mine"


def test_status_names_what_matters() -> None:
    (line,) = status_lines(SUMMARY)
    assert line == (
        "rtsp://***@cam/live: streaming, frames 200, deblurred 150 (75.0%), late 1 (0.5%), passed 45, dropped 5, "
        "p50 ms 21.0, p99 ms n too small, stalled s 3.0, reconnects 2"
    )
    console = Console(width=200, record=True, force_terminal=False)
    console.print(status_table(SUMMARY))
    text = console.export_text()
    assert "150 (75.0%)" in text
    assert "out.mkv 190 (skipped 5)" in text


def test_a_view_for_others_says_that_its_address_is_another_there(capsys: pytest.CaptureFixture[str]) -> None:
    for host, is_told in (("0.0.0.0", True), ("127.0.0.1", False)):
        view = open_view(LiveChoice((CAMERA,), view_port=0, view_host=host))
        assert view is not None
        view.close()
        told = capsys.readouterr().err
        assert told.startswith("view: http://127.0.0.1:")
        assert ("on other machines" in told, "?token=" in told) == (is_told, is_told)


@pytest.mark.parametrize("width", [80, 200])
def test_table_tells_everything_whatever_the_width(width: int) -> None:
    stream = {**SUMMARY["streams"][0], "stream": "rtsp://cam/[/x]", "health": "reconnecting", "reason": "attempt 3"}
    console = Console(width=width, record=True, force_terminal=False)
    console.print(status_table({**SUMMARY, "streams": [stream]}, width))
    text = console.export_text()
    for told in ("rtsp://cam/[/x]", "reconnecting: attempt 3", "150 (75.0%)", "1 (0.5%)", "n too small", "reconnects"):
        assert told in text
    assert "…" not in text


def test_log_lines_appear_above_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deblurrt.cli.live_status.TABLE_S", 0.0)
    handler, shown = logging.StreamHandler(sys.__stderr__), io.StringIO()
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    with live_status(Console(width=100, file=shown, force_terminal=True)) as on_status:
        on_status(SUMMARY)
        logging.getLogger("camera").warning("it is gone")
        assert "it is gone" in shown.getvalue()
    assert handler.stream is sys.__stderr__
    assert "rtsp://***@cam/live" in shown.getvalue()


def test_summary_without_a_frame_says_so_and_nothing_else() -> None:
    assert summary_lines({"captured": 0, "states": {}, "elapsed_s": 6.07}) == [
        "no frame came in 6.1 s, no output was begun"
    ]


def test_status_is_lines_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deblurrt.cli.live_status.LINE_S", 0.0)
    console = Console(width=200, record=True, force_terminal=False)
    with live_status(console) as on_status:
        on_status(SUMMARY)
    assert console.export_text().startswith("rtsp://***@cam/live: streaming")
