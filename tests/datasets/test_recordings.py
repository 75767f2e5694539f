"""Tracks: taken from files where they are, made where they are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from deblurrt.core.errors import SourceError, UsageError
from deblurrt.core.pictures import read_picture
from deblurrt.datasets import TRACKS, open_dataset
from deblurrt.datasets.degradations import BicubicReduction, FrameAverage, JpegCompression
from deblurrt.datasets.recordings import TrackConfig

Pixels = NDArray[np.uint8]
Put = Callable[..., None]


@pytest.fixture
def walk(tmp_path: Path, put: Put) -> Path:
    """Nine consecutive pairs of 16x24 pixels."""
    for number in range(9):
        put(tmp_path / "walk" / "blur" / f"{number}.png")
        put(tmp_path / "walk" / "sharp" / f"{number}.png")
    return tmp_path / "walk"


def inputs(root: Path, track: str, **options: int) -> dict[str, Pixels]:
    dataset = open_dataset(root, track, **options)  # type: ignore[arg-type]
    return {pair.name: pair.read()[0] for sequence in dataset for pair in sequence}


def test_blur_is_what_the_files_hold(walk: Path) -> None:
    np.testing.assert_array_equal(inputs(walk, "blur")["walk/3"], read_picture(walk / "blur" / "3.png"))
    assert open_dataset(walk).notes == ()


def test_missing_jpeg_is_made_from_blur_and_noted(walk: Path) -> None:
    wanted = JpegCompression()(read_picture(walk / "blur" / "3.png"), "walk/3")
    np.testing.assert_array_equal(inputs(walk, "blur_jpeg")["walk/3"], wanted)
    assert open_dataset(walk, "blur_jpeg").notes == ("blur_jpeg was made from blur with Pillow at quality 25",)


def test_missing_small_pictures_are_made_from_blur_and_noted(walk: Path) -> None:
    wanted = BicubicReduction()(read_picture(walk / "blur" / "3.png"), "walk/3")
    np.testing.assert_array_equal(inputs(walk, "blur_bicubic_x4")["walk/3"], wanted)
    dataset = open_dataset(walk, "blur_bicubic_x4")
    assert dataset.scale == 4
    assert dataset.notes[0].startswith("blur_bicubic_x4 was made from blur with Pillow's antialiased bicubic")


def test_small_pictures_on_disk_are_taken(walk: Path, put: Put) -> None:
    for number in range(9):
        put(walk / "blur_x4" / f"{number}.png", (4, 6))
    np.testing.assert_array_equal(inputs(walk, "blur_bicubic_x4")["walk/3"], read_picture(walk / "blur_x4" / "3.png"))
    assert open_dataset(walk, "blur_bicubic_x4").notes == ()


def test_note_names_the_sequences_that_were_made(walk: Path, put: Put) -> None:
    put(walk.parent / "ride" / "blur_jpeg" / "1.jpg")
    put(walk.parent / "ride" / "sharp" / "1.png")
    dataset = open_dataset(walk.parent, "blur_jpeg")
    assert dataset.notes == ("blur_jpeg was made from blur with Pillow at quality 25 in walk",)


def test_small_pictures_without_large_truth_are_left_out_and_noted(walk: Path, put: Put) -> None:
    put(walk.parent / "small" / "blur_x4" / "1.png")
    put(walk.parent / "small" / "sharp_x4" / "1.png")
    dataset = open_dataset(walk.parent, "blur_bicubic_x4")
    assert [sequence.name for sequence in dataset] == ["walk"]
    assert "small is left out: it has blur_x4 but no sharp pictures" in dataset.notes
    with pytest.raises(SourceError, match="small is left out: it has blur_x4 but no sharp pictures; found blur_x4/"):
        open_dataset(walk.parent / "small", "blur_bicubic_x4")


def test_gaussian_is_made_from_sharp_and_the_same_in_any_selection(walk: Path) -> None:
    whole = inputs(walk, "gaussian")
    (sequence,) = open_dataset(walk, "gaussian").choose("every10")
    np.testing.assert_array_equal(sequence.pairs[0].read()[0], whole["walk/0"])
    _, sharp = sequence.pairs[3].read()
    np.testing.assert_array_equal(sharp, read_picture(walk / "sharp" / "3.png"))


def test_seed_changes_the_gaussian_blur(walk: Path) -> None:
    first, second = inputs(walk, "gaussian"), inputs(walk, "gaussian", seed=1)
    assert any((first[name] != second[name]).any() for name in first)


@pytest.mark.parametrize(("count", "names"), [(3, "1234567"), (7, "345")])
def test_average_is_of_the_frames_around_and_its_truth_the_middle_one(walk: Path, count: int, names: str) -> None:
    averaged = inputs(walk, "averaged", averaged_frames=count)
    assert list(averaged) == [f"walk/{name}" for name in names]
    frames = [read_picture(walk / "sharp" / f"{4 + step}.png") for step in range(-(count // 2), count // 2 + 1)]
    np.testing.assert_array_equal(averaged["walk/4"], np.rint(np.mean(frames, axis=0)).astype(np.uint8))
    pair = open_dataset(walk, "averaged", averaged_frames=count).sequences[0].pairs[0]
    np.testing.assert_array_equal(pair.read()[1], read_picture(walk / "sharp" / f"{names[0]}.png"))


def test_seven_frames_are_averaged_by_default(walk: Path) -> None:
    made = open_dataset(walk, "averaged").sequences[0].pairs[0].degradation
    assert isinstance(made, FrameAverage)
    assert len(made.others) == 6


def test_averaging_needs_enough_frames_that_follow_each_other(tmp_path: Path, put: Put) -> None:
    for name in "abcdefgh":
        put(tmp_path / f"{name}.png")
    with pytest.raises(UsageError, match="has no 7 consecutive sharp frames"):
        open_dataset(tmp_path, "averaged")


def test_sharp_folder_alone_serves_the_made_tracks(tmp_path: Path, put: Put) -> None:
    put(tmp_path / "walk" / "sharp" / "1.png")
    put(tmp_path / "street" / "sharp.png")
    assert list(inputs(tmp_path, "gaussian")) == ["street", "walk/1"]


def test_unknown_track_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match=f"no track 'fog'; it is one of {', '.join(TRACKS)}"):
        TrackConfig("fog")  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [1, 4])
def test_number_of_averaged_frames_is_odd_from_3(count: int) -> None:
    with pytest.raises(UsageError, match=f"{count} frames are to be averaged, expected an odd number from 3"):
        TrackConfig("averaged", count)
