"""Whether a camera gives the same picture for ever: cheap while it does not."""

from __future__ import annotations

from typing import Literal

import numpy as np

from .frame import Pixels

#: one picture in each row and column out of so many is compared before whole pictures are
STEP_PX = 16
#: equal pictures in a row that say so
FROZEN_FRAMES = 10
#: the same, at most, for a camera that went on by itself: one that repeats each picture of a slower sensor
#: shall not be called frozen once a second
FROZEN_FRAMES_MAX = 5120


class FrozenWatch:
    """Compares each picture of one connection with the one before, bit by bit.

    The picture of a sensor is never twice the same, for its noise; a coded still scene may be.

    Attributes:
        repeats: Equal pictures in a row, so far.
        is_frozen: Whether there were enough of them.
    """

    def __init__(self) -> None:
        self.repeats = 0
        self.is_frozen = False
        self._enough = FROZEN_FRAMES
        self._last: Pixels | None = None

    def saw(self, pixels: Pixels) -> Literal["frozen", "moving"] | None:
        """Take the next picture, which nobody writes into; say what changed, None where nothing did."""
        last, self._last = self._last, pixels
        if last is not None and _is_same(last, pixels):
            self.repeats += 1
        else:
            self.repeats = 1
        if not self.is_frozen and self.repeats >= self._enough:
            self.is_frozen = True
            return "frozen"
        if self.is_frozen and self.repeats == 1:
            self.is_frozen = False
            self._enough = min(2 * self._enough, FROZEN_FRAMES_MAX)
            return "moving"
        return None


def _is_same(first: Pixels, second: Pixels) -> bool:
    """Whether two pictures are equal; whole ones are looked at only where a sample is."""
    if first.shape != second.shape:
        return False
    return np.array_equal(first[::STEP_PX, ::STEP_PX], second[::STEP_PX, ::STEP_PX]) and np.array_equal(first, second)
