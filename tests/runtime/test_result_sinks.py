from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from deblurrt.core.errors import MachineError, UsageError
from deblurrt.runtime import result_sinks
from deblurrt.runtime.result_sinks import RESULT_SINKS, open_result_sink, scheme_of


@pytest.mark.parametrize(
    "place", ["-", "raw:-", "y4m:-", "shm://front", "zmq+tcp://127.0.0.1:5", "zmq+ipc:///a", "window://"]
)
def test_places_that_are_no_files_are_known(place: str) -> None:
    assert scheme_of(place) in RESULT_SINKS


@pytest.mark.parametrize(
    "place", ["out.mkv", "shm", "shm:", "raw:out", "folder/", "-out", "C:/out.mp4", "rtsp://a/b", "./-"]
)
def test_files_and_folders_are_left_to_others(place: str) -> None:
    assert scheme_of(place) is None


@pytest.mark.parametrize("scheme", RESULT_SINKS)
def test_table_leads_to_a_factory(scheme: str) -> None:
    module, attribute = RESULT_SINKS[scheme]
    assert callable(getattr(importlib.import_module(module, result_sinks.__package__), attribute))


def test_unknown_place_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"ftp://x names no known output, expected one of -, y4m, raw, shm"):
        open_result_sink("ftp://x")


def test_window_without_a_screen_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(MachineError, match=r"watch in a browser instead: --view 8080"):
        open_result_sink("window://deblurrt")


def test_only_files_are_left_behind(tmp_path: Path) -> None:
    sink = open_result_sink(f"zmq+ipc://{tmp_path}/front")
    sink.close()
    sink.give_up()
