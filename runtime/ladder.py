"""Which of several networks runs: a smaller one while the larger is too slow."""

from __future__ import annotations

from collections import deque

#: how far back frames are counted, and how many must have come
WINDOW_NS = 5_000_000_000
FRAMES_MIN = 20
#: share of frames without result from which a smaller network takes over
MISSED_MAX = 0.2
#: until the larger network is tried again, and the most after failed tries
RETRY_NS = 10_000_000_000
RETRY_MOST_NS = 160_000_000_000
#: a larger network that lasted this long is tried again as early as at first
HEALTHY_NS = 60_000_000_000
#: a larger network must be this much faster than needed
HEADROOM = 0.9


class Ladder:
    """Goes down a rung when too many frames stay without result, and up after a try that was fast enough.

    Args:
        rungs: Number of networks, largest first.

    Attributes:
        rung: The one in use, from 0.
    """

    def __init__(self, rungs: int) -> None:
        self.rung = 0
        self._rungs = rungs
        self._frames: deque[tuple[int, bool]] = deque()
        self._retry_after_ns = RETRY_NS
        self._retry_at_ns = self._up_at_ns = 0

    def observe(self, was_restored: bool, now_ns: int) -> bool:
        """Record a frame the network was wanted for; whether the rung changed."""
        if self.rung == self._rungs - 1:
            return False
        self._frames.append((now_ns, was_restored))
        while self._frames[0][0] < now_ns - WINDOW_NS:
            self._frames.popleft()
        missed = sum(not restored for _, restored in self._frames)
        is_too_slow = len(self._frames) >= FRAMES_MIN and missed > MISSED_MAX * len(self._frames)
        if not is_too_slow:
            return False
        if now_ns - self._up_at_ns > HEALTHY_NS:
            self._retry_after_ns = RETRY_NS
        self.rung += 1
        self._frames.clear()
        self._retry_at_ns = now_ns + self._retry_after_ns
        return True

    def wants_retry(self, now_ns: int) -> bool:
        """Whether one frame should try the next larger network."""
        return self.rung > 0 and now_ns >= self._retry_at_ns

    def retried(self, service_ns: int | None, needed_ns: int | None, now_ns: int) -> bool:
        """Record a try: how long it took, None where it failed, and how fast it must be; whether the rung changed."""
        is_fast_enough = service_ns is not None and (needed_ns is None or service_ns <= HEADROOM * needed_ns)
        # doubled either way: a network that is taken up and given up again is tried less often
        self._retry_after_ns = min(2 * self._retry_after_ns, RETRY_MOST_NS)
        self._retry_at_ns = now_ns + self._retry_after_ns
        if is_fast_enough:
            self.rung -= 1
            self._up_at_ns = now_ns
            self._frames.clear()
        return is_fast_enough
