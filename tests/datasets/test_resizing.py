from __future__ import annotations

import time

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from deblurrt.core.errors import ContractError
from deblurrt.datasets.resizing import enlarge_bicubic

Pixels = NDArray[np.uint8]


def noise(size: tuple[int, int]) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.mark.parametrize("factor", [2, 3, 4, 5])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 4), (33, 18)])
def test_enlargement_equals_pillow(size: tuple[int, int], factor: int) -> None:
    pixels = noise(size)
    wanted = Image.fromarray(pixels).resize((size[1] * factor, size[0] * factor), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(enlarge_bicubic(pixels, factor), np.asarray(wanted))


def test_overshoot_at_an_edge_is_clipped_not_wrapped_around() -> None:
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, 4:] = 255
    row = enlarge_bicubic(pixels, 4)[8, :, 0].astype(int)
    assert (np.diff(row) >= 0).all()
    assert (row[0], row[-1]) == (0, 255)


def test_factor_one_copies() -> None:
    pixels = noise((3, 4))
    enlarged = enlarge_bicubic(pixels, 1)
    np.testing.assert_array_equal(enlarged, pixels)
    assert not np.shares_memory(enlarged, pixels)


def test_enlargement_to_720p_takes_less_than_a_tenth_of_a_second() -> None:
    pixels = noise((180, 320))
    durations_s = []
    for _ in range(5):
        start_s = time.perf_counter()
        enlarge_bicubic(pixels, 4)
        durations_s.append(time.perf_counter() - start_s)
    assert min(durations_s) < 0.1


def test_anything_but_8_bit_colour_is_refused() -> None:
    with pytest.raises(ContractError, match=r"float64\[3, 4, 3\], expected uint8"):
        enlarge_bicubic(np.zeros((3, 4, 3)), 4)  # type: ignore[arg-type]


def test_factor_below_one_is_refused() -> None:
    with pytest.raises(ContractError, match="factor of enlargement is 0"):
        enlarge_bicubic(noise((3, 4)), 0)
