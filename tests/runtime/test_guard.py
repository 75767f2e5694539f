from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import BackendError
from deblurrt.core.tensors import Array, TensorSpec
from deblurrt.runtime.frame import Pixels
from deblurrt.runtime.guard import Guard, checked_session
from deblurrt.runtime.session import Session
from tests.fakes import FakeBackend, fake_session

FLOAT_IN = TensorSpec("frames", "float32", ("batch", 3, "height", "width"))
FLOAT_OUT = TensorSpec("restored", "float32", ("batch", 3, "height", "width"))


def picture(seed: int = 0, size: tuple[int, int] = (96, 128)) -> Pixels:
    """Smooth shapes with some texture."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 200, (size[0] // 16 + 1, size[1] // 16 + 1, 3))
    smooth = np.repeat(np.repeat(coarse, 16, 0), 16, 1)[: size[0], : size[1]]
    return (smooth + rng.integers(-20, 20, (*size, 3))).astype(np.uint8)


@pytest.mark.parametrize("size", [(1, 1), (5, 40), (31, 33), (96, 128), (97, 131)])
@pytest.mark.parametrize("scale", [1, 4])
def test_picture_that_is_right_passes_at_any_size(size: tuple[int, int], scale: int) -> None:
    pixels = picture(size=size)
    restored = np.repeat(np.repeat(pixels, scale, 0), scale, 1)
    assert Guard(scale).fault(pixels, restored) == ""


def test_sharper_picture_passes() -> None:
    sharp = picture()
    blurred = np.mean([np.roll(sharp, shift, 1) for shift in range(9)], axis=0).astype(np.uint8)
    assert Guard().fault(blurred, sharp) == ""


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda pixels: 255 - pixels, "grey levels"),
        (np.zeros_like, "black"),
        (lambda pixels: np.full_like(pixels, 255), "grey levels"),
        (lambda pixels: pixels // 2, "grey levels"),
        (lambda pixels: np.roll(pixels, 40, 1), "grey levels"),
        (lambda pixels: pixels[:-1], "expected uint8[96, 128, 3]"),
        (lambda pixels: pixels.astype(np.float32), "expected uint8"),
        (lambda pixels: pixels[..., ::-1], "grey levels"),
    ],
    ids=["inverted", "black", "white", "dark", "shifted", "shape", "type", "red and blue"],
)
def test_picture_that_cannot_be_right_is_refused(damage: Callable[[Pixels], Pixels], told: str) -> None:
    assert told in Guard().fault(picture(), damage(picture()))


def test_dark_scene_is_not_taken_for_a_black_picture() -> None:
    night = picture() // 100
    assert Guard().fault(night, night) == ""


def test_picture_given_twice_is_refused_only_where_the_scene_moved() -> None:
    guard = Guard()
    assert guard.fault(picture(0), picture(0)) == ""
    assert guard.fault(picture(0), picture(0)) == ""
    moved = np.roll(picture(0), 3, 1)
    assert "again" in guard.fault(moved, picture(0))


def float_session(compute: Callable[[Array], Array]) -> Session:
    return checked_session(Session(FakeBackend(compute, FLOAT_IN, FLOAT_OUT), FrameContract(io="float"), "fake"))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_refused(value: float) -> None:
    def compute(frames: Array) -> Array:
        damaged = frames.copy()
        damaged[0, 1, 5, 7] = value
        return damaged

    with pytest.raises(BackendError, match="no numbers"):
        float_session(compute).restore(picture())


def test_values_far_out_of_range_are_refused() -> None:
    with pytest.raises(BackendError, match="outside"):
        float_session(lambda frames: frames * 1000).restore(picture())


def test_values_a_little_out_of_range_are_cut() -> None:
    def compute(frames: Array) -> Array:
        return np.asarray(frames + np.float32(0.1))

    assert float_session(compute).restore(picture()).max() <= 255


def test_network_that_rounds_itself_is_not_wrapped() -> None:
    session = fake_session()
    assert checked_session(session) is session
