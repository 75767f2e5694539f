"""Memory of pictures that is used again, never while anybody looks at it."""

from __future__ import annotations

import numpy as np

from deblurrt.runtime.frame import Pixels
from deblurrt.runtime.picture_pool import KEPT_MAX, PicturePool

SHAPE = (4, 6, 3)


def address(picture: Pixels) -> int:
    return int(picture.__array_interface__["data"][0])


def test_memory_is_used_again_once_nobody_looks_at_it() -> None:
    pool = PicturePool()
    first = pool.empty(SHAPE)
    place = address(first)
    del first
    assert address(pool.empty(SHAPE)) == place


def test_pictures_in_use_are_left_alone() -> None:
    pool = PicturePool()
    held = [pool.empty(SHAPE) for _ in range(KEPT_MAX + 3)]
    assert len({address(picture) for picture in held}) == len(held)


def test_a_view_or_a_buffer_of_a_picture_keeps_it() -> None:
    pool = PicturePool()
    row = pool.empty(SHAPE)[1:2, ::2]
    buffer = pool.empty(SHAPE).data
    other = pool.empty(SHAPE)
    other[...] = 7
    row[...] = 1
    assert buffer.nbytes == other.nbytes
    assert set(other.ravel().tolist()) == {7}
    assert not np.shares_memory(other, np.asarray(buffer))


def test_another_size_takes_the_place_of_the_one_before() -> None:
    pool = PicturePool()
    small = pool.empty(SHAPE)
    small[...] = 3
    large = pool.empty((8, 6, 3))
    large[...] = 5
    assert large.shape == (8, 6, 3)
    assert set(small.ravel().tolist()) == {3}
