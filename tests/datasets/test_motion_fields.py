from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from deblurrt.datasets import motion_fields
from deblurrt.datasets.linear_light import code_from_linear, linear_from_code
from deblurrt.datasets.motion_fields import MotionField, averaged_frame, motion_field, random_field, transplant

Pixels = NDArray[np.uint8]

#: warps interpolate light on a grid of 1/32 px, which moves a few values by a level or two
WARP_LEVELS = 3


def constant_field(size: tuple[int, int], x: float, y: float) -> MotionField:
    ahead = np.tile(np.array([x, y], np.float32), (*size, 1))
    return MotionField(ahead, -ahead)


def test_transplant_without_motion_is_the_identity(photograph: Pixels) -> None:
    field = constant_field((200, 280), 0.0, 0.0)
    np.testing.assert_array_equal(transplant(photograph, field, 0.8), photograph)


def test_transplanted_translation_is_the_mean_of_shifted_pictures(photograph: Pixels) -> None:
    # 8 px per frame over a whole interval: nine moments, one pixel apart
    blurred = transplant(photograph, constant_field((200, 280), 8.0, 0.0), 1.0)
    light = linear_from_code(photograph)
    expected = code_from_linear(np.mean([np.roll(light, shift, axis=1) for shift in range(-4, 5)], axis=0))
    error = np.abs(blurred.astype(int) - expected)[:, 8:-8]
    assert error.max() <= WARP_LEVELS


def test_averaged_frame_of_a_translation_is_the_mean_along_it(photograph: Pixels) -> None:
    # the picture moves right by 8 px per frame, so that each frame shows what lies 8 px further left
    before, frame, after = (photograph[:, 20 - shift : 250 - shift] for shift in (-8, 0, 8))
    field = constant_field((200, 230), 8.0, 0.0)
    blurred = averaged_frame(before, frame, after, field, 1.0)
    light = linear_from_code(photograph)
    shifted = [light[:, 20 - shift : 250 - shift] for shift in range(-4, 5)]
    error = np.abs(blurred.astype(int) - code_from_linear(np.mean(shifted, axis=0)))[:, 12:-12]
    assert error.max() <= WARP_LEVELS


def test_averaged_frame_of_a_still_scene_is_the_frame(photograph: Pixels) -> None:
    field = constant_field((200, 280), 0.0, 0.0)
    np.testing.assert_array_equal(averaged_frame(photograph, photograph, photograph, field, 1.0), photograph)


def test_motion_field_looks_both_ways(photograph: Pixels) -> None:
    before, frame, after = (photograph[10:190, 20 - shift : 250 - shift] for shift in (-3, 0, 3))
    field = motion_field(before, frame, after)
    assert field.size == (180, 230)
    # a quarter pixel: what dense inverse search reaches on clean texture
    np.testing.assert_allclose(np.median(field.ahead.astype(float), axis=(0, 1)), [3, 0], atol=0.25)
    np.testing.assert_allclose(np.median(field.behind.astype(float), axis=(0, 1)), [-3, 0], atol=0.25)


@pytest.mark.parametrize("quarters", range(4))
@pytest.mark.parametrize("flip", [0, 1])
def test_turned_field_blurs_the_turned_picture_alike(photograph: Pixels, quarters: int, flip: int) -> None:
    square = photograph[:160, :160]
    field = constant_field((160, 160), 6.0, 2.0)

    def turned(pixels: Pixels) -> Pixels:
        rotated = np.rot90(pixels, quarters)
        return np.ascontiguousarray(rotated[:, ::-1] if flip else rotated)

    ahead, behind = (motion_fields._turn(flow, quarters, flip) for flow in (field.ahead, field.behind))
    first = transplant(turned(square), MotionField(ahead, behind), 1.0)
    second = turned(transplant(square, field, 1.0))
    assert np.abs(first.astype(int) - second)[8:-8, 8:-8].max() <= WARP_LEVELS


def test_random_field_is_square_and_moves_2_to_40_px_per_exposure() -> None:
    fields = [constant_field((90, 120), 4.0, 3.0)]
    rng = np.random.default_rng(0)
    for _ in range(20):
        field = random_field(fields, 64, rng)
        path = np.hypot(*field.ahead[0, 0]) * motion_fields.REDS_EXPOSURE
        assert field.size == (64, 64)
        # 5 px per frame may be scaled by 0.2 to 4 at most
        assert 5 * 0.2 * 0.8 - 0.01 <= path <= 5 * 4 * 0.8 + 0.01
