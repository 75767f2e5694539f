"""How late threads wake on this machine, and how much earlier frames go out therefore."""

from __future__ import annotations

from collections import deque

#: wakings remembered: three seconds of a camera
WINDOW = 100
#: wakings until anything is said
LEAST_WAKINGS = 20
#: the share of wakings that must be in time
PERCENTILE = 0.99
#: from waking until the last of the frames that are due has gone out
WORK_NS = 300_000
#: what is said at least and at most: an idle machine, and one too busy to be worth waiting for
LEAST_NS, MOST_NS = 500_000, 3_000_000


class WakeLateness:
    """Learns from wakings how long before its deadline a frame must be let out."""

    def __init__(self) -> None:
        self._late_ns: deque[int] = deque(maxlen=WINDOW)

    def add(self, late_ns: int) -> None:
        """Record that a thread woke ``late_ns`` after it should have."""
        self._late_ns.append(late_ns)

    @property
    def guard_ns(self) -> int | None:
        """Time to keep before deadlines; None while too little is known."""
        if len(self._late_ns) < LEAST_WAKINGS:
            return None
        usual_ns = sorted(self._late_ns)[int(PERCENTILE * (len(self._late_ns) - 1))]
        return min(max(usual_ns + WORK_NS, LEAST_NS), MOST_NS)
