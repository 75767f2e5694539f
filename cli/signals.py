"""What SIGINT and SIGTERM do to a run."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_on_signals() -> Iterator[tuple[threading.Event, list[int]]]:
    """End the run in order at the first SIGINT or SIGTERM, at once at the second."""
    stop, caught = threading.Event(), list[int]()

    def handle(number: int, _frame: FrameType | None) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)
        stop.set()

    former = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop, caught
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
