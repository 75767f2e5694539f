"""A window on this machine's own screen."""

from __future__ import annotations

import os
import re
import sys
from typing import Any

from ..core.errors import MachineError
from ..core.optional import require
from .result_sinks import ResultSinkOptions
from .terminal import Result, enlarged

_REMEDY = "watch in a browser instead: --view 8080"


class WindowSink:
    """Shows results in a window; closing it, or the keys Esc and q, ends the run in order.

    OpenCV's windows belong to the thread that made them: the first ``write`` opens it, ``close`` must
    come from the same thread.

    Args:
        title: Of the window.
        options: Scale, and what to do when the window is closed.

    Raises:
        MachineError: There is no screen, or this OpenCV has no windows.
        MissingExtraError: OpenCV is not installed.
    """

    queue_frames = 1
    keeps_newest = True

    def __init__(self, title: str, options: ResultSinkOptions) -> None:
        self._cv2: Any = require("cv2", purpose="show a window")
        check_windows(self._cv2)
        self.name = f"window://{title}"
        self._title, self._options = title or "deblurrt", options
        self._is_open = self._is_over = False

    def write(self, result: Result) -> None:
        """Show one picture."""
        if self._is_over:
            return
        if not self._is_open:
            self._cv2.namedWindow(self._title, self._cv2.WINDOW_NORMAL | self._cv2.WINDOW_KEEPRATIO)
            self._is_open = True
        self._cv2.imshow(self._title, enlarged(result, self._options.scale)[..., ::-1])
        key = self._cv2.waitKey(1) & 0xFF
        if key in (27, ord("q")) or self._cv2.getWindowProperty(self._title, self._cv2.WND_PROP_VISIBLE) < 1:
            self.close()
            self._options.on_reader_gone()

    def close(self) -> None:
        self._is_over = True
        if self._is_open:
            self._is_open = False
            self._cv2.destroyWindow(self._title)

    def give_up(self) -> None:
        self.close()


def check_windows(cv2: Any) -> None:
    """Refuse where no window can be: OpenCV's toolkits end the whole program without a screen.

    Raises:
        MachineError: There is no screen, or this OpenCV has no windows.
    """
    gui = re.search(r"^\s*GUI:\s*(\S+)", cv2.getBuildInformation(), re.M)
    if gui is None or gui[1].upper() == "NONE":
        raise MachineError(
            f"this OpenCV has no windows (opencv-python-headless); {_REMEDY}, or pip install opencv-python"
        )
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise MachineError(f"there is no screen here (DISPLAY is not set); {_REMEDY}")


def open_window(title: str, options: ResultSinkOptions) -> WindowSink:
    """Open a window with a title."""
    return WindowSink(title, options)
