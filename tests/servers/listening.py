"""What a test sees of a live source: everything it said, with the time when it said it."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from deblurrt.runtime.frame import Frame
from deblurrt.runtime.live_source import EventKind, LiveSource, SourceEvent
from deblurrt.runtime.time_code import read_time_code

#: generous: the machine may be busy with other tests
WAIT_S = 60.0


class Listener:
    """Reads a source and remembers; leaving the context closes the source."""

    def __init__(self, source: LiveSource) -> None:
        self.source = source
        self.frames: list[Frame] = []
        self.events: list[SourceEvent] = []
        self.times_s: dict[int, float] = {}
        self.ages_ms: list[float] = []

    def __enter__(self) -> Listener:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.source.close()

    def until(self, is_enough: Callable[[], bool], wait_s: float = WAIT_S) -> None:
        """Read until ``is_enough``; fails after ``wait_s``."""
        until_s = time.monotonic() + wait_s
        while not is_enough():
            assert time.monotonic() < until_s, f"waited {wait_s} s in vain; heard {self.events[-5:]}"
            self.hear(0.1)

    def hear(self, timeout_s: float) -> Frame | SourceEvent | None:
        item = self.source.read(timeout_s)
        if isinstance(item, Frame):
            self.frames.append(item)
            code = read_time_code(item.pixels)
            if code is not None:
                self.ages_ms.append((time.monotonic_ns() - code) / 1e6)
        elif item is not None:
            self.times_s[len(self.events)] = time.monotonic()
            self.events.append(item)
        return item

    def until_frames(self, count: int) -> None:
        """Read that many more frames."""
        target = len(self.frames) + count
        self.until(lambda: len(self.frames) >= target)

    def until_event(self, kind: EventKind, count: int = 1) -> SourceEvent:
        """Read until an event of this kind came ``count`` more times; give the last."""
        target = len(self.of_kind(kind)) + count
        self.until(lambda: len(self.of_kind(kind)) >= target)
        return self.of_kind(kind)[-1]

    def of_kind(self, kind: EventKind) -> list[SourceEvent]:
        return [event for event in self.events if event.kind == kind]

    def time_of(self, kind: EventKind) -> float:
        """When the last event of this kind was heard, ``time.monotonic()``."""
        return max(self.times_s[place] for place, event in enumerate(self.events) if event.kind == kind)

    def counted(self, kind: EventKind) -> int:
        return sum(event.count for event in self.of_kind(kind))
