"""The account of a run over a file, and who else sees its results."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from .frame import Frame, Pixels
from .ledger import Ledger
from .terminal import Result, Terminal

#: takes a result; the frames behind it wait meanwhile
OnResult = Callable[[Result], object]


def ignore(_result: Result) -> None:
    """Take a result and do nothing."""


class NoSink:
    """Takes frames and forgets them, where others have them already."""

    path = Path("nowhere")

    def write(self, frame: Frame) -> None:
        del frame

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass


class FileAccount:
    """Follows the frames of a pipeline, which loses none, into a ledger.

    Args:
        ledger: The account.
        model: Name of the network.
        on_result: Takes every frame that has ended and goes out.
    """

    def __init__(self, ledger: Ledger, model: str, on_result: OnResult = ignore) -> None:
        self.ledger = ledger
        self._model, self._on_result = model, on_result
        self._inside: dict[tuple[int, int], Frame] = {}
        self._lock = threading.Lock()

    def captured(self, frame: Frame) -> None:
        """Record that the source gave ``frame``."""
        with self._lock:
            self._inside[frame.epoch, frame.seq] = frame
            self.ledger.add_captured(frame)

    def ended(self, frame: Frame, restored: Pixels, started_ns: int, state: Terminal, reason: str = "") -> None:
        """Record how ``frame`` ended and that ``restored`` goes out for it."""
        now_ns = time.monotonic_ns()
        stages_ns = (("queue", started_ns - frame.t_capture_ns), ("network", now_ns - started_ns), ("hold", 0))
        result = Result(
            frame,
            restored,
            state,
            reason,
            self._model if state is Terminal.DEBLURRED else "",
            stages_ms=tuple((stage, duration_ns / 1e6) for stage, duration_ns in stages_ns),
        )
        with self._lock:
            del self._inside[frame.epoch, frame.seq]
            self.ledger.add_ended(result)
        self._on_result(result)

    def emitted(self, sink: str, frame: Frame) -> None:
        """Record that a sink took ``frame``."""
        self.ledger.add_emitted(sink, frame, (time.monotonic_ns() - frame.t_capture_ns) / 1e6)

    def finish(self) -> None:
        """Record that whatever is left was dropped; nothing comes afterwards."""
        with self._lock:
            left, self._inside = list(self._inside.values()), {}
            for frame in left:
                self.ledger.add_ended(Result(frame, frame.pixels, Terminal.DROPPED_SHUTDOWN))
        self.ledger.finish()
