"""Keeping frames away from a network that fails again and again."""

from __future__ import annotations

#: failures in a row until the network is left alone
FAILURES_MAX = 5
#: until it is tried again, and the most after failed tries
RETRY_NS = 1_000_000_000
RETRY_MOST_NS = 30_000_000_000


class Lockout:
    """Counts failures in a row; after ``FAILURES_MAX`` lets one frame through now and then.

    Attributes:
        failures: In a row, so far.
        reason: Of the last one.
    """

    def __init__(self) -> None:
        self.failures = 0
        self.reason = ""
        self._retry_after_ns = RETRY_NS
        self._retry_at_ns = 0

    @property
    def is_locked(self) -> bool:
        """Whether frames are kept away."""
        return self.failures >= FAILURES_MAX

    def allows(self, now_ns: int) -> bool:
        """Whether a frame may go to the network now."""
        return not self.is_locked or now_ns >= self._retry_at_ns

    def fail(self, reason: str, now_ns: int) -> None:
        """Record a failure."""
        self.failures += 1
        self.reason = reason
        if self.failures > FAILURES_MAX:
            self._retry_after_ns = min(2 * self._retry_after_ns, RETRY_MOST_NS)
        self._retry_at_ns = now_ns + self._retry_after_ns

    def clear(self) -> None:
        """Record a success."""
        self.failures, self.reason, self._retry_after_ns = 0, "", RETRY_NS
