from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from deblurrt.datasets import motion_blur
from deblurrt.datasets.linear_light import linear_from_code
from deblurrt.datasets.motion_blur import CameraMotion, Layer, camera_pair, expose, line_kernel, straight_pair

Pixels = NDArray[np.uint8]

SIZE = (200 - 2 * motion_blur.MARGIN_PX, 280 - 2 * motion_blur.MARGIN_PX)


@pytest.mark.parametrize("length_px", [2.0, 5.5, 9.0, 16.0])
@pytest.mark.parametrize("angle", [0.0, 0.4, np.pi / 2, 2.5])
def test_line_kernel_sums_to_one_and_is_centred(length_px: float, angle: float) -> None:
    kernel = line_kernel(length_px, angle)
    middle = (kernel.shape[0] - 1) / 2
    rows, columns = np.mgrid[: kernel.shape[0], : kernel.shape[1]] - middle
    assert kernel.sum() == pytest.approx(1.0, abs=1e-6)
    assert [(kernel * rows).sum(), (kernel * columns).sum()] == pytest.approx([0, 0], abs=1e-4)


@pytest.mark.parametrize("length_px", [5.5, 9.0, 16.0])
@pytest.mark.parametrize("angle", [0.0, 0.4, np.pi / 2, 2.5])
def test_line_kernel_is_as_long_as_asked(length_px: float, angle: float) -> None:
    kernel = line_kernel(length_px, angle)
    rows, columns = np.mgrid[: kernel.shape[0], : kernel.shape[1]] - (kernel.shape[0] - 1) / 2
    along = columns * np.cos(angle) + rows * np.sin(angle)
    # an even line of length L has variance L^2/12; it is drawn 1/8 px longer at each end, and
    # bilinear weights widen it by at most 1/4 px^2
    variance = float((kernel * along**2).sum())
    assert length_px**2 / 12 - 0.05 <= variance <= (length_px + 0.25) ** 2 / 12 + 0.25


def test_motion_at_mid_exposure_is_the_identity() -> None:
    motion = CameraMotion((20.0, -9.0), (2.0, 1.0), 0.02, 0.01, 900.0, (30.0, -20.0))
    np.testing.assert_allclose(motion.homography(0.0, (100, 160)), np.eye(3), atol=1e-12)


def test_camera_that_turns_right_and_up_looks_further_right_and_up() -> None:
    motion = CameraMotion((20.0, 8.0), focal_px=50_000.0)
    start, end = (motion.homography(time, (100, 160)) @ [79.5, 49.5, 1.0] for time in (-0.5, 0.5))
    # at this focal length perspective is below a thousandth of a pixel
    np.testing.assert_allclose((end / end[2] - start / start[2])[:2], [20.0, -8.0], atol=1e-3)


def test_camera_that_does_not_move_gives_a_sharp_picture(photograph: Pixels) -> None:
    layer = Layer(linear_from_code(photograph), None, CameraMotion((0.0, 0.0)))
    sharp, blurred = expose([layer], SIZE, 9)
    margin = motion_blur.MARGIN_PX
    np.testing.assert_array_equal(sharp, photograph[margin:-margin, margin:-margin])
    np.testing.assert_array_equal(blurred, sharp)


def test_opaque_layer_hides_what_is_behind(photograph: Pixels) -> None:
    still = CameraMotion((0.0, 0.0))
    front = linear_from_code(photograph[::-1].copy())
    layers = [
        Layer(linear_from_code(photograph), None, still),
        Layer(front, np.ones(photograph.shape[:2], np.float32), still),
    ]
    sharp, _ = expose(layers, SIZE, 9)
    margin = motion_blur.MARGIN_PX
    np.testing.assert_array_equal(sharp, photograph[::-1][margin:-margin, margin:-margin])


def test_camera_pair_repeats_with_its_seed(photograph: Pixels) -> None:
    first, second = (camera_pair(photograph, photograph[::-1], np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first[1], second[1])
    assert first[0].shape == first[1].shape == (*SIZE, 3)


def test_straight_pair_keeps_the_sharp_crop(photograph: Pixels) -> None:
    sharp, blurred = straight_pair(photograph, np.random.default_rng(0))
    np.testing.assert_array_equal(sharp, photograph)
    assert np.diff(blurred.astype(int), axis=1).var() < np.diff(sharp.astype(int), axis=1).var()


def test_mask_is_soft_and_neither_empty_nor_full() -> None:
    mask = motion_blur.random_mask((96, 128), np.random.default_rng(0))
    assert mask.shape == (96, 128)
    assert 0.05 < mask.mean() < 0.95
    assert mask.min() >= 0.0
    assert mask.max() <= 1.0
