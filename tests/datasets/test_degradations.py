from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from deblurrt.core.errors import ContractError, SourceError
from deblurrt.core.pictures import read_picture, write_picture
from deblurrt.datasets.degradations import (
    BicubicReduction,
    FrameAverage,
    GaussianBlur,
    JpegCompression,
    read_as_published,
)

Pixels = NDArray[np.uint8]
Put = Callable[..., None]


def as_jpeg(pixels: Pixels, quality: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return file.getvalue()


def test_jpeg_has_quality_25_and_halved_chroma(photograph: Pixels) -> None:
    wanted = np.asarray(Image.open(io.BytesIO(as_jpeg(photograph, 25))).convert("RGB"))
    np.testing.assert_array_equal(JpegCompression()(photograph, "a"), wanted)


def test_reduction_is_pillows_antialiased_bicubic(photograph: Pixels) -> None:
    wanted = Image.fromarray(photograph).resize((70, 50), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(BicubicReduction()(photograph, "a"), np.asarray(wanted))


def test_reduction_refuses_sides_that_are_no_multiples(photograph: Pixels) -> None:
    with pytest.raises(ContractError, match=r"walk/3 is 199x278, .* cut the pictures to 196x276"):
        BicubicReduction()(photograph[1:, 2:], "walk/3")


def test_gaussian_blur_is_opencvs_on_8_bits_with_a_mirrored_border(photograph: Pixels) -> None:
    blur = GaussianBlur()
    sigma_px = blur.sigma_px("a")
    # 8-bit pictures: kernel of 6 sigma + 1, rounded and made odd
    side = round(6 * sigma_px + 1) | 1
    wanted = cv2.GaussianBlur(photograph, (side, side), sigma_px, borderType=cv2.BORDER_REFLECT_101)
    np.testing.assert_array_equal(blur(photograph, "a"), wanted)


def test_sigma_depends_on_seed_and_name_alone() -> None:
    names = [f"test_batch/{number}" for number in range(50)]
    drawn = [GaussianBlur(seed=1).sigma_px(name) for name in names]
    assert [GaussianBlur(seed=1).sigma_px(name) for name in reversed(names)] == drawn[::-1]
    assert len({*drawn, *(GaussianBlur(seed=2).sigma_px(name) for name in names)}) == 100


def test_sigma_is_even_from_zero_to_three() -> None:
    drawn = np.array([GaussianBlur().sigma_px(str(number)) for number in range(4000)])
    assert drawn.min() >= 0
    assert drawn.max() < 3
    # 4000 draws in 6 bins: 667 each, give or take four standard deviations of 23.6
    assert np.abs(np.histogram(drawn, 6, (0, 3))[0] - 4000 / 6).max() < 95


def test_picture_that_is_not_blurred_is_new_memory(photograph: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GaussianBlur, "sigma_px", lambda self, name: 0.0)
    same = GaussianBlur()(photograph, "a")
    np.testing.assert_array_equal(same, photograph)
    assert not np.shares_memory(same, photograph)


def test_average_is_the_rounded_mean_of_grey_levels(tmp_path: Path, put: Put) -> None:
    for name, value in (("1", 0), ("3", 255)):
        put(tmp_path / f"{name}.png", value=value)
    averaged = FrameAverage((tmp_path / "1.png", tmp_path / "3.png"))
    middle = np.full((16, 24, 3), 100, np.uint8)
    assert (averaged(middle, "2") == round((0 + 100 + 255) / 3)).all()


def test_average_of_two_sizes_is_refused(tmp_path: Path, put: Put) -> None:
    put(tmp_path / "1.png", (8, 8))
    with pytest.raises(SourceError, match=r"1\.png is 8x8, walk/2 is 4x4"):
        FrameAverage((tmp_path / "1.png",))(np.zeros((4, 4, 3), np.uint8), "walk/2")


def test_jpeg_files_are_decoded_as_libjpeg_does(tmp_path: Path, photograph: Pixels) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(as_jpeg(photograph, 25))
    np.testing.assert_array_equal(read_as_published(path), JpegCompression()(photograph, "a"))


def test_other_files_are_read_as_everywhere(tmp_path: Path, photograph: Pixels) -> None:
    write_picture(tmp_path / "a.png", photograph)
    np.testing.assert_array_equal(read_as_published(tmp_path / "a.png"), read_picture(tmp_path / "a.png"))


def test_damaged_jpeg_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"damaged")
    with pytest.raises(SourceError, match=r"a\.jpg is not a readable picture"):
        read_as_published(tmp_path / "a.jpg")


@pytest.mark.parametrize(("degradation", "words"), [
    (JpegCompression(), "from blur with Pillow at quality 25"),
    (BicubicReduction(), "from blur with Pillow's antialiased bicubic filter, 4 times smaller"),
    (GaussianBlur(seed=3), "sigma 0 to 3 px drawn by name (seed 3)"),
    (FrameAverage((Path("1"), Path("3"))), "mean of the grey levels of 3 consecutive frames"),
])  # fmt: skip
def test_note_says_how_it_was_made(degradation: JpegCompression, words: str) -> None:
    assert words in degradation.note
