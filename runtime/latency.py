"""How long frames take: a recorder of fixed size and the report it writes."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

#: bucket edges grow by one per cent, from a microsecond to over an hour
GROWTH = 1.01
SMALLEST_MS = 1e-3
BUCKETS = 2220

PERCENTILES = (50, 90, 99)


@dataclass(frozen=True, slots=True)
class LatencyReport:
    """Latency of one stage, milliseconds.

    Attributes:
        count: Frames observed.
        p50: Median; percentiles are exact to one per cent or a microsecond, None where there are
            too few frames.
        p90: 90th percentile.
        p99: 99th percentile.
        max: Slowest, exact.
    """

    count: int
    p50: float | None
    p90: float | None
    p99: float | None
    max: float

    def to_dict(self) -> dict[str, float | int | None]:
        """Plain values for JSON."""
        return {"count": self.count, "p50": self.p50, "p90": self.p90, "p99": self.p99, "max": self.max}


@dataclass(slots=True)
class LatencyRecorder:
    """Counts durations in buckets of fixed relative width; memory does not grow with the stream.

    Attributes:
        stages: Names of the stages recorded, in order of first use.
    """

    _counts: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    _slowest: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def stages(self) -> list[str]:
        return list(self._counts)

    def add(self, stage: str, seconds: float) -> None:
        """Record one duration."""
        milliseconds = max(seconds * 1e3, SMALLEST_MS)
        bucket = min(int(np.log(milliseconds / SMALLEST_MS) / np.log(GROWTH)), BUCKETS - 1)
        with self._lock:
            if stage not in self._counts:
                self._counts[stage] = np.zeros(BUCKETS, np.int64)
            self._counts[stage][bucket] += 1
            self._slowest[stage] = max(self._slowest.get(stage, 0.0), seconds * 1e3)

    def absorb(self, other: LatencyRecorder) -> None:
        """Add everything another recorder has so far."""
        for stage, counts in list(other._counts.items()):
            with self._lock:
                self._counts[stage] = self._counts.get(stage, np.zeros(BUCKETS, np.int64)) + counts
                self._slowest[stage] = max(self._slowest.get(stage, 0.0), other._slowest[stage])

    def report(self, stage: str) -> LatencyReport:
        """Summarise one stage; a stage never recorded has count 0."""
        with self._lock:
            counts = self._counts.get(stage, np.zeros(BUCKETS, np.int64)).copy()
            slowest = self._slowest.get(stage, 0.0)
        count = int(counts.sum())
        p50, p90, p99 = (_percentile(counts, count, percent, slowest) for percent in PERCENTILES)
        return LatencyReport(count, p50, p90, p99, round(slowest, 3))


def _percentile(counts: NDArray[np.int64], count: int, percent: int, slowest: float) -> float | None:
    """Trtexec's definition: sorted[n - 1 - floor((1 - p) * n)], to the middle of its bucket."""
    slower = count * (100 - percent) // 100  # whole numbers: 1 - 0.9 is less than 0.1 in floats
    if count == 0 or (percent > 50 and slower < 1):
        return None
    rank = max(count - 1 - slower, 0)
    bucket = int(np.searchsorted(np.cumsum(counts), rank + 1))
    middle: float = SMALLEST_MS * GROWTH ** (bucket + 0.5)
    return round(min(middle, slowest), 3)
