"""Starting, feeding and ending the process that reads one camera or stream."""

from __future__ import annotations

import threading

from .capture_channel import CaptureReceiver, Ended, Note
from .capture_request import CaptureRequest
from .child_process import ChildProcess

_CHILD = "deblurrt.runtime.capture_child"


class CaptureProcess:
    """One process, warm from the start: what it imports is loaded while it waits for ``begin``."""

    def __init__(self) -> None:
        self._child = ChildProcess(_CHILD)
        self._receiver = CaptureReceiver(self._child.connection)
        self.take, self.release = self._receiver.take, self._receiver.release

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._child.pid

    def begin(self, request: CaptureRequest) -> None:
        """Say what to read; a process that is gone already shows in ``receive``."""
        try:
            self._child.connection.sendall(request.to_bytes())
        except OSError:
            return

    def receive(self, timeout_s: float) -> Note | None:
        """Wait for the next note; None when there was none in time, ``Ended`` when the process is gone."""
        try:
            return self._receiver.receive(timeout_s)
        except EOFError:
            return Ended("over", f"the reading process {self._child.fate()}")

    def end(self, grace_s: float = 0.0) -> None:
        """Hang up, and kill the process when it is not gone after ``grace_s``; twice is fine."""
        self._receiver.close()
        self._child.end(grace_s)


class SpareProcess:
    """Keeps one warm process at hand while it is wanted, so that a reconnect need not wait for one."""

    def __init__(self) -> None:
        self._spare: CaptureProcess | None = None
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """Start a spare process if there is none."""
        with self._lock:
            if self._spare is None:
                self._spare = CaptureProcess()

    def take(self) -> CaptureProcess:
        """Give the spare process, or a new one."""
        with self._lock:
            spare, self._spare = self._spare, None
        return spare or CaptureProcess()

    def close(self) -> None:
        """End a spare nobody took."""
        with self._lock:
            spare, self._spare = self._spare, None
        if spare is not None:
            spare.end()
