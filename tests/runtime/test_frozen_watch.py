from __future__ import annotations

import numpy as np

from deblurrt.runtime.frame import Pixels
from deblurrt.runtime.frozen_watch import FROZEN_FRAMES, FrozenWatch


def noisy(seed: int) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (64, 96, 3), dtype=np.uint8)


def feed(watch: FrozenWatch, pictures: list[Pixels]) -> list[str | None]:
    return [watch.saw(picture) for picture in pictures]


def test_tenth_equal_picture_is_one_too_many() -> None:
    watch = FrozenWatch()
    picture = noisy(0)
    assert feed(watch, [picture.copy() for _ in range(12)]) == [None] * 9 + ["frozen"] + [None] * 2
    assert (watch.is_frozen, watch.repeats) == (True, 12)
    assert watch.saw(noisy(1)) == "moving"
    assert not watch.is_frozen


def test_one_different_value_between_the_sampled_ones_is_life() -> None:
    watch = FrozenWatch()
    pictures = []
    for index in range(30):
        picture = noisy(0)
        picture[7, 9, 1] = index
        pictures.append(picture)
    assert feed(watch, pictures) == [None] * 30


def test_changing_size_is_life() -> None:
    watch = FrozenWatch()
    pictures = [np.zeros((48 + index % 2, 64, 3), np.uint8) for index in range(30)]
    assert feed(watch, pictures) == [None] * 30


def test_camera_that_goes_on_by_itself_is_called_frozen_more_rarely() -> None:
    """A sensor of one picture a second behind a stream of thirty: not sixty messages a minute."""
    watch = FrozenWatch()
    said = feed(watch, [noisy(second) for second in range(60) for _ in range(30)])
    assert said.count("frozen") == 2


def test_number_of_equal_pictures_is_the_promised_one() -> None:
    assert FROZEN_FRAMES == 10
