from __future__ import annotations

from pathlib import Path

import pytest

from deblurrt.core.errors import InputError
from deblurrt.training.material import HELD_OUT_FRAMES, find_material


def touch(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")


def numbered(count: int) -> list[str]:
    return [f"{index:08d}.png" for index in range(count)]


def test_last_pairs_of_a_sequence_are_kept_out(tmp_path: Path) -> None:
    for folder in ("blur", "sharp"):
        touch(tmp_path / "walk" / folder, *numbered(10))
    material = find_material([tmp_path])
    assert [pair.name for pair in material.pairs] == [f"walk/{index:08d}" for index in range(8)]
    assert [pair.name for pair in material.validation] == ["walk/00000008", "walk/00000009"]


def test_nothing_kept_out_is_among_the_files_trained_on(data: Path) -> None:
    material = find_material([data])
    judged = {path for pair in material.validation for path in (pair.blurred, pair.sharp)}
    judged |= {path for clip in material.held_out_clips for path in clip}
    assert len(judged) == 2 * (HELD_OUT_FRAMES + 1) + 3
    assert not judged & set(material.files())


@pytest.mark.parametrize("stem", ["frame{}", "{}", "IMG_{}"])
def test_kept_out_frames_are_never_trained_on_whatever_their_names(tmp_path: Path, stem: str) -> None:
    for folder in ("blur", "sharp"):
        touch(tmp_path / "walk" / folder, *(f"{stem.format(index)}.png" for index in range(5, 15)))
    material = find_material([tmp_path])
    assert [pair.blurred.stem for pair in material.validation] == [stem.format(13), stem.format(14)]
    judged = {path for pair in material.validation for path in (pair.blurred, pair.sharp)}
    assert not judged & set(material.files())


def test_single_pair_is_kept_out(tmp_path: Path) -> None:
    touch(tmp_path, "still.png")
    touch(tmp_path / "street", "blur.png", "sharp.png")
    material = find_material([tmp_path])
    assert [pair.name for pair in material.validation] == ["street"]
    assert material.files() == [tmp_path / "still.png"]


def test_reduced_pairs_are_trained_on_but_not_judged(tmp_path: Path) -> None:
    for folder in ("blur_x4", "sharp_x4"):
        touch(tmp_path / "walk" / folder, *numbered(6))
    touch(tmp_path, "still.png")
    material = find_material([tmp_path])
    assert [pair.name for pair in material.pairs] == [f"walk_x4/{index:08d}" for index in range(4)]
    assert material.validation == []
    assert material.clips == []


def test_pictures_named_by_digits_are_a_clip_in_order(tmp_path: Path) -> None:
    touch(tmp_path / "clip", *(f"{index}.png" for index in range(8, 16)))
    material = find_material([tmp_path])
    assert [[path.stem for path in clip] for clip in material.clips] == [["8", "9", "10", "11", "12"]]
    assert [[path.stem for path in clip] for clip in material.held_out_clips] == [["13", "14", "15"]]


def test_few_or_named_pictures_are_stills(tmp_path: Path) -> None:
    touch(tmp_path / "few", "1.png", "2.png")
    touch(tmp_path / "named", *(f"{letter}.jpg" for letter in "abcdefgh"))
    material = find_material([tmp_path])
    assert len(material.stills) == 10
    assert material.clips == []


def test_videos_are_found_by_their_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "still.png", "drive.MP4", "notes.txt")
    assert find_material([tmp_path]).videos == [tmp_path / "drive.MP4"]


def test_missing_data_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no data folder at"):
        find_material([tmp_path / "absent"])


def test_data_without_sharp_pictures_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "drive.mp4")
    with pytest.raises(InputError, match="no sharp pictures"):
        find_material([tmp_path])
