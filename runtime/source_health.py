"""When a live source counts as stalled, how long to wait before trying again, how many frames it missed."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from statistics import median
from typing import TypeGuard

#: period assumed before frames or the source say otherwise, and the range in which a source is believed
_ASSUMED_PERIOD_S = 1 / 30
_BELIEVABLE_FPS = (0.5, 240.0)

#: frames whose distances make an estimate; fewer than ``_ENOUGH`` make none
_REMEMBERED, _ENOUGH = 31, 9

#: so many times the limit pass without a frame where the source shows that it is there
_PATIENCE = 10

#: a stream is steady, so that gaps can be told from jitter, where this share of the distances
#: lies this near their median
_REGULAR, _STEADY = 0.75, 0.1


@dataclass(frozen=True, slots=True)
class HealthLimits:
    """How patient a source is, seconds.

    Attributes:
        open_s: From the start of an attempt to its first frame.
        stall_s: Least time without a frame that counts as stalled.
        stall_periods: The same in frame periods; the larger of the two decides.
        first_retry_s: Wait before the second attempt; each further one waits twice as long.
        longest_retry_s: Longest wait between attempts.
        healthy_s: Streaming for so long makes the next wait the first one again.
        jitter: Share by which waits vary at random, so that many readers do not come back at once.
    """

    open_s: float = 10.0
    stall_s: float = 1.0
    stall_periods: float = 10.0
    first_retry_s: float = 0.25
    longest_retry_s: float = 10.0
    healthy_s: float = 10.0
    jitter: float = 0.2


class StallWatch:
    """Tells when frames have stopped. Times are seconds of any one clock.

    Args:
        limits: How patient to be.
        fps: What the source says of its rate; None where it says nothing.
        now_s: When the watch begins.
    """

    def __init__(self, limits: HealthLimits, fps: float | None, now_s: float) -> None:
        self._limits = limits
        self._declared_s = 1 / fps if is_believable(fps) else None
        self._distances: deque[float] = deque(maxlen=_REMEMBERED)
        self._last_s = self._last_life_s = now_s
        self._has_begun = False

    @property
    def observed_fps(self) -> float | None:
        """Frames per second as they came; None before enough of them."""
        return 1 / max(median(self._distances), 1e-3) if len(self._distances) >= _ENOUGH else None

    @property
    def period_s(self) -> float:
        """Time between frames: as observed, or declared, or 1/30."""
        if len(self._distances) >= _ENOUGH:
            return median(self._distances)
        return self._declared_s or _ASSUMED_PERIOD_S

    @property
    def limit_s(self) -> float:
        """Time without a frame that is too long now."""
        if not self._has_begun:
            return self._limits.open_s
        return max(self._limits.stall_s, self._limits.stall_periods * self.period_s)

    def saw_frame(self, now_s: float) -> None:
        """Note a frame."""
        if self._has_begun:
            self._distances.append(now_s - self._last_s)
        self._has_begun, self._last_s, self._last_life_s = True, now_s, now_s

    def saw_life(self, now_s: float) -> None:
        """Note something that shows the source is there, though no frame; opening is not over by it."""
        if self._has_begun:
            self._last_life_s = now_s

    def remaining_s(self, now_s: float) -> float:
        """Time left until the source counts as stalled; 0 or less when it does."""
        until_s = min(self._last_life_s + self.limit_s, self._last_s + _PATIENCE * self.limit_s)
        return until_s - now_s


def is_believable(fps: float | None) -> TypeGuard[float]:
    """Whether ``fps`` may be a camera's rate; streams that do not know theirs say 0 or 90,000."""
    return fps is not None and _BELIEVABLE_FPS[0] <= fps <= _BELIEVABLE_FPS[1]


class Backoff:
    """Gives the waits between attempts: doubling, bounded, varied at random.

    Args:
        limits: First and longest wait, jitter, and what counts as health.
        rng: Where the jitter comes from.
    """

    def __init__(self, limits: HealthLimits, rng: random.Random | None = None) -> None:
        self._limits = limits
        self._rng = rng or random.Random()
        self._next_s = limits.first_retry_s

    def after(self, healthy_s: float) -> float:
        """Give the next wait, after a connection that streamed for ``healthy_s`` (0: it never did)."""
        if healthy_s >= self._limits.healthy_s:
            self._next_s = self._limits.first_retry_s
        wait_s = self._next_s
        self._next_s = min(2 * wait_s, self._limits.longest_retry_s)
        return wait_s * (1 + self._limits.jitter * (2 * self._rng.random() - 1))


class GapCounter:
    """Counts frames missing between time stamps, where the stream is steady enough to tell."""

    def __init__(self) -> None:
        self._distances: deque[float] = deque(maxlen=_REMEMBERED)
        self._last_s: float | None = None

    def missed_before(self, time_s: float | None) -> int:
        """Give how many frames are missing between the last frame and this one, by its own clock."""
        last_s, self._last_s = self._last_s, time_s
        if time_s is None or last_s is None or time_s <= last_s:
            return 0
        distance = time_s - last_s
        missed = self._missed(distance)
        self._distances.append(distance)
        return missed

    def _missed(self, distance: float) -> int:
        if len(self._distances) < _ENOUGH:
            return 0
        period = median(self._distances)
        regular = sum(abs(one - period) <= _STEADY * period for one in self._distances)
        return max(0, round(distance / period) - 1) if regular >= _REGULAR * len(self._distances) else 0
