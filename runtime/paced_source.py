"""A file played like a camera: frames come when their time has come."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

from ..core.errors import DeblurrtError
from .frame import Frame
from .latency import LatencyRecorder
from .live_source import SourceEvent
from .sources import Source

#: of pictures without time of their own
DEFAULT_FPS = 25.0


class PacedSource:
    """Plays a source at its own speed, once; it ends with ``lost``, or ``failed`` where it is damaged.

    Args:
        source: What is played; closed with this one.

    Attributes:
        lateness: How much later than planned frames were given, stage ``lateness``.
    """

    is_live = False

    def __init__(self, source: Source) -> None:
        self.name = source.info.name
        rate = source.info.frame_rate
        self.fps: float | None = DEFAULT_FPS if rate is None else float(rate)
        self.lateness = LatencyRecorder()
        self._source = source
        self._frames: Iterator[Frame] = iter(source)
        self._next: Frame | None = None
        self._start: tuple[int, float] | None = None
        self._count = 0
        self._has_ended = False
        self._closed = threading.Event()

    @property
    def first_size(self) -> tuple[int, int]:
        """Height and width of the first frame, whose time is that of the first ``read``."""
        return self._source.info.size

    def read(self, timeout_s: float) -> Frame | SourceEvent | None:
        if self._closed.is_set() or self._has_ended:
            return None
        if self._next is None:
            try:
                self._next = next(self._frames, None)
            except DeblurrtError as error:
                return self._end(SourceEvent("failed", str(error), 0))
            if self._next is None:
                return self._end(SourceEvent("lost", f"{self.name}: played to its end", 0))
        due_ns = self._due_ns(self._next)
        wait_s = (due_ns - time.monotonic_ns()) / 1e9
        if wait_s > 0 and self._closed.wait(min(wait_s, timeout_s)):
            return None
        if wait_s > timeout_s:
            return None
        frame, self._next = self._next, None
        self._count += 1
        now_ns = time.monotonic_ns()
        self.lateness.add("lateness", (now_ns - due_ns) / 1e9)
        return replace(frame, t_capture_ns=now_ns)

    def close(self) -> None:
        self._closed.set()
        self._source.close()

    def _end(self, event: SourceEvent) -> SourceEvent:
        self._has_ended = True
        return event

    def _due_ns(self, frame: Frame) -> int:
        if frame.pts is not None and frame.time_base is not None:
            time_s = float(frame.pts * frame.time_base)
        else:
            time_s = self._count / (self.fps or DEFAULT_FPS)
        if self._start is None:
            self._start = time.monotonic_ns(), time_s
        began_ns, began_s = self._start
        return began_ns + round((time_s - began_s) * 1e9)
