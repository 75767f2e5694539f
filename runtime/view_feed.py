"""What a viewer is shown: the newest frame of each stream, what became of the last ones, the status."""

from __future__ import annotations

import json
import math
import threading
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .frame import Pixels

#: outcomes remembered for the latency chart; ten seconds at 60 frames per second
REMEMBERED = 600

#: upper bounds of the latency histogram, milliseconds; around the periods of 120 to 10 frames per second
LATENCY_BOUNDS_MS = (2.0, 5.0, 8.0, 12.0, 17.0, 25.0, 34.0, 50.0, 67.0, 100.0, 200.0, 500.0, 1000.0)


@dataclass(frozen=True, slots=True, eq=False)
class ViewUpdate:
    """One frame that reached its end.

    Attributes:
        stream: Name of its source, without credentials.
        seq: Its number there.
        untouched: ``uint8 [height, width, 3]`` RGB as captured; nobody writes into it afterwards.
        restored: The network's picture, which may be larger; None where the untouched one went out.
        state: Terminal state, such as ``deblurred`` or ``pass_deadline``.
        reason: Why, for people; empty where the state says it all.
        latency_ms: From capture to the end; None where unknown.
        deadline_ms: Allowed latency; None without a deadline.
        t_capture_ns: ``time.monotonic_ns()`` of the capture.
    """

    stream: str
    seq: int
    untouched: Pixels
    restored: Pixels | None
    state: str
    reason: str
    latency_ms: float | None
    deadline_ms: float | None
    t_capture_ns: int


#: number of the outcome in its stream, state, latency and deadline in milliseconds
Outcome = tuple[int, str, float | None, float | None]


@dataclass(frozen=True, slots=True)
class StreamTotals:
    """Sums over all frames of one stream.

    Attributes:
        states: Frames by terminal state.
        latency_counts: Frames by bucket of ``LATENCY_BOUNDS_MS``, the last one beyond.
        latency_sum_ms: Sum of all latencies.
        deadline_ms: Of the last frame.
        t_capture_ns: Of the last frame.
    """

    states: Mapping[str, int]
    latency_counts: tuple[int, ...]
    latency_sum_ms: float
    deadline_ms: float | None
    t_capture_ns: int


@dataclass(slots=True)
class _Stream:
    latest: ViewUpdate
    version: int = 0
    outcomes: deque[Outcome] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    states: Counter[str] = field(default_factory=Counter)
    latency_counts: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BOUNDS_MS) + 1))
    latency_sum_ms: float = 0.0

    def add(self, update: ViewUpdate) -> None:
        self.latest = update
        self.version += 1
        latency_ms = _finite(update.latency_ms)
        self.outcomes.append((self.version, update.state, latency_ms, _finite(update.deadline_ms)))
        self.states[update.state] += 1
        if latency_ms is not None:
            self.latency_counts[bisect_left(LATENCY_BOUNDS_MS, latency_ms)] += 1
            self.latency_sum_ms += latency_ms


class ViewFeed:
    """Holds the newest of everything between the thread that makes frames and the one that shows them.

    Writing replaces; nobody ever waits for a reader.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._streams: dict[str, _Stream] = {}
        self._status: tuple[int, dict[str, Any]] = (0, {})
        self._on_change: Callable[[], None] | None = None

    def watch(self, on_change: Callable[[], None] | None) -> None:
        """Call ``on_change``, which must not wait, after every change; None ends it."""
        self._on_change = on_change

    def put(self, update: ViewUpdate) -> None:
        """Replace the newest frame of its stream and count it."""
        with self._lock:
            stream = self._streams.get(update.stream)
            if stream is None:
                stream = self._streams[update.stream] = _Stream(update)
            stream.add(update)
        self._changed()

    def put_status(self, status: Mapping[str, Any]) -> None:
        """Replace the status; values JSON does not know become text."""
        plain = json.loads(json.dumps(_without_nan(status), default=str))
        with self._lock:
            self._status = (self._status[0] + 1, plain)
        self._changed()

    @property
    def streams(self) -> list[str]:
        """Names of the streams that had a frame, in order of their first."""
        with self._lock:
            return list(self._streams)

    @property
    def status(self) -> tuple[int, dict[str, Any]]:
        """Version and content of the status; version 0 before the first."""
        with self._lock:
            return self._status

    def version(self, stream: str) -> int:
        """Frames the stream has had; 0 where it is not known."""
        with self._lock:
            return self._streams[stream].version if stream in self._streams else 0

    def latest(self, stream: str) -> tuple[int, ViewUpdate] | None:
        """Version and newest frame of a stream; None where it has had none."""
        with self._lock:
            known = self._streams.get(stream)
            return None if known is None else (known.version, known.latest)

    def outcomes_since(self, stream: str, version: int) -> list[Outcome]:
        """What became of the frames after ``version``, oldest first, as far as remembered."""
        with self._lock:
            known = self._streams.get(stream)
            if known is None:
                return []
            count = min(known.version - version, len(known.outcomes))
            return [known.outcomes[index] for index in range(len(known.outcomes) - count, len(known.outcomes))]

    def totals(self) -> dict[str, StreamTotals]:
        """Sums by stream."""
        with self._lock:
            return {
                name: StreamTotals(
                    states=dict(known.states),
                    latency_counts=tuple(known.latency_counts),
                    latency_sum_ms=known.latency_sum_ms,
                    deadline_ms=known.latest.deadline_ms,
                    t_capture_ns=known.latest.t_capture_ns,
                )
                for name, known in self._streams.items()
            }

    def forget_pictures(self) -> None:
        """Let go of the pictures' memory; counts stay."""
        with self._lock:
            for known in self._streams.values():
                empty = known.latest.untouched[:0, :0]
                known.latest = replace(known.latest, untouched=empty, restored=None)

    def _changed(self) -> None:
        if self._on_change is not None:
            self._on_change()


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), 3)


def _without_nan(value: Any) -> Any:
    """Copy nested plain values with None for the numbers JSON cannot hold."""
    if isinstance(value, Mapping):
        return {str(key): _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
