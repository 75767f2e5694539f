from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from deblurrt.core.errors import ContractError, OutputError, SourceError, UsageError
from deblurrt.core.pictures import ENCODERS, PICTURE_SUFFIXES, is_picture, read_picture, write_picture

pillow = pytest.importorskip("PIL.Image", reason="Pillow writes the pictures with EXIF data")
pillow_ops = pytest.importorskip("PIL.ImageOps")

Pixels = NDArray[np.uint8]

LOSSLESS = sorted(PICTURE_SUFFIXES - {".jpg", ".jpeg"})

#: the finest quantiser this encoder has, on smooth pictures
JPEG_TOLERANCE_LEVELS = 9
#: JPEG's chroma interpolated in two ways
CHROMA_TOLERANCE_LEVELS = 8


@pytest.fixture
def picture() -> Pixels:
    noise = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)
    smooth: Pixels = np.array(pillow.fromarray(noise).resize((53, 37), pillow.Resampling.BICUBIC))
    return smooth


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_lossless_formats_keep_every_pixel(tmp_path: Path, suffix: str, picture: Pixels) -> None:
    write_picture(tmp_path / f"a{suffix}", picture)
    assert (read_picture(tmp_path / f"a{suffix}") == picture).all()
    with pillow.open(tmp_path / f"a{suffix}") as other:
        assert (np.array(other.convert("RGB")) == picture).all()


def test_jpeg_keeps_nearly_every_level(tmp_path: Path, picture: Pixels) -> None:
    write_picture(tmp_path / "a.jpg", picture)
    assert np.abs(read_picture(tmp_path / "a.jpg").astype(int) - picture).max() <= JPEG_TOLERANCE_LEVELS


@pytest.mark.parametrize("suffix", sorted(ENCODERS))
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 3)])
def test_smallest_sizes_survive(tmp_path: Path, suffix: str, size: tuple[int, int]) -> None:
    write_picture(tmp_path / f"a{suffix}", np.full((*size, 3), 77, np.uint8))
    read = read_picture(tmp_path / f"a{suffix}")
    assert read.shape == (*size, 3)
    assert np.abs(read.astype(int) - 77).max() <= 1


def test_result_is_contiguous_and_writable(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", np.zeros((3, 5, 3), np.uint8))
    read = read_picture(tmp_path / "a.png")
    assert read.flags.c_contiguous
    assert read.flags.writeable


@pytest.mark.parametrize("suffix", ["png", "jpeg", "tiff", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_turned_upright(
    tmp_path: Path, orientation: int, suffix: str, picture: Pixels
) -> None:
    exif = pillow.Exif()
    exif[0x112] = orientation
    options = {"lossless": True} if suffix == "webp" else {"subsampling": 0, "quality": 95} if suffix == "jpeg" else {}
    path = tmp_path / f"a.{suffix}"
    pillow.fromarray(picture).save(path, exif=exif, **options)
    with pillow.open(path) as other:
        expected = np.array(pillow_ops.exif_transpose(other).convert("RGB")).astype(int)
    read = read_picture(path)
    assert read.shape == expected.shape
    assert np.abs(read - expected).max() <= (CHROMA_TOLERANCE_LEVELS if suffix == "jpeg" else 0)


def test_grey_is_exact(tmp_path: Path) -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    pillow.fromarray(ramp).save(tmp_path / "a.png")
    assert (read_picture(tmp_path / "a.png") == ramp[..., None]).all()


def test_palette_transparency_and_sixteen_bits_become_rgb(tmp_path: Path, picture: Pixels) -> None:
    opaque = pillow.fromarray(picture)
    opaque.quantize(16).save(tmp_path / "palette.png")
    assert (read_picture(tmp_path / "palette.png") == np.array(opaque.quantize(16).convert("RGB"))).all()
    alpha = np.dstack([picture, picture[..., 0]])
    pillow.fromarray(alpha).save(tmp_path / "alpha.png")
    assert (read_picture(tmp_path / "alpha.png") == picture).all()
    deep = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    pillow.fromarray(deep).save(tmp_path / "deep.png")
    assert np.abs(read_picture(tmp_path / "deep.png")[..., 0].astype(int) - (deep >> 8)).max() <= 1


def test_jpeg_of_hd_height_is_not_taken_for_hd_video(tmp_path: Path) -> None:
    flat = np.broadcast_to(np.array([200, 30, 40], np.uint8), (720, 16, 3))
    pillow.fromarray(flat).save(tmp_path / "a.jpg", quality=95)
    assert np.abs(read_picture(tmp_path / "a.jpg").astype(int) - flat).max() <= 2


def test_name_like_a_numbered_series_is_one_file(tmp_path: Path, picture: Pixels) -> None:
    write_picture(tmp_path / "frame%03d.png", picture)
    assert (read_picture(tmp_path / "frame%03d.png") == picture).all()


def damaged(kind: str) -> bytes:
    whole = io.BytesIO()
    pillow.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(whole, "png")
    return {"empty": b"", "text": b"words\n" * 99, "cut": whole.getvalue()[:900]}[kind]


@pytest.mark.parametrize("kind", ["empty", "text", "cut"])
def test_unreadable_picture_is_named_in_one_line(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a.png").write_bytes(damaged(kind))
    with pytest.raises(SourceError, match=r"a\.png is not a readable picture \(.+\); is the file whole\?") as caught:
        read_picture(tmp_path / "a.png")
    assert "\n" not in str(caught.value)


def test_missing_picture_is_said(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no picture at"):
        read_picture(tmp_path / "none.png")


def test_unknown_format_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a\.gif names no known picture format, expected \.bmp, \.jpeg"):
        write_picture(tmp_path / "a.gif", np.zeros((2, 2, 3), np.uint8))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "pixels", [np.zeros((2, 2), np.uint8), np.zeros((2, 2, 3), np.float32), np.zeros((0, 2, 3), np.uint8)]
)
def test_arrays_that_are_no_pictures_are_refused(tmp_path: Path, pixels: Pixels) -> None:
    with pytest.raises(ContractError, match=r"expected uint8 \[height, width, 3\]"):
        write_picture(tmp_path / "a.png", pixels)


def test_failed_write_leaves_the_old_picture_and_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_picture(tmp_path / "a.png", np.full((2, 2, 3), 9, np.uint8))

    def fail(self: Path, data: bytes) -> int:
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OutputError, match="disk full while writing"):
        write_picture(tmp_path / "a.png", np.zeros((2, 2, 3), np.uint8))
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
    assert read_picture(tmp_path / "a.png").min() == 9


def test_pictures_are_known_by_their_suffix() -> None:
    assert is_picture(Path("a.JPG"))
    assert not is_picture(Path("a.mp4"))
