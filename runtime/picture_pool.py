"""Memory for pictures, used again once nobody looks at them."""

from __future__ import annotations

import sys

import numpy as np

from .frame import Pixels

#: pictures kept for use again; more are in use only while an output is behind
KEPT_MAX = 16


class PicturePool:
    """Gives memory of pictures; for one thread at a time.

    A picture that nobody else refers to is given out again: new blocks of megabytes, made in one thread and freed in
    another, cost page faults every time and scatter what they leave free.
    """

    def __init__(self) -> None:
        self._pictures: list[Pixels] = []

    def empty(self, shape: tuple[int, ...]) -> Pixels:
        """Give a ``uint8`` picture of any content; it is the caller's as long as anything refers to it."""
        if self._pictures and self._pictures[0].shape != shape:
            self._pictures.clear()
        for picture in self._pictures:
            if sys.getrefcount(picture) == _UNUSED:
                return picture
        picture = np.empty(shape, np.uint8)
        if len(self._pictures) < KEPT_MAX:
            self._pictures.append(picture)
        return picture


def _references_of_unused() -> int:
    """What ``sys.getrefcount`` says, in a loop over a list, of a picture that is in the list alone."""
    pictures: list[Pixels] = [np.empty(1, np.uint8)]
    for picture in pictures:
        return sys.getrefcount(picture)
    raise AssertionError("the list is not empty")


_UNUSED = _references_of_unused()
