"""Results on their way to a sink: a bounded queue that never makes the writer wait, and its thread."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from .pipeline import clean_up
from .terminal import Result

logger = logging.getLogger(__name__)

#: how long a sink may take to end: encoder and disk flush
CLOSE_S = 30.0

#: told when a result has reached a sink, in milliseconds from capture; None where it was skipped
OnEmitted = Callable[[str, Result, float | None], None]


class ResultSink(Protocol):
    """Takes results, in a thread of its own.

    Attributes:
        name: For reports, without credentials.
        queue_frames: Results that may wait for it.
        keeps_newest: When so many wait, whether the oldest makes room; else the new one is skipped.
    """

    name: str
    queue_frames: int
    keeps_newest: bool

    def write(self, result: Result) -> None:
        """Take one result; may wait, nobody else does."""

    def close(self) -> None:
        """End in order; closing twice is fine."""

    def give_up(self) -> None:
        """End after a failure; what is usable stays."""


@dataclass(frozen=True, slots=True)
class SinkCounts:
    """The account of one sink: ``handed = emitted + skipped + queued``.

    Attributes:
        handed: Results meant for it.
        emitted: Results it took.
        skipped: Results it was too slow for, or that came after it had failed.
        queued: Results on their way.
        error: Why it failed; empty where it did not.
    """

    handed: int
    emitted: int
    skipped: int
    queued: int
    error: str = ""

    @property
    def is_balanced(self) -> bool:
        """Whether nothing is lost."""
        return self.handed == self.emitted + self.skipped + self.queued


class Outbox:
    """A sink's queue; ``put`` never waits, ``get`` does.

    Args:
        sink: Name of the sink.
        queue_frames: Results that may wait.
        keeps_newest: Whether a full queue loses its oldest rather than the new one.
        on_emitted: Told of every result's end.
    """

    def __init__(self, sink: str, queue_frames: int, keeps_newest: bool, on_emitted: OnEmitted) -> None:
        self.sink = sink
        self.error = ""
        self._queue_frames, self._keeps_newest, self._on_emitted = queue_frames, keeps_newest, on_emitted
        self._queue: deque[Result] = deque()
        self._handed = self._emitted = self._skipped = self._in_hand = 0
        self._is_finished = False
        self._changed = threading.Condition()

    @property
    def counts(self) -> SinkCounts:
        """The account at this moment."""
        with self._changed:
            queued = len(self._queue) + self._in_hand
            return SinkCounts(self._handed, self._emitted, self._skipped, queued, self.error)

    def put(self, result: Result) -> None:
        """Take a result; where too many wait, one is skipped and counted."""
        skipped: Result | None = None
        with self._changed:
            self._handed += 1
            if self.error or self._is_finished:
                skipped = result
            elif len(self._queue) < self._queue_frames:
                self._queue.append(result)
            elif self._keeps_newest:
                skipped = self._queue.popleft()
                self._queue.append(result)
            else:
                skipped = result
            self._skipped += skipped is not None
            self._changed.notify()
        if skipped is not None:
            self._on_emitted(self.sink, skipped, None)

    def get(self, timeout_s: float | None = None) -> Result | None:
        """Wait for the next result; None at the end, or when nothing came in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._is_finished, timeout_s)
            self._in_hand += bool(self._queue)
            return self._queue.popleft() if self._queue else None

    def done(self, result: Result) -> None:
        """Record that the sink took the result it got."""
        with self._changed:
            if self.error:
                return
            self._emitted += 1
            self._in_hand -= 1
        emit_ms = (time.monotonic_ns() - result.frame.t_capture_ns) / 1e6
        self._on_emitted(self.sink, result, emit_ms)

    def fail(self, error: str) -> None:
        """Record that the sink failed; what it has in hand, what waits and what comes is skipped."""
        with self._changed:
            self.error = error
            left = list(self._queue)
            self._queue.clear()
            self._skipped += len(left) + self._in_hand
            self._in_hand = 0
        for result in left:
            self._on_emitted(self.sink, result, None)

    def finish(self) -> None:
        """Say that nothing more will be put; what waits is still handed out."""
        with self._changed:
            self._is_finished = True
            self._changed.notify_all()

    @property
    def is_over(self) -> bool:
        """Whether nothing waits and nothing will come."""
        with self._changed:
            return self._is_finished and not self._queue


class SinkThread:
    """Feeds one sink from its outbox; a sink that fails is left out and said so.

    Args:
        sink: The sink; closed at the end.
        on_emitted: Told of every result's end.
    """

    def __init__(self, sink: ResultSink, on_emitted: OnEmitted) -> None:
        self.outbox = Outbox(sink.name, sink.queue_frames, sink.keeps_newest, on_emitted)
        self._sink = sink
        self._thread = threading.Thread(target=self._feed, name=f"sink {sink.name}", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Say that nothing more will come; does not wait."""
        self.outbox.finish()

    def join(self, timeout_s: float = CLOSE_S) -> None:
        """Wait until the sink is closed; one that does not end in time has failed."""
        self._thread.join(timeout_s)
        if self._thread.is_alive() and not self.outbox.error:
            self.outbox.fail(f"it did not end within {timeout_s:.0f} s")

    def _feed(self) -> None:
        try:
            while (result := self.outbox.get()) is not None:
                self._sink.write(result)
                self.outbox.done(result)
            self._sink.close()
        except Exception as error:  # sinks may be anybody's; one must not end the others
            reason = str(error) or type(error).__name__
            logger.warning("sink %s failed, the others go on: %s", self._sink.name, reason)
            self.outbox.fail(reason)
            clean_up(self._sink.give_up)
