"""Flips and rotations."""

from __future__ import annotations

import numpy as np
import pytest

from deblurrt.core.symmetries import X4, X8, Symmetry

PICTURE = np.arange(24).reshape(1, 2, 3, 4)


@pytest.mark.parametrize("symmetry", X8)
@pytest.mark.parametrize("axes", [(-2, -1), (-3, -2)])
def test_undo_turns_back_what_apply_turned(symmetry: Symmetry, axes: tuple[int, int]) -> None:
    turned = symmetry.apply(PICTURE, np.flip, axes)
    assert np.array_equal(symmetry.undo(turned, np.flip, axes), PICTURE)


def test_x8_holds_eight_different_pictures_in_the_order_of_edsr() -> None:
    looks = [PICTURE]
    looks += [np.flip(look, -1) for look in looks]
    looks += [np.flip(look, -2) for look in looks]
    looks += [look.swapaxes(-1, -2) for look in looks]
    made = [symmetry.apply(PICTURE, np.flip) for symmetry in X8]
    assert all(np.array_equal(one, other) for one, other in zip(made, looks, strict=True))
    assert len({one.tobytes() for one in made}) == 8


def test_x4_holds_the_four_rotations() -> None:
    made = [symmetry.apply(PICTURE, np.flip) for symmetry in X4]
    rotations = [np.rot90(PICTURE, turns, axes=(-2, -1)) for turns in range(4)]
    assert all(np.array_equal(one, other) for one, other in zip(made, rotations, strict=True))


def test_height_and_width_lie_where_the_axes_say() -> None:
    bytes_layout = PICTURE.transpose(0, 2, 3, 1)
    turned = Symmetry(flips_width=True, transposes=True).apply(bytes_layout, np.flip, (-3, -2))
    assert np.array_equal(turned.transpose(0, 3, 1, 2), np.rot90(PICTURE, axes=(-2, -1)))
