"""Whether this machine is quiet enough to measure time."""

from __future__ import annotations

import os
import time


def busy_reason() -> str:
    """Why times measured now would say more of the machine than of the program; empty where it is quiet.

    Other programs are not in the way of one with real-time priority (``chrt -f 5 …``).
    """
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    has_priority = os.sched_getscheduler(0) != os.SCHED_OTHER
    if load > cores and not has_priority:
        return f"{load:.1f} programs want to run on {cores} cores"
    late_ms = _late_ms()
    return f"it wakes up {late_ms:.0f} ms late" if late_ms > 5 else ""


def _late_ms() -> float:
    """How late a sleeper is woken, the worst but one of 100."""
    late = []
    for _ in range(100):
        began_s = time.monotonic()
        time.sleep(0.002)
        late.append((time.monotonic() - began_s - 0.002) * 1000)
    return sorted(late)[-2]
