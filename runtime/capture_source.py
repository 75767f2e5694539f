"""Cameras and streams read by a process of their own, watched, replaced when they stop."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from .capture_channel import Alive, Corrupt, Ended, FrameFormat, FrameNote
from .capture_process import CaptureProcess, SpareProcess
from .capture_request import CaptureRequest
from .color import HD_HEIGHT_PX
from .frame import Frame, Pixels
from .frozen_watch import FrozenWatch
from .live_source import EventKind, SourceEvent
from .source_health import Backoff, GapCounter, HealthLimits, StallWatch, is_believable
from .source_inbox import TOO_SLOW, SourceInbox

logger = logging.getLogger(__name__)

#: how often the port of a server that was gone is tried, and how long a try may take, seconds
_PROBE_EVERY_S, _PROBE_TIMEOUT_S = 0.25, 0.5

#: how often the thread looks whether it shall end, seconds
_LOOK_S = 0.1

#: time for telling a server good-bye when the source is closed, seconds
_GOODBYE_S = 0.5


@dataclass(frozen=True, slots=True)
class CaptureConfig:
    """One camera or stream and how it is watched.

    Attributes:
        name: URI without credentials.
        request: What the process is told.
        fps: What the user asked for; None where the stream decides.
        address: Host and port whose opening shows that a server is back; None for devices.
        attempts: Connections tried in a row without a frame before giving up; None for ever.
        limits: Stall threshold and waits.
        grace_s: Time a process gets to let go of the device before it is killed.
        fallback: The same for another reader, which takes turns with the first until one gives a frame.
        reconnects_frozen: Whether one that repeats a picture for ever is connected anew.
    """

    name: str
    request: CaptureRequest
    fps: float | None = None
    address: tuple[str, int] | None = None
    attempts: int | None = None
    limits: HealthLimits = field(default_factory=HealthLimits)
    grace_s: float = 0.0
    fallback: CaptureRequest | None = None
    reconnects_frozen: bool = False


class CaptureSource:
    """Gives the frames of one camera or stream for as long as it is open, through losses and returns.

    A thread supervises the process that reads: it replaces it when frames stop or the stream ends,
    which for something live is a fault like any other, and waits longer after each attempt in vain.
    Only what a retry cannot change ends the source: a refused password, a stream that was never there,
    a coding nothing decodes, or ``attempts`` in vain.

    Args:
        config: What to read.
        start_process: Makes a process to read with.

    Attributes:
        inbox: What ``read`` has not given yet.
        observed_fps: Frames per second as they come; None before enough of them came.
    """

    def __init__(self, config: CaptureConfig, start_process: Callable[[], CaptureProcess] | None = None) -> None:
        self.name, self.is_live = config.name, True
        self._config = config
        self._spare = SpareProcess()
        self._take_process = start_process or self._spare.take
        self.inbox = SourceInbox(config.name)
        self._closed = threading.Event()
        self._fps = config.fps
        self.observed_fps: float | None = None
        self._epoch = -1
        self._reader = ""
        self._unfit: set[str] = set()
        self._thread = threading.Thread(target=self._supervise, name=f"source {config.name}", daemon=True)
        self._thread.start()

    @property
    def fps(self) -> float | None:
        return self._fps or self.observed_fps

    @property
    def reader(self) -> str:
        """Who reads, with its version; empty before the first frame."""
        return self._reader

    def read(self, timeout_s: float) -> Frame | SourceEvent | None:
        return self.inbox.get(timeout_s)

    def close(self) -> None:
        self._closed.set()
        self.inbox.close()
        if threading.current_thread() is not self._thread:
            self._thread.join(self._config.grace_s + 5.0)

    def _supervise(self) -> None:
        try:
            self._connect_for_ever()
        except Exception as error:
            logger.exception("%s: the thread that watches it ended", self.name)
            self._say("failed", f"defect while reading: {type(error).__name__}")
        finally:
            self._spare.close()
            self.inbox.finish()

    def _connect_for_ever(self) -> None:
        backoff = Backoff(self._config.limits)
        in_vain = 0
        while not self._closed.is_set():
            connection = _Connection(self, self._config, self.inbox)
            ended = self._attempt(connection)
            if self._closed.is_set():
                return
            in_vain = 0 if connection.has_streamed else in_vain + 1
            if self._is_final(ended, in_vain):
                self._say("failed", ended.reason)
                return
            if not in_vain or (in_vain == 1 and self._epoch < 0):
                self._say("lost", ended.reason)
            self._swap_readers()
            self._spare.prepare()
            self._wait_to_retry(backoff.after(connection.streamed_s))
            if not self._closed.is_set():
                self._say("reconnecting", f"attempt {in_vain + 1}, since {ended.reason.rstrip('.')}")

    def _attempt(self, connection: _Connection) -> Ended:
        process = self._take_process()
        is_lost = True
        try:
            ended = connection.run(process, self._closed)
            is_lost = not self._closed.is_set()
            return ended
        finally:
            process.end(self._config.grace_s if is_lost else max(self._config.grace_s, _GOODBYE_S))

    def _is_final(self, ended: Ended, in_vain: int) -> bool:
        """Whether trying again cannot help; a stream that was there once may come back under its name."""
        if ended.cause == "unsupported":
            self._unfit.add(self._config.request.reader)
            fallback = self._config.fallback
            return self._epoch >= 0 or fallback is None or fallback.reader in self._unfit
        never_there = self._epoch < 0 and ended.cause == "missing"
        exhausted = self._config.attempts is not None and in_vain >= self._config.attempts
        return never_there or exhausted or ended.cause == "refused"

    def _swap_readers(self) -> None:
        """Let the other reader try as long as neither gave a frame."""
        fallback = self._config.fallback
        if fallback is not None and self._epoch < 0:
            self._config = replace(self._config, request=fallback, fallback=self._config.request)

    def _wait_to_retry(self, wait_s: float) -> None:
        """Wait; less where a port that was closed opens."""
        until_s = time.monotonic() + wait_s
        address = self._config.address
        is_gone = address is not None and not _answers(address)
        while (left_s := until_s - time.monotonic()) > 0:
            if self._closed.wait(min(left_s, _PROBE_EVERY_S if is_gone else left_s)):
                return
            if is_gone and address is not None and _answers(address):
                return

    def begin_epoch(self, described: FrameFormat, *, is_new_connection: bool) -> int:
        """Count an epoch and tell the listener why it began."""
        self._epoch += 1
        self._reader = described.reader
        self._fps = self._config.fps or (described.fps if is_believable(described.fps) else None)
        height, width = described.size
        if described.color.is_assumed and height >= HD_HEIGHT_PX:
            logger.warning("%s does not name its colour matrix; taken as BT.709 (--untagged-matrix)", self.name)
        text = f"{height}x{width} {described.coding}"
        if is_new_connection:
            self._say("opened", f"{text} through {described.reader}")
        else:
            self._say("epoch", f"frames are {text} now")
        return self._epoch

    def _say(self, kind: EventKind, reason: str) -> None:
        self.inbox.put(SourceEvent(kind, f"{self.name}: {reason}", max(self._epoch, 0)))


class _Connection:
    """One attempt, from the start of its process to the end of its frames."""

    def __init__(self, source: CaptureSource, config: CaptureConfig, inbox: SourceInbox) -> None:
        self._source, self._config, self._inbox = source, config, inbox
        self._watch = StallWatch(config.limits, config.fps, time.monotonic())
        self._gaps, self._frozen = GapCounter(), FrozenWatch()
        self._format: FrameFormat | None = None
        self._began_s: float | None = None
        self._epoch = self._seq = self._withheld = 0

    @property
    def has_streamed(self) -> bool:
        """Whether a frame came."""
        return self._began_s is not None

    @property
    def streamed_s(self) -> float:
        """Time since the first frame; 0 before."""
        return 0.0 if self._began_s is None else time.monotonic() - self._began_s

    def run(self, process: CaptureProcess, closed: threading.Event) -> Ended:
        """Take notes until the stream is over, stalls, or ``closed`` is set."""
        process.begin(self._config.request)
        while not closed.is_set():
            remaining_s = self._watch.remaining_s(time.monotonic())
            if remaining_s <= 0:
                return Ended("over", self._stall_reason())
            note = process.receive(min(remaining_s, _LOOK_S))
            if isinstance(note, Ended):
                return note
            if isinstance(note, FrameFormat):
                self._begin(note)
            elif isinstance(note, FrameNote):
                self._deliver(note, process)
                if self._frozen.is_frozen and self._config.reconnects_frozen:
                    return Ended("over", f"{self._frozen.repeats} times the same picture")
            elif isinstance(note, Alive):
                self._watch.saw_life(time.monotonic())
            elif isinstance(note, Corrupt):
                self._withheld += note.count
                self._watch.saw_life(time.monotonic())
                reason = f"{self._config.name}: damaged frames were withheld"
                self._inbox.put(SourceEvent("corrupt", reason, self._epoch, note.count))
        return Ended("over", "closed")

    def _stall_reason(self) -> str:
        limit_s = self._watch.limit_s
        if self._began_s is None:
            return f"no frame within {limit_s:.1f} s of connecting"
        return f"no frame for {limit_s:.1f} s"

    def _begin(self, described: FrameFormat) -> None:
        is_new = self._format is None
        if is_new:
            self._watch = StallWatch(self._config.limits, self._config.fps or described.fps, time.monotonic())
        self._format, self._seq, self._frozen = described, 0, FrozenWatch()
        self._epoch = self._source.begin_epoch(described, is_new_connection=is_new)

    def _deliver(self, note: FrameNote, process: CaptureProcess) -> None:
        assert self._format is not None
        now_s = time.monotonic()
        if self._began_s is None:
            self._began_s = now_s
        self._watch.saw_frame(now_s)
        self._source.observed_fps = self._watch.observed_fps
        time_base = self._format.time_base
        time_s = None if note.pts is None or time_base is None else float(note.pts * time_base)
        missed = max(self._gaps.missed_before(time_s) - note.skipped - self._withheld, 0)
        self._withheld = 0
        self._inbox.put_gap("frames were missing in the stream", self._epoch, missed)
        self._inbox.put_gap(TOO_SLOW, self._epoch, note.skipped)
        pixels = process.take(note)
        self._look_whether_frozen(pixels)
        self._inbox.put(
            Frame(
                pixels=pixels,
                seq=self._seq,
                t_capture_ns=note.t_capture_ns,
                stream=self._config.name,
                epoch=self._epoch,
                pts=note.pts,
                time_base=time_base,
                color=self._format.color,
                is_frozen=self._frozen.is_frozen,
            )
        )
        self._seq += 1

    def _look_whether_frozen(self, pixels: Pixels) -> None:
        change = self._frozen.saw(pixels)
        if change is not None:
            repeats = self._frozen.repeats if change == "frozen" else 0
            reason = f"{repeats} times the same picture, it may hang" if repeats else "pictures change again"
            self._inbox.put(SourceEvent(change, f"{self._config.name}: {reason}", self._epoch, repeats))


def _answers(address: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(address, _PROBE_TIMEOUT_S):
            return True
    except OSError:
        return False
