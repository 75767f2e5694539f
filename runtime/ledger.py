"""The account of a stream: what became of every frame, per frame and in numbers."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from .frame import Frame
from .jitter import Jitter
from .latency import LatencyRecorder
from .source_account import SourceAccount
from .terminal import Result, Terminal

#: takes one line of the ledger, a mapping for JSON
WriteLine = Callable[[dict[str, Any]], None]


class Ledger:
    """Counts one stream's frames by terminal state, and writes a line for each.

    A line is written when the frame has ended and every sink has taken or skipped it.

    Args:
        stream: Name of the source.
        sinks: Names of the sinks that get its frames.
        write_line: Takes the lines; None writes none.

    Attributes:
        captured: Frames the source gave.
        states: Frames by terminal state.
        missed: Frames that went out after their deadline.
        epochs: Connections and formats seen.
        latency: From capture to going out, and per stage.
        emitted: From capture to having been taken, per sink.
        emitted_late: Frames each sink had taken after their deadline.
        departures: How regularly frames went out.
        source: When the source gave frames and when not.
        events: What happened to the source, by kind.
        lost_before: Frames that the source knows it missed or withheld.
    """

    def __init__(self, stream: str, sinks: Sequence[str] = (), write_line: WriteLine | None = None) -> None:
        self.stream = stream
        self.captured = self.missed = self.epochs = self.lost_before = 0
        self.states: Counter[Terminal] = Counter()
        self.events: Counter[str] = Counter()
        self.latency, self.emitted = LatencyRecorder(), LatencyRecorder()
        self.emitted_late: Counter[str] = Counter()
        self.departures = Jitter()
        self.source = SourceAccount(time.monotonic_ns())
        self._sinks = tuple(sinks)
        self._write_line = write_line
        self._waiting: dict[tuple[int, int], tuple[dict[str, Any], set[str]]] = {}
        self._epoch: int | None = None
        self._last_out: tuple[int, int] = (-1, -1)
        self._out_of_order = 0
        self._lock = threading.Lock()

    def add_captured(self, frame: Frame) -> None:
        """Record that the source gave ``frame``."""
        self.captured += 1
        self.epochs += frame.epoch != self._epoch
        self._epoch = frame.epoch
        self.source.saw_frame(frame.t_capture_ns, frame.epoch)

    def add_ended(self, result: Result) -> None:
        """Record how a frame ended; called once per frame, in order."""
        self.states[result.state] += 1
        frame = result.frame
        if not result.state.is_dropped:
            self._out_of_order += (frame.epoch, frame.seq) <= self._last_out
            self._last_out = frame.epoch, frame.seq
            self._add_times(result)
        if self._write_line is None:
            return
        line = _line(self.stream, result)
        if result.state.is_dropped or not self._sinks:
            self._write_line(line)
            return
        with self._lock:
            self._waiting[frame.epoch, frame.seq] = line, set(self._sinks)

    def add_emitted(self, sink: str, frame: Frame, emit_ms: float | None, deadline_ns: int | None = None) -> None:
        """Record when ``sink`` had taken a frame, from capture; None where it was skipped."""
        if emit_ms is not None:
            self.emitted.add(sink, emit_ms / 1e3)
            is_late = deadline_ns is not None and emit_ms * 1e6 > deadline_ns - frame.t_capture_ns
            self.emitted_late[sink] += is_late
        with self._lock:
            line, missing = self._waiting.get((frame.epoch, frame.seq), ({}, set()))
            if sink not in missing:
                return
            line["emit_ms"][sink] = None if emit_ms is None else round(emit_ms, 3)
            missing.discard(sink)
            if missing:
                return
            del self._waiting[frame.epoch, frame.seq]
        if self._write_line is not None:
            self._write_line(line)

    def finish(self) -> None:
        """Write the lines of frames a sink never answered for."""
        with self._lock:
            left, self._waiting = self._waiting, {}
        for line, missing in left.values():
            line["emit_ms"] |= dict.fromkeys(missing)
            if self._write_line is not None:
                self._write_line(line)

    def imbalance(self, inside: int) -> str | None:
        """Check the account while ``inside`` frames have not ended; None where it balances."""
        ended = sum(self.states.values())
        if self.captured != ended + inside:
            return f"{self.stream}: {self.captured} frames captured, {ended} ended and {inside} inside"
        if self._out_of_order:
            return f"{self.stream}: {self._out_of_order} frames went out behind a later one"
        return None

    def _add_times(self, result: Result) -> None:
        total_ms = result.total_ms
        self.latency.add("total", total_ms / 1e3)
        for stage, duration_ms in result.stages_ms:
            if stage != "network" or result.state is Terminal.DEBLURRED:
                self.latency.add(stage, duration_ms / 1e3)
        out_ns = result.frame.t_capture_ns + round(total_ms * 1e6)
        self.departures.add(out_ns, result.frame.epoch)
        if result.state is Terminal.DEBLURRED:
            self.source.saw_deblurred(out_ns)
        if result.deadline_ns is not None:
            self.missed += total_ms * 1e6 > result.deadline_ns - result.frame.t_capture_ns


def _line(stream: str, result: Result) -> dict[str, Any]:
    frame = result.frame
    line: dict[str, Any] = {
        "stream": stream,
        "epoch": frame.epoch,
        "seq": frame.seq,
        "state": result.state.name,
        "reason": result.reason,
        "pts": frame.pts,
        "t_capture_ns": frame.t_capture_ns,
        "stages_ms": {stage: round(duration_ms, 3) for stage, duration_ms in result.stages_ms},
        "emit_ms": {},
    }
    return line | ({"frozen": True} if frame.is_frozen else {})
