"""How long frames take: a recorder of fixed size and the report it writes."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

#: bucket edges grow by one per cent, from a microsecond to over an hour
GROWTH = 1.01
SMALLEST_MS = 1e-3
BUCKETS = 2220

#: name -> thousandths of the frames that are at most so slow
PERCENTILES = {"p50": 500, "p90": 900, "p99": 990, "p99.9": 999}
#: so many frames must be slower than a percentile before it is reported
SLOWER_LEAST = 10
TOO_SMALL = "n too small"


@dataclass(frozen=True, slots=True)
class LatencyReport:
    """Latency of one stage, milliseconds.

    Percentiles are exact to one per cent or a microsecond, and None where there are fewer than
    10 / (1 - p) frames: 20, 100, 1,000 and 10,000.

    Attributes:
        count: Frames observed.
        p50: Median.
        p90: 90th percentile.
        p99: 99th percentile.
        p99_9: 99.9th percentile.
        max: Slowest, exact; None without a frame.
    """

    count: int
    p50: float | None
    p90: float | None
    p99: float | None
    p99_9: float | None
    max: float | None

    def to_dict(self) -> dict[str, float | int | None]:
        """Plain values for JSON."""
        percentiles = zip(PERCENTILES, (self.p50, self.p90, self.p99, self.p99_9), strict=True)
        return {"count": self.count, **dict(percentiles), "max": self.max}


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
        bucket = min(int(math.log(milliseconds / SMALLEST_MS) / math.log(GROWTH)), BUCKETS - 1)
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
                self._slowest[stage] = max(self._slowest.get(stage, 0.0), other._slowest.get(stage, 0.0))

    def report(self, stage: str) -> LatencyReport:
        """Summarise one stage; a stage never recorded has count 0."""
        cumulated, slowest = self._snapshot(stage)
        count = int(cumulated[-1])
        p50, p90, p99, p99_9 = (
            _percentile(cumulated, share, slowest) if count >= least_count(share) else None
            for share in PERCENTILES.values()
        )
        return LatencyReport(count, p50, p90, p99, p99_9, round(slowest, 3) if count else None)

    def percentile(self, stage: str, name: str) -> float | None:
        """Give a percentile however few the frames are, for experiments that say how many; None without any.

        Args:
            stage: Name of the stage.
            name: ``p50``, ``p90``, ``p99`` or ``p99.9``.
        """
        cumulated, slowest = self._snapshot(stage)
        return _percentile(cumulated, PERCENTILES[name], slowest) if cumulated[-1] else None

    def _snapshot(self, stage: str) -> tuple[NDArray[np.int64], float]:
        """Frames up to each bucket, and the slowest in milliseconds."""
        with self._lock:
            counts = self._counts.get(stage, np.zeros(BUCKETS, np.int64))
            return np.cumsum(counts), self._slowest.get(stage, 0.0)


def least_count(share: int) -> int:
    """Say how many frames the percentile of ``share`` thousandths needs."""
    return SLOWER_LEAST * 1000 // (1000 - share)


def latency_text(latency: Mapping[str, float | int | None], names: Iterable[str] = PERCENTILES) -> str:
    """Say a report's percentiles and the slowest for people; those of too few frames are named so.

    Args:
        latency: ``LatencyReport.to_dict()``.
        names: The percentiles to say.
    """
    if not latency["count"]:
        return "no frame"
    told = [f"{name} {latency[name]} ms" for name in names if latency[name] is not None]
    untold = [name for name in names if latency[name] is None]
    few = [f"{', '.join(untold)}: {TOO_SMALL} ({latency['count']} frames)"] if untold else []
    return ", ".join([*told, f"max {latency['max']} ms", *few])


def _percentile(cumulated: NDArray[np.int64], share: int, slowest: float) -> float:
    """Trtexec's definition: sorted[n - 1 - floor((1 - p) * n)], to the middle of its bucket."""
    count = int(cumulated[-1])
    slower = count * (1000 - share) // 1000  # whole numbers: 1 - 0.9 is less than 0.1 in floats
    bucket = int(np.searchsorted(cumulated, max(count - 1 - slower, 0) + 1))
    middle: float = SMALLEST_MS * GROWTH ** (bucket + 0.5)
    return round(min(middle, slowest), 3)
