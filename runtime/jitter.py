"""How regularly frames follow each other."""

from __future__ import annotations

import math


class Jitter:
    """Frame-to-frame jitter as ros2_benchmark has it: the absolute second difference of times.

    Three frames of one epoch make a value; the time between epochs is no jitter.
    """

    def __init__(self) -> None:
        self._count = 0
        self._max_ms = self._mean_ms = self._squares_ms = 0.0
        self._epoch: int | None = None
        self._last_ns: int | None = None
        self._distance_ns: int | None = None

    def add(self, time_ns: int, epoch: int) -> None:
        """Record the next frame."""
        if epoch != self._epoch:
            self._epoch, self._last_ns, self._distance_ns = epoch, None, None
        if self._last_ns is not None:
            before_ns, self._distance_ns = self._distance_ns, time_ns - self._last_ns
            if before_ns is not None:
                self._add_value(abs(self._distance_ns - before_ns) / 1e6)
        self._last_ns = time_ns

    def to_dict(self) -> dict[str, float | None]:
        """``max``, ``mean`` and ``std`` (of all values), milliseconds; None before the third frame."""
        count = self._count
        if not count:
            return {"max": None, "mean": None, "std": None}
        deviation_ms = math.sqrt(self._squares_ms / count)
        return {"max": round(self._max_ms, 3), "mean": round(self._mean_ms, 3), "std": round(deviation_ms, 3)}

    def _add_value(self, jitter_ms: float) -> None:
        """Welford's running mean and sum of squared deviations."""
        self._count += 1
        self._max_ms = max(self._max_ms, jitter_ms)
        from_before_ms = jitter_ms - self._mean_ms
        self._mean_ms += from_before_ms / self._count
        self._squares_ms += from_before_ms * (jitter_ms - self._mean_ms)
