"""The one door to OpenCV (``opencv-python`` or its headless twin): warps, filters, dense flow."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.optional import require

Light = NDArray[np.float32]


def _cv2() -> Any:
    return require("cv2", purpose="warp and filter pictures")


def use_threads(count: int) -> None:
    """Limit OpenCV's own threads in this process; worker processes use one each."""
    _cv2().setNumThreads(count)


def warp_perspective(light: Light, homography: NDArray[np.float64], size: tuple[int, int]) -> Light:
    """Sample ``light`` where ``homography`` sends each pixel of a ``size`` (height, width) picture.

    Args:
        light: ``float32 [height, width]`` or ``[height, width, channel]``.
        homography: ``3x3``, from result pixels ``(x, y, 1)`` to pixels of ``light``.
        size: Height and width of the result; outside ``light`` the border is mirrored.
    """
    cv2 = _cv2()
    warped: Light = cv2.warpPerspective(
        light,
        homography,
        (size[1], size[0]),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return warped


def sample_at(light: Light, columns: Light, rows: Light) -> Light:
    """Sample ``light [height, width, channel]`` bilinearly at pixel positions; borders mirrored."""
    cv2 = _cv2()
    sampled: Light = cv2.remap(light, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return sampled


def filter_with(light: Light, kernel: Light) -> Light:
    """Correlate every channel with ``kernel``; borders mirrored."""
    cv2 = _cv2()
    filtered: Light = cv2.filter2D(light, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    return filtered


def smooth(light: Light, sigma_px: float) -> Light:
    """Gaussian blur of ``sigma_px`` pixels; borders mirrored."""
    cv2 = _cv2()
    smoothed: Light = cv2.GaussianBlur(light, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT_101)
    return smoothed


def smooth_codes(pixels: NDArray[np.uint8], sigma_px: float) -> NDArray[np.uint8]:
    """Gaussian blur of 8-bit values, the kernel about ``6 sigma + 1`` wide; borders mirrored.

    On 8 bits OpenCV takes a narrower kernel than on floats (``smooth``). New memory; no blur at 0.
    """
    if sigma_px <= 0:
        return pixels.copy()
    cv2 = _cv2()
    smoothed: NDArray[np.uint8] = cv2.GaussianBlur(pixels, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT_101)
    return smoothed


def local_range(pixels: NDArray[np.uint8], side_px: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Lowest and highest value of each channel in the ``side_px`` wide square around each pixel."""
    cv2 = _cv2()
    square = np.ones((side_px, side_px), np.uint8)
    return cv2.erode(pixels, square), cv2.dilate(pixels, square)


def shrink(pixels: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Reduce to ``size`` (height, width) with an area filter, which does not alias."""
    cv2 = _cv2()
    shrunk: NDArray[Any] = cv2.resize(pixels, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    return shrunk


def enlarge(pixels: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Enlarge to ``size`` (height, width) bilinearly."""
    cv2 = _cv2()
    enlarged: NDArray[Any] = cv2.resize(pixels, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return enlarged


def dense_flow(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Light:
    """Where each pixel of ``first`` lies in ``second``: ``float32 [height, width, 2]``, (x, y) px.

    Dense inverse search (Kroeger et al., ECCV 2016), medium preset, on the grey pictures.
    """
    cv2 = _cv2()
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey = [cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) for pixels in (first, second)]
    flow: Light = search.calc(grey[0], grey[1], None)
    return flow


def with_label(pixels: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    """Copy a picture and write ``text`` into its upper left corner, white on black."""
    cv2 = _cv2()
    labelled = np.ascontiguousarray(pixels).copy()
    (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.7, 2)
    labelled[: height + 2 * below, : width + 2 * below] = 0
    place = (below, height + below)
    cv2.putText(labelled, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255, 255, 255), 2, cv2.LINE_AA)
    return labelled
