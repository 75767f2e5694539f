"""What a live source has for its reader: every event, the newest frames, and a count of those that gave way."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import replace

from .frame import Frame
from .live_source import SourceEvent

#: reason of the gap that frames become which nobody took
TOO_SLOW = "frames came faster than they were taken"

#: frames kept for a reader who is late; more are given up, oldest first, and counted
_KEPT_FRAMES = 2


class SourceInbox:
    """Frames and events for the one who reads: events all, frames the newest; what gave way is a gap.

    Frames from before anybody read, while a run was still being prepared, are not missed.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._items: deque[Frame | SourceEvent] = deque()
        self._is_finished = self._is_read = False
        self._changed = threading.Condition()

    @property
    def is_empty(self) -> bool:
        """Whether everything was taken."""
        return not self._items

    def put(self, item: Frame | SourceEvent) -> None:
        with self._changed:
            if self._is_finished:
                return
            if isinstance(item, Frame):
                self._make_room()
            self._append(item)
            self._changed.notify_all()

    def put_gap(self, reason: str, epoch: int, count: int) -> None:
        if count and self._is_read:
            self.put(SourceEvent("gap", f"{self._name}: {reason}", epoch, count))

    def get(self, timeout_s: float) -> Frame | SourceEvent | None:
        with self._changed:
            self._is_read = True
            self._changed.wait_for(lambda: self._items or self._is_finished, timeout_s)
            return self._items.popleft() if self._items else None

    def finish(self) -> None:
        """Nothing more comes; what is inside is still given out."""
        with self._changed:
            self._is_finished = True
            self._changed.notify_all()

    def close(self) -> None:
        """End a waiting reader; what is inside is dropped."""
        with self._changed:
            self._is_finished = True
            self._items.clear()
            self._changed.notify_all()

    def _append(self, item: Frame | SourceEvent) -> None:
        last = self._items[-1] if self._items else None
        if isinstance(item, SourceEvent) and isinstance(last, SourceEvent) and _can_join(last, item):
            self._items[-1] = replace(last, count=last.count + item.count)
        else:
            self._items.append(item)

    def _make_room(self) -> None:
        """Turn the oldest of too many frames into a gap where it stood."""
        places = [place for place, item in enumerate(self._items) if isinstance(item, Frame)]
        if len(places) < _KEPT_FRAMES:
            return
        later = list(self._items)[places[0] + 1 :]
        while len(self._items) > places[0] + 1:
            self._items.pop()
        given_up = self._items.pop()
        if self._is_read:
            self._append(SourceEvent("gap", f"{self._name}: {TOO_SLOW}", given_up.epoch, 1))
        for item in later:
            self._append(item)


def _can_join(first: SourceEvent, second: SourceEvent) -> bool:
    """Whether two events say the same of different frames, so that a storm of them stays one."""
    is_counted = first.kind in ("gap", "corrupt")
    return is_counted and (first.kind, first.reason, first.epoch) == (second.kind, second.reason, second.epoch)
