"""A time painted into a picture, to measure how old it is where it arrives."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..core.errors import ContractError

Pixels = NDArray[np.uint8]

#: side of one bit, pixels: survives H.264 and JPEG with subsampled chroma
CELL_PX = 8
_ROWS, _CELLS = 2, 32
_TIME_BITS, _CHECK_BITS = 56, 8

#: height and width of the code, in the upper left corner
CODE_SIZE = (_ROWS * CELL_PX, _CELLS * CELL_PX)


def paint_time_code(pixels: Pixels, time_ns: int) -> None:
    """Paint ``time_ns``, rounded down to microseconds, into the upper left corner, in place.

    Args:
        pixels: ``uint8 [height, width, 3]``, at least ``CODE_SIZE``.
        time_ns: Any clock's time, such as ``time.monotonic_ns()``; below 2**56 microseconds.

    Raises:
        ContractError: The picture is too small.
    """
    if pixels.shape[0] < CODE_SIZE[0] or pixels.shape[1] < CODE_SIZE[1]:
        raise ContractError(
            f"a time code takes {CODE_SIZE[0]}x{CODE_SIZE[1]} pixels, this picture has "
            f"{pixels.shape[0]}x{pixels.shape[1]}"
        )
    value = time_ns // 1000
    word = value << _CHECK_BITS | _check_of(value)
    bits = np.array([word >> index & 1 for index in range(_ROWS * _CELLS)], np.uint8).reshape(_ROWS, _CELLS)
    cells = np.repeat(np.repeat(bits * 255, CELL_PX, 0), CELL_PX, 1)
    pixels[: CODE_SIZE[0], : CODE_SIZE[1]] = cells[..., None]


def read_time_code(pixels: Pixels) -> int | None:
    """Give the time painted into a picture, nanoseconds; None where there is no whole one.

    The check is 8 bits: one in 256 damaged codes is read as a wrong time.
    """
    if pixels.shape[0] < CODE_SIZE[0] or pixels.shape[1] < CODE_SIZE[1]:
        return None
    half = CELL_PX // 2
    bits = pixels[half : CODE_SIZE[0] : CELL_PX, half : CODE_SIZE[1] : CELL_PX, 1].ravel() > 127
    word = sum(1 << index for index, bit in enumerate(bits.tolist()) if bit)
    value = word >> _CHECK_BITS
    return value * 1000 if _check_of(value) == word & (1 << _CHECK_BITS) - 1 else None


def _check_of(value: int) -> int:
    """Sum over the bytes, never 0 for 0, so that black is no code."""
    return (sum(value.to_bytes(_TIME_BITS // 8, "big")) + 0x5A) & (1 << _CHECK_BITS) - 1
