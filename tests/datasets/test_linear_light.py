from __future__ import annotations

import numpy as np

from deblurrt.datasets.linear_light import GAMMA, code_from_linear, linear_from_code

CODES = np.arange(256, dtype=np.uint8)
#: 16 bits of linear light cannot hold code 1, which is 1/3 of their finest step
DARKEST_EXACT = 2


def test_codes_come_back_exactly() -> None:
    back = code_from_linear(linear_from_code(CODES))
    np.testing.assert_array_equal(back[DARKEST_EXACT:], CODES[DARKEST_EXACT:])


def test_darkest_codes_come_back_within_one_level() -> None:
    back = code_from_linear(linear_from_code(CODES)).astype(int)
    assert np.abs(back - CODES).max() <= 1


def test_half_the_light_is_not_half_the_code() -> None:
    code = int(code_from_linear(np.array([0.5], np.float32))[0])
    assert code == round(255 * 0.5 ** (1 / GAMMA))


def test_light_outside_its_range_is_clipped() -> None:
    np.testing.assert_array_equal(code_from_linear(np.array([-0.5, 1.5], np.float32)), [0, 255])
