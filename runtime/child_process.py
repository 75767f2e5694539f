"""A module run as a process of its own: how it starts, and how it ends, at the latest with us."""

from __future__ import annotations

import ctypes
import logging
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

#: how long a process whose socket is closed may take to end before it is killed, seconds
GRACE_S = 2.0
#: how long a killed process may take to be gone, seconds; one that hangs inside a driver never is
KILLED_S = 5.0
#: of Linux's prctl
PR_SET_PDEATHSIG = 1

_MAX_LINE_BYTES = 65536

logger = logging.getLogger(__name__)

#: starts the process with its outputs at a place of ``subprocess``
_Start = Callable[[int], "subprocess.Popen[bytes]"]


class ChildProcess:
    """One process of ours with a socket to it; it is given the socket's number and ours.

    Args:
        module: Run with ``-m``.
        take_line: Takes every line the process prints, in a thread of its own; None throws them away.

    Attributes:
        connection: Our end of the socket; messages keep their borders.
    """

    def __init__(self, module: str, take_line: Callable[[str], None] | None = None) -> None:
        self.connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:

            def start(output: int) -> subprocess.Popen[bytes]:
                return subprocess.Popen(
                    [sys.executable, "-m", module, str(theirs.fileno()), str(os.getpid())],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=(theirs.fileno(),),
                    # Ctrl-C in a terminal is the parent's to handle.
                    start_new_session=True,
                )

            try:
                self._process = start(subprocess.DEVNULL) if take_line is None else _start_and_listen(start, take_line)
            except BaseException:
                self.connection.close()
                raise

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def fate(self) -> str:
        """Say how the process ended, once it has hung up: ``was ended by SIGKILL``."""
        try:
            code = self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            return "hung up"
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"

    def kill(self) -> None:
        """End the process at once; from any thread, and twice is fine."""
        self._process.kill()

    def end(self, grace_s: float = 0.0) -> None:
        """Hang up, and kill the process when it is not gone after ``grace_s``; twice is fine."""
        self.connection.close()
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._wait_for_killed()

    def _wait_for_killed(self) -> None:
        try:
            self._process.wait(KILLED_S)
        except subprocess.TimeoutExpired:
            logger.warning("process %d cannot be ended: it hangs inside a driver", self._process.pid)


def end_with_parent(parent: int) -> None:
    """Have Linux end this process with the thread that started it; ``parent`` is the number of its process."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _start_and_listen(start: _Start, take_line: Callable[[str], None]) -> subprocess.Popen[bytes]:
    """Start a process from a thread that lives as long as the process does, for ``end_with_parent``."""
    started: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def listen() -> None:
        try:
            process = start(subprocess.PIPE)
        except BaseException as error:  # handed to the caller
            started.put(error)
            return
        started.put(process)
        assert process.stdout is not None
        with process.stdout as lines:
            while line := lines.readline(_MAX_LINE_BYTES):
                take_line(line.decode(errors="replace").rstrip())
        process.wait()

    threading.Thread(target=listen, name="lines of a process", daemon=True).start()
    process = started.get()
    if isinstance(process, BaseException):
        raise process
    assert isinstance(process, subprocess.Popen)
    return process
