from __future__ import annotations

import numpy as np
import pytest

from deblurrt.core.errors import ContractError
from deblurrt.runtime.time_code import CODE_SIZE, paint_time_code, read_time_code

TIME_NS = 123_456_789_012_345_000


def test_time_code_is_read_back_to_the_microsecond() -> None:
    pixels = np.full((*CODE_SIZE, 3), 90, np.uint8)
    paint_time_code(pixels, TIME_NS + 999)
    assert read_time_code(pixels) == TIME_NS


def test_time_code_survives_noise_of_compression() -> None:
    rng = np.random.default_rng(0)
    pixels = np.full((40, 300, 3), 90, np.uint8)
    paint_time_code(pixels, TIME_NS)
    noisy = np.clip(pixels + rng.normal(0, 30, pixels.shape), 0, 255).astype(np.uint8)
    assert read_time_code(noisy) == TIME_NS


@pytest.mark.parametrize("level", [0, 90, 255])
def test_a_picture_without_code_has_no_time(level: int) -> None:
    assert read_time_code(np.full((40, 300, 3), level, np.uint8)) is None


def test_a_small_picture_holds_no_code() -> None:
    small = np.zeros((CODE_SIZE[0], CODE_SIZE[1] - 1, 3), np.uint8)
    assert read_time_code(small) is None
    with pytest.raises(ContractError, match="16x256 pixels, this picture has 16x255"):
        paint_time_code(small, TIME_NS)
