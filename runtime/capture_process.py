"""Starting, feeding and ending the process that reads one camera or stream."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading

from .capture_channel import CaptureReceiver, Ended, Note
from .capture_request import CaptureRequest

_CHILD = "deblurrt.runtime.capture_child"

#: how long a process whose socket is closed may take to end before it is killed, seconds
GRACE_S = 2.0


class CaptureProcess:
    """One process, warm from the start: what it imports is loaded while it waits for ``begin``."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._connection = ours
        self._receiver = CaptureReceiver(ours)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", _CHILD, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                # Ctrl-C in a terminal is the parent's to handle.
                start_new_session=True,
            )
        self.take, self.release = self._receiver.take, self._receiver.release

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def begin(self, request: CaptureRequest) -> None:
        """Say what to read; a process that is gone already shows in ``receive``."""
        try:
            self._connection.sendall(request.to_bytes())
        except OSError:
            return

    def receive(self, timeout_s: float) -> Note | None:
        """Wait for the next note; None when there was none in time, ``Ended`` when the process is gone."""
        try:
            return self._receiver.receive(timeout_s)
        except EOFError:
            return Ended("over", self._fate())

    def end(self, grace_s: float = 0.0) -> None:
        """Hang up, and kill the process when it is not gone after ``grace_s``; twice is fine."""
        self._receiver.close()
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _fate(self) -> str:
        try:
            code = self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            return "the reading process hung up"
        if code < 0:
            return f"the reading process was ended by {signal.Signals(-code).name}"
        return f"the reading process ended with code {code}"


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
