from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from deblurrt.datasets import opencv

Pixels = NDArray[np.uint8]


def test_local_range_is_lowest_and_highest_of_the_square_around(photograph: Pixels) -> None:
    lowest, highest = opencv.local_range(photograph, 9)
    windows = sliding_window_view(photograph, (9, 9), axis=(0, 1))
    np.testing.assert_array_equal(lowest[4:-4, 4:-4], windows.min(axis=(-2, -1)))
    np.testing.assert_array_equal(highest[4:-4, 4:-4], windows.max(axis=(-2, -1)))


def test_local_range_does_not_see_past_the_border(photograph: Pixels) -> None:
    lowest, highest = opencv.local_range(photograph, 9)
    np.testing.assert_array_equal(lowest[0, 0], photograph[:5, :5].min(axis=(0, 1)))
    np.testing.assert_array_equal(highest[0, 0], photograph[:5, :5].max(axis=(0, 1)))


def test_homography_sends_result_pixels_to_source_pixels(photograph: Pixels) -> None:
    light = photograph.astype(np.float32)
    shifted = opencv.warp_perspective(light, np.array([[1, 0, 7.0], [0, 1, 3.0], [0, 0, 1]]), (100, 100))
    np.testing.assert_array_equal(shifted, light[3:103, 7:107])


def test_dense_flow_finds_a_translation(photograph: Pixels) -> None:
    flow = opencv.dense_flow(photograph[10:170, 10:250], photograph[8:168, 13:253])
    # a quarter pixel: what the medium preset reaches on clean texture
    np.testing.assert_allclose(np.median(flow, axis=(0, 1)), [-3, 2], atol=0.25)


def test_smoothing_of_codes_stays_on_8_bits_and_does_nothing_at_zero(photograph: Pixels) -> None:
    assert opencv.smooth_codes(photograph, 2.0).dtype == np.uint8
    same = opencv.smooth_codes(photograph, 0.0)
    np.testing.assert_array_equal(same, photograph)
    assert not np.shares_memory(same, photograph)
