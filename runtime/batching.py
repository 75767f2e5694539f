"""Which cameras take their pictures together, and how long their frames wait for each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from .admission import BATCH_MAX, Admission, Decision
from .live_lane import Entry, Lane

#: frames captured, and handed on, within this time of each other are of one moment
MOMENT_NS = 5_000_000
#: how long a frame waits for the others of its moment, from when it came
COLLECT_NS = 5_000_000
#: kept free beside the run and the deadline while frames wait: threads wake up to a millisecond late
MARGIN_NS = 1_000_000
#: moments in common until two cameras are taken for synchronised; each counts one, each missed one takes two off
MOMENTS_MIN = 4
MOMENTS_MOST = 8
MISSED = 2


class Synchrony:
    """Learns which cameras take their pictures at the same moments, and hand them on together."""

    def __init__(self) -> None:
        self._last_ns: dict[Lane, tuple[int, int]] = {}
        self._met: dict[Lane, set[Lane]] = {}
        self._moments: Counter[tuple[Lane, Lane]] = Counter()

    def add(self, lane: Lane, captured_ns: int, came_ns: int) -> None:
        """Record that a picture was taken, and when it came."""
        if lane in self._met:
            self._judge(lane)
        self._last_ns[lane] = captured_ns, came_ns
        self._met[lane] = {other for other in self._last_ns if other is not lane and self._is_near(lane, other)}
        for other in self._met[lane]:
            self._met[other].add(lane)

    def is_together(self, lane: Lane, other: Lane) -> bool:
        """Whether ``other`` nearly always takes a picture when ``lane`` does."""
        return self._moments[lane, other] >= MOMENTS_MIN

    def has_come(self, lane: Lane, moment_ns: int) -> bool:
        """Whether the last picture of a camera is of this moment, or later."""
        return lane in self._last_ns and self._last_ns[lane][0] >= moment_ns - MOMENT_NS

    def _is_near(self, lane: Lane, other: Lane) -> bool:
        times = zip(self._last_ns[lane], self._last_ns[other], strict=True)
        return all(abs(first_ns - second_ns) <= MOMENT_NS for first_ns, second_ns in times)

    def _judge(self, lane: Lane) -> None:
        """Score the moment of the camera's frame before, of which all pictures have come by now."""
        for other in self._last_ns:
            if other is not lane:
                gain = 1 if other in self._met[lane] else -MISSED
                self._moments[lane, other] = min(max(self._moments[lane, other] + gain, 0), MOMENTS_MOST)


class Batching:
    """Finds the frames that go through a network together.

    Args:
        lanes: The cameras.
        admission: Knows how long frames take together.
    """

    def __init__(self, lanes: Sequence[Lane], admission: Admission) -> None:
        self._lanes, self._admission = lanes, admission
        self._synchrony = Synchrony()

    def arrived(self, lane: Lane, captured_ns: int, came_ns: int) -> None:
        """Record that a frame was captured, and when it came."""
        self._synchrony.add(lane, captured_ns, came_ns)

    def has_waited(self, lane: Lane, other: Lane) -> bool:
        """Whether frames of ``lane`` wait for those of ``other``, as long as they can, before they start."""
        size = lane.last_size
        is_batched = size is not None and self._admission.largest_batch(size, BATCH_MAX) > 1
        return is_batched and other.last_size == size and self._synchrony.is_together(lane, other)

    def group(self, lane: Lane) -> list[tuple[Lane, Entry]]:
        """The camera's waiting frame, and those that may go with it; cameras with fewer turns come first."""
        lead = lane.mailbox
        assert lead is not None
        others = [other for other in self._lanes if other is not lane and self._synchrony.is_together(lane, other)]
        waiting = [(other, other.mailbox) for other in sorted(others, key=lambda other: other.turn)]
        fit = [(other, entry) for other, entry in waiting if entry is not None and entry.frame.size == lead.frame.size]
        return [(lane, lead), *fit]

    def decide(self, lane: Lane, now_ns: int) -> tuple[Decision, list[tuple[Lane, Entry]]]:
        """Say what happens to the camera's waiting frame, and which frames go with it."""
        group = self.group(lane)
        size, lefts_ns = group[0][1].frame.size, [entry.left_ns(now_ns) for _, entry in group]
        alone = self._admission.decide(size, lefts_ns[0], now_ns)
        if alone.action != "run":
            return alone, group[:1]
        others = [other for other in self._lanes if other.last_size == size]
        most = sum(other is lane or self._synchrony.is_together(lane, other) for other in others)
        decision, numbers = self._admission.decide_batch(alone, size, lefts_ns, most)
        return decision, [group[number] for number in numbers]

    def collect_until_ns(self, lane: Lane, now_ns: int) -> int | None:
        """How long the camera's frame waits for others that are about to come; None where it starts now."""
        group = self.group(lane)
        lead, size = group[0][1], group[0][1].frame.size
        missing = sum(
            other is not lane
            and self._synchrony.is_together(lane, other)
            and other.last_size == size
            and not self._synchrony.has_come(other, lead.frame.t_capture_ns)
            for other in self._lanes
        )
        count = self._admission.largest_batch(size, len(group) + missing)
        if count <= len(group):
            return None
        until_ns = min(entry.came_ns for _, entry in group) + COLLECT_NS
        run_ns = self._admission.estimate_ns(size, count) or 0
        for _, entry in group:
            if entry.release_ns is not None:
                until_ns = min(until_ns, entry.release_ns - run_ns - MARGIN_NS)
        return until_ns if until_ns > now_ns else None
