from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deblurrt.core.errors import SourceError
from deblurrt.core.pictures import write_picture
from deblurrt.datasets.pairs import open_pairs


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
