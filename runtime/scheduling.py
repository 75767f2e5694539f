"""Threads that wake in time: what Python and the operating system can do for it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

#: how long one thread may keep the others from running Python code; Python's own 5 ms are a late frame, and
#: a frame is handed on four times
SWITCH_INTERVAL_S = 0.0001
#: of the lowest real-time priorities: before everything ordinary, behind the system's own threads
PRIORITY = 10


@contextmanager
def prompt_switching() -> Iterator[None]:
    """Let threads of Python take turns quickly."""
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(min(before_s, SWITCH_INTERVAL_S))
    try:
        yield
    finally:
        sys.setswitchinterval(before_s)


def raise_priority() -> bool:
    """Give the calling thread real-time priority, for one that does next to nothing; whether it was allowed."""
    try:
        # RESET_ON_FORK: what such a thread starts is ordinary again
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(PRIORITY))
    except (AttributeError, OSError):
        return False
    return True
