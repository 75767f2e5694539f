"""When a source gave frames and when it did not: what stalls and losses cost, in seconds."""

from __future__ import annotations

from .jitter import Jitter

#: a source stalls where no frame came for so long, and for so many periods
STALL_NS = 250_000_000
STALL_PERIODS = 3


class SourceAccount:
    """Follows one source; times are nanoseconds of ``time.monotonic_ns()``, or of a test's own clock.

    Args:
        began_ns: When the run began.

    Attributes:
        began_ns: When the run began.
        period_ns: Between two frames, as the source says or usually; stalls are counted against it.
        arrivals: How regularly frames came.
    """

    def __init__(self, began_ns: int) -> None:
        self.began_ns = began_ns
        self.period_ns = 0
        self.arrivals = Jitter()
        self._first_ns: int | None = None
        self._last_ns = began_ns
        self._lost_ns: int | None = None
        self._ended_ns: int | None = None
        self._deblurred_ns: int | None = None
        self._stalls = 0
        self._stalled_ns = 0
        self._recovered_ns: int | None = None
        self._slowest_ns: int | None = None

    def saw_frame(self, captured_ns: int, epoch: int) -> None:
        """Record a frame."""
        if self._first_ns is None:
            self._first_ns = captured_ns
        elif captured_ns - self._last_ns > self._limit_ns:
            self._stalls += 1
            self._stalled_ns += captured_ns - self._last_ns
        if self._lost_ns is not None:
            self._recovered_ns = max(captured_ns - self._lost_ns, 0)
            self._slowest_ns = max(self._slowest_ns or 0, self._recovered_ns)
            self._lost_ns = None
        self._last_ns = captured_ns
        self.arrivals.add(captured_ns, epoch)

    def saw_deblurred(self, out_ns: int) -> None:
        """Record that a restored frame went out."""
        self._deblurred_ns = out_ns if self._deblurred_ns is None else self._deblurred_ns

    def saw_loss(self, now_ns: int) -> None:
        """Record that the source was lost and is looked for; again before its next frame changes nothing."""
        if self._lost_ns is None and self._first_ns is not None:
            self._lost_ns = now_ns

    def finish(self, now_ns: int) -> None:
        """Record that nothing more is expected; the first time counts."""
        self._ended_ns = now_ns if self._ended_ns is None else self._ended_ns

    def to_dict(self, now_ns: int) -> dict[str, float | int | dict[str, float | None] | None]:
        """The account at ``now_ns``; a stall that goes on is in it, None is what has not happened."""
        open_ns = (now_ns if self._ended_ns is None else self._ended_ns) - self._last_ns
        is_stalled = self._first_ns is not None and open_ns > self._limit_ns
        return {
            "time_to_first_frame_s": self._since_begin_s(self._first_ns),
            "time_to_first_deblurred_s": self._since_begin_s(self._deblurred_ns),
            "stalls": self._stalls + is_stalled,
            "stall_s": _seconds(self._stalled_ns + (open_ns if is_stalled else 0)),
            "time_to_recover_s": {"last": _seconds(self._recovered_ns), "worst": _seconds(self._slowest_ns)},
            "jitter_ms": self.arrivals.to_dict(),
        }

    @property
    def _limit_ns(self) -> int:
        """Time without a frame that is a stall."""
        return max(STALL_NS, STALL_PERIODS * self.period_ns)

    def _since_begin_s(self, time_ns: int | None) -> float | None:
        return None if time_ns is None else _seconds(max(time_ns - self.began_ns, 0))


def _seconds(time_ns: int | None) -> float | None:
    return None if time_ns is None else round(time_ns / 1e9, 4)
