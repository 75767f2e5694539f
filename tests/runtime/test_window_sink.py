from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from deblurrt.core.errors import MachineError
from deblurrt.runtime import window_sink
from deblurrt.runtime.result_sinks import ResultSinkOptions
from deblurrt.runtime.window_sink import WindowSink, check_windows

from .results import result


class FakeCv2:
    """OpenCV with windows, as far as the sink uses it."""

    WINDOW_NORMAL = WINDOW_KEEPRATIO = WND_PROP_VISIBLE = 0

    def __init__(self, gui: str = "QT5", keys: tuple[int, ...] = (), visible: float = 1.0) -> None:
        self.gui, self.keys, self.visible = gui, list(keys), visible
        self.shown: list[Any] = []
        self.windows: list[str] = []

    def getBuildInformation(self) -> str:  # noqa: N802
        return f"General\n  GUI:                           {self.gui}\n"

    def namedWindow(self, title: str, _flags: int) -> None:  # noqa: N802
        self.windows.append(title)

    def imshow(self, _title: str, pixels: Any) -> None:
        self.shown.append(pixels.copy())

    def waitKey(self, _ms: int) -> int:  # noqa: N802
        return self.keys.pop(0) if self.keys else -1

    def getWindowProperty(self, _title: str, _property: int) -> float:  # noqa: N802
        return self.visible

    def destroyWindow(self, title: str) -> None:  # noqa: N802
        self.windows.remove(title)


def opened(monkeypatch: pytest.MonkeyPatch, cv2: FakeCv2, closed: list[str]) -> WindowSink:
    monkeypatch.setattr(window_sink, "require", lambda _name, purpose: cv2)
    monkeypatch.setenv("DISPLAY", ":0")
    return WindowSink("title", ResultSinkOptions(on_reader_gone=lambda: closed.append("closed")))


def test_restored_picture_is_shown_in_the_order_of_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    cv2, closed = FakeCv2(), list[str]()
    sink = opened(monkeypatch, cv2, closed)
    sink.write(result(0))
    assert np.array_equal(cv2.shown[0], result(0).restored[..., ::-1])
    sink.close()
    sink.close()
    assert (cv2.windows, closed) == ([], [])


@pytest.mark.parametrize("cv2", [FakeCv2(keys=(27,)), FakeCv2(keys=(ord("q"),)), FakeCv2(visible=0.0)])
def test_closing_the_window_ends_the_run_once(monkeypatch: pytest.MonkeyPatch, cv2: FakeCv2) -> None:
    closed = list[str]()
    sink = opened(monkeypatch, cv2, closed)
    for seq in range(3):
        sink.write(result(seq))
    assert (len(cv2.shown), cv2.windows, closed) == (1, [], ["closed"])


def test_opencv_without_windows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    with pytest.raises(MachineError, match=r"no windows \(opencv-python-headless\)"):
        check_windows(FakeCv2(gui="NONE"))
