"""Which split a place belongs to, by what its folders are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from deblurrt.calibration.splits import held_back_split
from tests.calibration.small_networks import write_frames


@pytest.mark.parametrize("name", ["val", "valid", "validation", "test", "Test", "VAL"])
def test_folder_that_is_called_so_is_held_back(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name / "scene"
    folder.mkdir(parents=True)
    assert held_back_split(folder.parent) == name.lower()
    assert held_back_split(folder) == name.lower()


@pytest.mark.parametrize("name", ["train", "tests", "latest", "evaluation", "valley"])
def test_folder_that_is_only_called_alike_is_not(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    assert held_back_split(tmp_path / name) is None


@pytest.mark.parametrize(("split", "expected"), [("val", "val"), ("test", "test"), ("train", None)])
def test_sequence_of_a_data_set_is_known_by_its_root(tmp_path: Path, split: str, expected: str | None) -> None:
    for track in ("blur", "sharp"):
        write_frames(tmp_path / split / f"{split}_{track}" / "000", 1, (16, 16))
    assert held_back_split(tmp_path / split / f"{split}_blur" / "000") == expected


@pytest.mark.parametrize(("folder", "expected"), [("val", "val"), ("test/scene", "test"), ("drives", None)])
def test_file_belongs_where_its_folder_does(tmp_path: Path, folder: str, expected: str | None) -> None:
    place = tmp_path / folder
    place.mkdir(parents=True)
    (place / "clip.mp4").write_bytes(b"")
    assert held_back_split(place / "clip.mp4") == expected


def test_link_is_judged_by_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "val").mkdir()
    (tmp_path / "mine").symlink_to(tmp_path / "val")
    assert held_back_split(tmp_path / "mine") == "val"
