"""How long a network takes for one size of frame, and whether to start it in the time that is left."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Literal

Verdict = Literal["run", "probe", "refuse"]

#: runs remembered: one second of a camera
WINDOW = 30
#: the estimate's percentile; a quarter of all runs may be spikes without moving it
PERCENTILE = 0.75
#: refusals in a row until a frame is tried all the same; doubled by every failed try, within these bounds:
#: where little time is missing a try is likely to succeed, where much is missing it wastes energy
PROBE_AFTER = 3
PROBE_AFTER_NEAR_MOST = 15
PROBE_AFTER_FAR = (15, 300)
#: estimates up to so many times what is left are near
NEAR = 1.15


class ServiceTime:
    """Estimates one network's time for one size from its last runs.

    Args:
        seeds_ns: Durations measured at warm-up; at least one.
    """

    def __init__(self, seeds_ns: Iterable[int]) -> None:
        self._runs_ns = deque(seeds_ns, WINDOW)
        self._refusals = 0
        self._probe_after = PROBE_AFTER

    @property
    def estimate_ns(self) -> int:
        """75th percentile of the last runs."""
        return sorted(self._runs_ns)[int(PERCENTILE * (len(self._runs_ns) - 1))]

    def verdict(self, left_ns: int | None) -> Verdict:
        """Say whether to start with ``left_ns`` until the deadline; None stands for no deadline.

        Now and then a run that would be refused is tried, so that one slow stretch does not end
        deblurring for ever.
        """
        if left_ns is None or self.estimate_ns <= left_ns:
            self._refusals = 0
            return "run"
        self._refusals += 1
        if self._refusals < self._refusals_wanted(left_ns):
            return "refuse"
        self._refusals = 0
        return "probe"

    def add(self, service_ns: int) -> None:
        """Record an ordinary run."""
        self._runs_ns.append(service_ns)

    def add_probe(self, service_ns: int, left_ns: int | None) -> None:
        """Record a tried run; one that was fast enough replaces everything remembered."""
        if left_ns is None or service_ns <= left_ns:
            self._runs_ns.clear()
            self._probe_after = PROBE_AFTER
        else:
            self._probe_after = min(2 * self._probe_after, PROBE_AFTER_FAR[1])
        self._runs_ns.append(service_ns)

    def limit(self, service_ns: int) -> None:
        """Record that no run takes longer than this now."""
        if self.estimate_ns > service_ns:
            self._runs_ns = deque([service_ns], WINDOW)

    def _refusals_wanted(self, left_ns: int) -> int:
        if self.estimate_ns <= NEAR * left_ns:
            return min(self._probe_after, PROBE_AFTER_NEAR_MOST)
        return max(self._probe_after, PROBE_AFTER_FAR[0])
