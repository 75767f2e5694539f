"""Whether a frame is sharp enough to leave alone.

The measure is the re-blur effect of Crete et al. (2007): a sharp picture loses much of its
variation when blurred, a blurred one little. Unlike the variance of the Laplacian it does not
depend on contrast, light or what is in the picture.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .frame import Pixels

#: frames are measured at a quarter of their size
REDUCTION = 4
#: length of the averaging filter, of the paper
TAPS = 9
#: sharp below the one, blurred above the other, in between as before (docs/live.md)
SHARP_BELOW = 0.25
BLURRED_ABOVE = 0.28
#: frames in a row that must agree before the gate changes; switching frame by frame is visible
DWELL_FRAMES = 5
#: grey levels of noise that looks like sharpness
NOISE_MAX = 4.0
#: rows looked at for noise
NOISE_STEP_PX = 32
#: smaller pictures hold too little to judge
SIDE_MIN = TAPS + 2

Plane = NDArray[np.float32]


class BlurGate:
    """Judges one camera's frames, with hysteresis.

    Attributes:
        score: Of the last frame, 0 sharp to 1 blurred.
        is_sharp: Whether frames are left alone at present.
    """

    def __init__(self) -> None:
        self.score = 1.0
        self.is_sharp = False
        self._against = 0

    @property
    def reason(self) -> str:
        """The last frame's score, for people."""
        return f"blur {self.score:.2f}, sharp below {SHARP_BELOW}"

    def judge(self, pixels: Pixels) -> bool:
        """Measure a frame and say whether to leave it alone."""
        plane = reduced(pixels)
        self.score = blur_score(plane)
        disagrees = self.score > BLURRED_ABOVE if self.is_sharp else self.score < SHARP_BELOW and not is_noisy(pixels)
        self._against = self._against + 1 if disagrees else 0
        if self._against >= DWELL_FRAMES:
            self.is_sharp, self._against = not self.is_sharp, 0
        return self.is_sharp


def reduced(pixels: Pixels) -> Plane:
    """Average the green of squares of ``REDUCTION`` pixels; pictures that are too small stay."""
    green = pixels[:, :, 1]
    if min(green.shape) < REDUCTION * SIDE_MIN:
        return green.astype(np.float32)
    height, width = (length - length % REDUCTION for length in green.shape)
    total = np.zeros((height // REDUCTION, width // REDUCTION), np.uint16)
    for row in range(REDUCTION):
        for column in range(REDUCTION):
            total += green[row:height:REDUCTION, column:width:REDUCTION]
    return total.astype(np.float32)


def blur_score(plane: Plane) -> float:
    """Measure blur along the worse of both axes: 0 sharp, 1 blurred, and 1 where there is nothing to see."""
    if min(plane.shape) < SIDE_MIN:
        return 1.0
    return max(_axis_score(plane), _axis_score(plane.T))


def is_noisy(pixels: Pixels) -> bool:
    """Whether noise, which looks sharp, is too strong to judge."""
    looked_at = pixels[::NOISE_STEP_PX, :, 1].astype(np.int16)
    if looked_at.shape[1] < SIDE_MIN:
        return True
    second = looked_at[:, :-2] - 2 * looked_at[:, 1:-1] + looked_at[:, 2:]
    # a row's second difference of white noise has sqrt(6) times its standard deviation
    return float(np.median(np.abs(second))) / (0.6745 * 6**0.5) > NOISE_MAX


def _axis_score(plane: Plane) -> float:
    sums = np.cumsum(plane, axis=0, dtype=np.float32)
    reblurred = (sums[TAPS:] - sums[:-TAPS]) / TAPS
    inner = plane[TAPS // 2 + 1 : TAPS // 2 + 1 + len(reblurred)]
    before, after = np.abs(np.diff(inner, axis=0)), np.abs(np.diff(reblurred, axis=0))
    variation = float(before.sum())
    if variation == 0:
        return 1.0
    return 1 - float(np.maximum(before - after, 0).sum()) / variation
