"""Enlarging pictures with NumPy alone, value for value as Pillow does."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..core.errors import ContractError

Pixels = NDArray[np.uint8]

#: free parameter of the cubic kernel; -0.5 is Pillow's and MATLAB's (OpenCV takes -0.75)
CUBIC_SLOPE = -0.5
#: how far from an output pixel, in input pixels, the kernel reaches
CUBIC_REACH_PX = 2
#: bits behind the point of Pillow's weights: 8-bit pixels times weights stay within 32 bits
WEIGHT_BITS = 22


def enlarge_bicubic(pixels: Pixels, factor: int) -> Pixels:
    """Enlarge a picture ``factor`` times with the cubic kernel; equal to Pillow's ``BICUBIC``.

    Pixel centres lie at halves; at the border the taps inside the picture are weighted anew.
    About 15 ms from 320x180 to 1280x720.

    Args:
        pixels: ``uint8 [height, width, 3]``.
        factor: Whole and at least 1.

    Returns:
        New memory, ``uint8 [height * factor, width * factor, 3]``.

    Raises:
        ContractError: ``factor`` is below 1 or ``pixels`` is something else.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or not pixels.size:
        raise ContractError(f"the picture is {pixels.dtype}{list(pixels.shape)}, expected uint8 [height, width, 3]")
    if factor < 1:
        raise ContractError(f"the factor of enlargement is {factor}, expected a whole number from 1")
    if factor == 1:
        return pixels.copy()
    # Pillow rounds to 8 bits between the directions and starts with the rows; so its values are met exactly.
    return _enlarge_rows(_enlarge_rows(pixels.swapaxes(0, 1), factor).swapaxes(0, 1), factor)


def _enlarge_rows(pixels: Pixels, factor: int) -> Pixels:
    """Enlarge along the first axis.

    Output ``factor * i + phase`` draws on the same few inputs around ``i`` for every ``i``, so each
    phase is a handful of shifted pictures, weighted and added.
    """
    length = pixels.shape[0]
    weights = _weights(length, factor)
    padded = np.pad(pixels.astype(np.int32), [(CUBIC_REACH_PX, CUBIC_REACH_PX), (0, 0), (0, 0)])
    enlarged = np.empty((length * factor, *pixels.shape[1:]), np.uint8)
    for phase in range(factor):
        total = np.full(pixels.shape, 1 << (WEIGHT_BITS - 1), np.int32)
        for tap in range(2 * CUBIC_REACH_PX + 1):
            column = weights[phase::factor, tap]
            if column.any():
                total += padded[tap : tap + length] * column[:, None, None]
        total >>= WEIGHT_BITS
        enlarged[phase::factor] = np.clip(total, 0, 255, out=total)
    return enlarged


def _weights(length: int, factor: int) -> NDArray[np.int32]:
    """Weights ``[output, tap]`` of the inputs 2 before to 2 behind the one an output lies in, fixed point."""
    outputs = np.arange(length * factor)
    taps = outputs[:, None] // factor + np.arange(-CUBIC_REACH_PX, CUBIC_REACH_PX + 1)
    distance = np.abs(taps + 0.5 - (outputs[:, None] + 0.5) / factor)
    weights = np.where((taps >= 0) & (taps < length), _cubic(distance), 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    scaled = weights * math.ldexp(1.0, WEIGHT_BITS)
    return np.trunc(scaled + np.copysign(0.5, scaled)).astype(np.int32)


def _cubic(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    slope = CUBIC_SLOPE
    near = ((slope + 2) * distance - (slope + 3)) * distance * distance + 1
    far = (((distance - 5) * distance + 8) * distance - 4) * slope
    return np.where(distance < 1, near, np.where(distance < CUBIC_REACH_PX, far, 0.0))
