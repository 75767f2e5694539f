from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deblurrt.core.errors import ContractError, SourceError, UsageError
from deblurrt.core.pictures import read_picture, write_picture
from deblurrt.datasets.degradations import BicubicReduction, JpegCompression
from deblurrt.datasets.pairs import Pair, PairSequence, match_pictures, open_pairs


def put(path: Path, size: tuple[int, int] = (4, 6), value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_picture(path, np.full((*size, 3), value, np.uint8))


def put_sequence(folder: Path, names: list[str]) -> None:
    for name in names:
        put(folder / "blur" / name, value=10)
        put(folder / "sharp" / name, value=20)


def test_folder_of_blur_and_sharp_is_one_sequence(tmp_path: Path) -> None:
    put_sequence(tmp_path / "walk", ["00000000.png", "00000001.png"])
    (sequence,) = open_pairs(tmp_path / "walk")
    assert sequence.name == "walk"
    assert [pair.name for pair in sequence] == ["walk/00000000", "walk/00000001"]


def test_blurred_comes_before_sharp_when_read(tmp_path: Path) -> None:
    put_sequence(tmp_path, ["1.png"])
    blurred, sharp = next(iter(open_pairs(tmp_path)[0])).read()
    assert (blurred == 10).all()
    assert (sharp == 20).all()


def test_two_single_pictures_are_one_pair(tmp_path: Path) -> None:
    put(tmp_path / "street" / "blur.png")
    put(tmp_path / "street" / "sharp.png")
    (sequence,) = open_pairs(tmp_path / "street")
    assert [pair.name for pair in sequence] == ["street"]


def test_folder_of_folders_holds_sequences_and_passes_over_others(tmp_path: Path) -> None:
    put_sequence(tmp_path / "seq10", ["1.png"])
    put_sequence(tmp_path / "seq9", ["1.png", "2.png"])
    put(tmp_path / "street" / "blur.png")
    put(tmp_path / "street" / "sharp.png")
    put(tmp_path / "stills" / "a.png")
    put(tmp_path / "sharp_only" / "sharp" / "1.png")
    (tmp_path / "notes.txt").write_text("no pictures")
    assert [(sequence.name, len(sequence)) for sequence in open_pairs(tmp_path)] == [
        ("seq9", 2),
        ("seq10", 1),
        ("street", 1),
    ]


def test_frames_are_in_natural_order(tmp_path: Path) -> None:
    put_sequence(tmp_path / "s", ["frame10.png", "frame9.png", "frame1.png"])
    assert [pair.name for pair in open_pairs(tmp_path / "s")[0]] == ["s/frame1", "s/frame9", "s/frame10"]


def test_partner_may_have_another_suffix_and_hidden_files_do_not_count(tmp_path: Path) -> None:
    put(tmp_path / "blur" / "1.jpg")
    put(tmp_path / "sharp" / "1.png")
    (tmp_path / "sharp" / "._1.png").write_bytes(b"resource fork")
    assert len(open_pairs(tmp_path)[0]) == 1


def test_pictures_are_read_only_when_asked_for(tmp_path: Path) -> None:
    put_sequence(tmp_path, ["1.png"])
    (tmp_path / "blur" / "1.png").write_bytes(b"damaged")
    pair = open_pairs(tmp_path)[0].pairs[0]
    with pytest.raises(SourceError, match="not a readable picture"):
        pair.read()


def test_missing_sharp_picture_is_named(tmp_path: Path) -> None:
    put_sequence(tmp_path, ["1.png", "2.png"])
    (tmp_path / "sharp" / "2.png").unlink()
    with pytest.raises(SourceError, match=r"blur/2\.png has no partner: .*sharp holds no picture named 2"):
        open_pairs(tmp_path)


def test_missing_blurred_picture_is_named(tmp_path: Path) -> None:
    put_sequence(tmp_path, ["1.png", "2.png"])
    (tmp_path / "blur" / "1.png").unlink()
    with pytest.raises(SourceError, match=r"sharp/1\.png has no partner: .*blur holds no picture named 1"):
        open_pairs(tmp_path)


def test_missing_partner_of_a_single_picture_is_named(tmp_path: Path) -> None:
    put(tmp_path / "blur.png")
    with pytest.raises(SourceError, match=r"sharp\.png is missing"):
        open_pairs(tmp_path)


def test_blur_folder_without_sharp_folder_is_named(tmp_path: Path) -> None:
    put(tmp_path / "seq" / "blur" / "1.png")
    with pytest.raises(SourceError, match=r"the folder .*seq/sharp is missing"):
        open_pairs(tmp_path)


def test_one_frame_under_two_suffixes_is_refused(tmp_path: Path) -> None:
    put_sequence(tmp_path, ["1.png", "1.bmp"])
    with pytest.raises(SourceError, match="one frame twice"):
        open_pairs(tmp_path)


def test_pair_of_two_sizes_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "blur.png", (4, 6))
    put(tmp_path / "sharp.png", (8, 6))
    with pytest.raises(SourceError, match=r"blur\.png is 4x6, .*sharp\.png is 8x6"):
        open_pairs(tmp_path)[0].pairs[0].read()


def test_folder_without_pairs_says_what_it_found(tmp_path: Path) -> None:
    put(tmp_path / "kodak.png")
    with pytest.raises(SourceError, match=r"expected blur/ beside sharp/.* found kodak\.png"):
        open_pairs(tmp_path)


def test_empty_blur_and_sharp_folders_are_refused(tmp_path: Path) -> None:
    put_sequence(tmp_path, ["1.png"])
    (tmp_path / "blur" / "1.png").unlink()
    (tmp_path / "sharp" / "1.png").unlink()
    with pytest.raises(SourceError, match=r"no pictures in .*found nothing"):
        open_pairs(tmp_path)


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no folder of pairs"):
        open_pairs(tmp_path / "absent")


def put_ramp(path: Path, size: tuple[int, int], step: int) -> None:
    """Write a picture whose red tells its row and whose green its column, both times ``step``."""
    rows, columns = np.mgrid[: size[0], : size[1]] * step
    write_picture(path, np.stack([rows, columns, rows * 0], axis=2).astype(np.uint8))


@pytest.fixture
def ramp(tmp_path: Path) -> Pair:
    """Rows and columns of the sharp picture; the blurred one counts them by fours."""
    put_ramp(tmp_path / "blur_x4.png", (9, 10), 4)
    put_ramp(tmp_path / "sharp.png", (36, 40), 1)
    return Pair("ramp", tmp_path / "blur_x4.png", tmp_path / "sharp.png", scale=4)


def test_sharp_picture_of_a_scaled_pair_is_larger(ramp: Pair) -> None:
    blurred, sharp = ramp.read()
    assert (blurred.shape, sharp.shape) == ((9, 10, 3), (36, 40, 3))


def test_scaled_pair_of_one_size_is_refused(ramp: Pair) -> None:
    pair = replace(ramp, blurred=ramp.sharp)
    with pytest.raises(SourceError, match=r"is 36x40, .*sharp\.png is 36x40; the sharp one needs 4 times the size"):
        pair.read()


def test_degradation_makes_the_blurred_picture(ramp: Pair) -> None:
    pair = replace(ramp, blurred=ramp.sharp, degradation=BicubicReduction())
    np.testing.assert_array_equal(pair.read()[0], BicubicReduction()(read_picture(ramp.sharp), "ramp"))


def test_degradation_that_does_not_fit_the_scale_is_refused(ramp: Pair) -> None:
    pair = replace(ramp, degradation=BicubicReduction(), blurred=ramp.sharp, scale=1)
    with pytest.raises(SourceError, match=r"what is made of .*sharp\.png is 9x10, .*sharp\.png is 36x40"):
        pair.read()


# odd spare rows and columns of the blurred picture included
@pytest.mark.parametrize("crop", [(4, 4), (8, 12), (32, 36), (36, 40)])
def test_crop_keeps_blurred_and_sharp_aligned_and_in_the_middle(ramp: Pair, crop: tuple[int, int]) -> None:
    blurred, sharp = replace(ramp, crop=crop).read()
    assert (blurred.shape[:2], sharp.shape[:2]) == ((crop[0] // 4, crop[1] // 4), crop)
    assert (blurred[0, 0] == sharp[0, 0]).all()
    first, spare = sharp[0, 0, :2], np.array([36, 40]) - crop
    assert (np.abs(2 * first - spare) <= 4).all()


def test_crop_of_720_rows_to_704_takes_8_off_either_end(tmp_path: Path) -> None:
    rows = np.repeat(np.arange(720, dtype=np.int64)[:, None], 8, axis=1)
    write_picture(tmp_path / "sharp.png", np.stack([rows % 256, rows // 256, rows * 0], axis=2).astype(np.uint8))
    _, sharp = Pair("p", tmp_path / "sharp.png", tmp_path / "sharp.png", crop=(704, 8)).read()
    assert sharp[[0, -1], 0, 0].tolist() == [8, 711 % 256]


def test_degradation_comes_before_the_crop(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    write_picture(tmp_path / "a.png", pixels)
    pair = Pair("a", tmp_path / "a.png", tmp_path / "a.png", degradation=JpegCompression(), crop=(20, 20))
    np.testing.assert_array_equal(pair.read()[0], JpegCompression()(pixels, "a")[10:30, 10:30])


@pytest.mark.parametrize("crop", [(40, 40), (36, 44)])
def test_crop_larger_than_the_picture_is_refused(ramp: Pair, crop: tuple[int, int]) -> None:
    with pytest.raises(ContractError, match=f"the crop {crop[0]}x{crop[1]} is larger than ramp, 36x40"):
        replace(ramp, crop=crop).read()


@pytest.mark.parametrize("crop", [(30, 40), (36, 2), (0, 4), (-4, 4)])
def test_crop_of_a_sequence_is_a_multiple_of_its_scale(ramp: Pair, crop: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="expected positive multiples of the scale 4"):
        PairSequence("ramp", (ramp,)).crop_to(crop)


@pytest.fixture
def walk(tmp_path: Path) -> PairSequence:
    """Names 3 to 27: places differ from numbers."""
    pairs = (Pair(f"walk/{number:08d}", tmp_path / "a.png", tmp_path / "b.png") for number in range(3, 28))
    return PairSequence("walk", tuple(pairs))


def test_every_tenth_frame_is_counted_by_place(walk: PairSequence) -> None:
    assert [pair.name for pair in walk.choose("every10")] == ["walk/00000003", "walk/00000013", "walk/00000023"]


def test_frames_ending_in_9_are_found_by_name(walk: PairSequence) -> None:
    chosen = walk.choose("ends9")
    assert [pair.name for pair in chosen] == ["walk/00000009", "walk/00000019"]
    assert (len(chosen), len(chosen.pairs)) == (2, 25)


def test_choosing_all_frames_undoes_a_choice(walk: PairSequence) -> None:
    assert walk.choose("ends9").choose("all") == walk


def test_unknown_choice_of_frames_is_refused(walk: PairSequence) -> None:
    with pytest.raises(UsageError, match="no choice of frames 'some'; it is one of all, every10, ends9"):
        walk.choose("some")  # type: ignore[arg-type]


def test_frames_scored_already_are_left_out_of_a_choice(walk: PairSequence) -> None:
    left = walk.choose("every10").without({"walk/00000013", "walk/00000009"})
    assert [pair.name for pair in left] == ["walk/00000003", "walk/00000023"]


def test_spare_sharp_pictures_are_passed_over_where_allowed(tmp_path: Path) -> None:
    put_sequence(tmp_path, ["1.png", "2.png"])
    (tmp_path / "blur" / "2.png").unlink()
    matched = match_pictures(tmp_path / "blur", tmp_path / "sharp", has_spare_sharp=True)
    assert matched == {"1": (tmp_path / "blur" / "1.png", tmp_path / "sharp" / "1.png")}
