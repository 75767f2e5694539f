"""How close a restored picture is to the sharp one: PSNR, SSIM and mean squared error.

All compare ``uint8 [height, width, 3]`` RGB pictures and need NumPy alone: ``psnr``, ``ssim`` and
``mse`` every value of every channel, ``psnr_y`` and ``ssim_y`` their luminance.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ..core.errors import ContractError

Pixels = NDArray[np.uint8]
Plane = NDArray[np.float64]

DATA_RANGE = 255
#: window and constants of Wang et al., "Image quality assessment", IEEE TIP 2004
WINDOW_PX = 11
WINDOW_SIGMA_PX = 1.5
K1, K2 = 0.01, 0.03

RGB_AXES = 3

#: luma of ITU-R BT.601 in studio range, as MATLAB's rgb2ycbcr: 16 for black, 235 for white
LUMINANCE_WEIGHTS = (65.481, 128.553, 24.966)
LUMINANCE_OF_BLACK = 16.0


def mse(restored: Pixels, sharp: Pixels) -> float:
    """Mean squared error over all RGB values, in squared grey levels (0..65025).

    Raises:
        ContractError: A picture is not ``uint8 [height, width, 3]``, or their sizes differ.
    """
    _check(restored, sharp)
    difference = np.subtract(restored, sharp, dtype=np.int16).astype(np.float64)
    return float(np.mean(difference * difference))


def psnr(restored: Pixels, sharp: Pixels) -> float:
    """Peak signal-to-noise ratio over all RGB values, dB; ``inf`` for identical pictures.

    Raises:
        ContractError: A picture is not ``uint8 [height, width, 3]``, or their sizes differ.
    """
    return _decibels(mse(restored, sharp))


def psnr_y(restored: Pixels, sharp: Pixels) -> float:
    """Peak signal-to-noise ratio of the luminance, dB, the peak being 255; ``inf`` for equal ones.

    Raises:
        ContractError: A picture is not ``uint8 [height, width, 3]``, or their sizes differ.
    """
    _check(restored, sharp)
    difference = luminance(restored) - luminance(sharp)
    return _decibels(float(np.mean(difference * difference)))


def ssim(restored: Pixels, sharp: Pixels) -> float:
    """Structural similarity, -1..1, averaged over the channels.

    Gaussian window of 11 pixels (sigma 1.5), population covariance, the 5 border pixels left out:
    what scikit-image computes with ``gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, data_range=255``. About 0.2 s for a 720p picture.

    Raises:
        ContractError: A picture is not ``uint8 [height, width, 3]``, their sizes differ, or they
            are smaller than the window.
    """
    _check(restored, sharp)
    _check_window(sharp)
    channels = (
        _channel_ssim(restored[..., channel].astype(np.float64), sharp[..., channel].astype(np.float64))
        for channel in range(RGB_AXES)
    )
    return math.fsum(channels) / RGB_AXES


def ssim_y(restored: Pixels, sharp: Pixels) -> float:
    """Structural similarity of the luminance, -1..1, with the window and border of ``ssim``.

    Raises:
        ContractError: As ``ssim``.
    """
    _check(restored, sharp)
    _check_window(sharp)
    return _channel_ssim(luminance(restored), luminance(sharp))


def luminance(pixels: Pixels) -> Plane:
    """BT.601 luma in studio range, ``float64 [height, width]`` in 16..235, not rounded."""
    weights = np.array(LUMINANCE_WEIGHTS) / DATA_RANGE
    return np.asarray(pixels @ weights + LUMINANCE_OF_BLACK, np.float64)


def _decibels(squared_error: float) -> float:
    return 10 * math.log10(DATA_RANGE**2 / squared_error) if squared_error else math.inf


def _channel_ssim(restored: Plane, sharp: Plane) -> float:
    floor1, floor2 = (K1 * DATA_RANGE) ** 2, (K2 * DATA_RANGE) ** 2
    mean1, mean2 = _window_mean(restored), _window_mean(sharp)
    means, squares = mean1 * mean2, mean1 * mean1 + mean2 * mean2
    covariance = _window_mean(restored * sharp) - means
    # only the sum of both variances appears in the formula, so that they are filtered together
    variances = _window_mean(restored * restored + sharp * sharp) - squares
    likeness = (2 * means + floor1) * (2 * covariance + floor2)
    return float(np.mean(likeness / ((squares + floor1) * (variances + floor2))))


def _window_mean(plane: Plane) -> Plane:
    """Gaussian mean around each pixel whose window lies inside ``plane``."""
    reach = np.arange(WINDOW_PX) - WINDOW_PX // 2
    kernel = np.exp(-0.5 * (reach / WINDOW_SIGMA_PX) ** 2)
    kernel /= kernel.sum()
    rows: Plane = sliding_window_view(plane, WINDOW_PX, axis=0) @ kernel
    both: Plane = sliding_window_view(rows, WINDOW_PX, axis=1) @ kernel
    return both


def _check(restored: Pixels, sharp: Pixels) -> None:
    for name, pixels in (("restored", restored), ("sharp", sharp)):
        if pixels.dtype != np.uint8 or pixels.ndim != RGB_AXES or pixels.shape[2] != RGB_AXES or not pixels.size:
            raise ContractError(
                f"{name!r} is {pixels.dtype}{list(pixels.shape)}, expected uint8['height', 'width', 3] (RGB)"
            )
    if restored.shape != sharp.shape:
        raise ContractError(
            f"'restored' is {restored.shape[0]}x{restored.shape[1]}, 'sharp' is {sharp.shape[0]}x{sharp.shape[1]}; "
            "compare pictures of one size"
        )


def _check_window(sharp: Pixels) -> None:
    if min(sharp.shape[:2]) < WINDOW_PX:
        raise ContractError(
            f"the pictures are {sharp.shape[0]}x{sharp.shape[1]}, SSIM needs at least {WINDOW_PX}x{WINDOW_PX} pixels"
        )
