from __future__ import annotations

import av
import numpy as np
import pytest

from deblurrt.runtime.color import MATRICES, ColorConverter, ColorSpec, color_of_frame

from .clips import patch_picture, patches_of, yuv_frame

#: rounding to 8-bit limited YUV and back
COLOR_TOLERANCE_LEVELS = 2

EVERY_COLOR = [ColorSpec(matrix, is_full) for matrix in (1, 5, 6, 9) for is_full in (False, True)]


@pytest.mark.parametrize("pixel_format", ["yuv444p", "yuv420p", "yuv420p10le"])
@pytest.mark.parametrize("color", EVERY_COLOR)
def test_every_matrix_and_range_decodes_to_the_textbook_colours(color: ColorSpec, pixel_format: str) -> None:
    picture = patch_picture((16, 320))
    decoded = ColorConverter().rgb_from_frame(yuv_frame(picture, color, pixel_format), color)
    assert np.abs(patches_of(decoded) - patches_of(picture)).max() <= COLOR_TOLERANCE_LEVELS


@pytest.mark.parametrize("color", EVERY_COLOR)
def test_every_matrix_and_range_encodes_to_the_textbook_numbers(color: ColorSpec) -> None:
    picture = patch_picture((16, 320))
    encoded = ColorConverter().frame_from_rgb(picture, color, "yuv444p")
    expected = yuv_frame(picture, color).to_ndarray()
    assert np.abs(encoded.to_ndarray().astype(int) - expected)[:, 8, 32::64].max() <= 1


def test_encoded_frame_is_tagged() -> None:
    color = ColorSpec(matrix=5, is_full_range=True, primaries=5, transfer=6)
    assert color_of_frame(ColorConverter().frame_from_rgb(patch_picture((16, 320)), color, "yuv420p")) == color


@pytest.mark.parametrize(("height", "matrix"), [(718, 6), (720, 1)])
def test_untagged_video_is_bt709_from_720_lines_on(height: int, matrix: int) -> None:
    color = color_of_frame(av.VideoFrame(64, height, "yuv420p"))
    assert (color.matrix, color.is_full_range, color.is_assumed) == (matrix, False, True)


@pytest.mark.parametrize("matrix", MATRICES.values())
def test_matrix_a_user_names_is_that_of_untagged_video_only(matrix: int) -> None:
    color = color_of_frame(av.VideoFrame(64, 720, "yuv420p"), matrix)
    assert (color.matrix, color.is_assumed) == (matrix, False)
    tagged = ColorSpec(matrix=5, is_full_range=True, primaries=5, transfer=6)
    frame = ColorConverter().frame_from_rgb(patch_picture((16, 320)), tagged, "yuv420p")
    assert color_of_frame(frame, matrix) == tagged
    assert color_of_frame(av.VideoFrame(64, 48, "rgb24"), matrix).matrix == 0


def test_yuvj_formats_are_full_range() -> None:
    assert color_of_frame(av.VideoFrame(64, 48, "yuvj420p")).is_full_range


@pytest.mark.parametrize("pixel_format", ["rgb24", "bgr0", "gbrp", "gray", "pal8"])
def test_formats_without_chroma_planes_have_no_matrix(pixel_format: str) -> None:
    color = color_of_frame(av.VideoFrame(64, 48, pixel_format))
    assert (color.matrix, color.is_full_range, color.is_assumed) == (0, True, False)


def test_rgb_is_encoded_as_limited_bt709_and_video_as_it_came() -> None:
    assert ColorSpec().for_video == ColorSpec(1, False, 1, 1)
    assert ColorSpec(9, True, 9, 16).for_video == ColorSpec(9, True, 9, 16)


def test_full_range_grey_is_exact() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    frame = av.VideoFrame.from_ndarray(ramp, format="gray")
    pixels = ColorConverter().rgb_from_frame(frame, color_of_frame(frame))
    assert (pixels == ramp[..., None]).all()


def test_limited_range_grey_is_stretched() -> None:
    frame = av.VideoFrame.from_ndarray(np.array([[16, 235]] * 2, np.uint8), format="gray")
    frame.color_range = 1
    assert ColorConverter().rgb_from_frame(frame, color_of_frame(frame))[0, :, 0].tolist() == [0, 255]


def test_rgb_frames_stay_as_they_are() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    assert (ColorConverter().rgb_from_frame(frame, color_of_frame(frame)) == picture).all()
