"""One picture of a stream on its way through the pipeline."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .color import ColorSpec

if TYPE_CHECKING:
    from fractions import Fraction

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture and where it belongs.

    Attributes:
        pixels: ``uint8 [height, width, 3]`` RGB, upright; nobody writes into it.
        seq: Position in its stream, from 0, without gaps within an epoch.
        t_capture_ns: ``time.monotonic_ns()`` when the picture was at hand.
        stream: Name of the source it came from.
        epoch: Counts reconnects and changes of format.
        pts: Presentation time in units of ``time_base``; None where the source has no clock.
        time_base: Seconds per unit of ``pts``.
        color: What the source said, or was assumed to say, of its colours.
        name: File name without suffix, for pictures of a folder.
        is_frozen: Whether a camera has given this same picture for a while.
    """

    pixels: Pixels
    seq: int
    t_capture_ns: int
    stream: str = ""
    epoch: int = 0
    pts: int | None = None
    time_base: Fraction | None = None
    color: ColorSpec = field(default_factory=ColorSpec)
    name: str | None = None
    is_frozen: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]
