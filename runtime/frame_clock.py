"""Time stamps of an output: the input's own ticks, kept increasing."""

from __future__ import annotations

import logging
from fractions import Fraction

from .frame import Frame

logger = logging.getLogger(__name__)

#: finest clock written; MP4 counts the gap between frames in 32 bits of it (71 minutes)
MAX_TICKS_PER_S = 1_000_000


class FrameClock:
    """Gives every frame its tick on an output's clock.

    That is the frame's own time stamp in the time base of the first frame, and one nominal period
    after the last where a frame has none. A negative start moves everything to begin at 0. Stamps
    that do not increase, as after a reconnect, are put behind the last one.

    Args:
        first: The first frame; it decides the unit.
        rate: Frames per second, where frames do not say.

    Attributes:
        time_base: Seconds per tick.
        shift_s: What is added to every time of the input.
    """

    def __init__(self, first: Frame, rate: Fraction) -> None:
        tick = None if first.pts is None else first.time_base
        self.time_base = max(tick or 1 / rate, Fraction(1, MAX_TICKS_PER_S))
        self._step = max(1, round(1 / rate / self.time_base))
        self._offset = max(0, -(self._own_ticks(first) or 0))
        self.shift_s = self._offset * self.time_base
        self._epoch = first.epoch
        self._last: int | None = None
        self._has_warned = False

    @property
    def last_s(self) -> Fraction:
        """When the last frame is shown."""
        return (self._last or 0) * self.time_base

    def ticks_of(self, frame: Frame) -> int:
        """Tell when ``frame`` is shown; call once per frame, in order."""
        own = self._own_ticks(frame)
        ticks = self._following() if own is None else own + self._offset
        if self._last is not None and ticks <= self._last:
            self._warn(frame)
            behind = self._last + 1 if frame.epoch == self._epoch else self._following()
            if frame.epoch != self._epoch:
                self._offset += behind - ticks
            ticks = behind
        self._epoch, self._last = frame.epoch, ticks
        return ticks

    def _own_ticks(self, frame: Frame) -> int | None:
        if frame.pts is None or frame.time_base is None:
            return None
        return round(frame.pts * frame.time_base / self.time_base)

    def _following(self) -> int:
        return 0 if self._last is None else self._last + self._step

    def _warn(self, frame: Frame) -> None:
        if not self._has_warned:
            self._has_warned = True
            logger.warning("time stamps of %s do not increase at frame %d; moved on", frame.stream, frame.seq)
