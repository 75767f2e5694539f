from __future__ import annotations

import resource
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from deblurrt.core.errors import IncompleteError, OutputError, SourceError, UsageError
from deblurrt.core.pictures import PICTURE_SUFFIXES, read_picture, write_picture
from deblurrt.runtime.frame import Frame
from deblurrt.runtime.picture_folder import PictureFileSink, PictureFolderSink, PictureFolderSource, natural_key

from .clips import frames_from, noise_frames


def folder_of(path: Path, names: Sequence[str]) -> Path:
    path.mkdir()
    for name, pixels in zip(names, noise_frames(len(names)), strict=True):
        write_picture(path / name, pixels)
    return path


def read(path: Path) -> list[Frame]:
    with closing(PictureFolderSource(path)) as source:
        return list(source)


def test_digits_are_sorted_as_numbers() -> None:
    names = ["b1", "a10", "A9", "a", "10", "9", "a1b10", "a1b9"]
    assert sorted(names, key=natural_key) == ["9", "10", "a", "a1b9", "a1b10", "A9", "a10", "b1"]


def test_pictures_come_in_natural_order_under_their_names(tmp_path: Path) -> None:
    frames = read(folder_of(tmp_path / "in", ["10.png", "9.png", "2.bmp", "1.tif"]))
    assert [frame.name for frame in frames] == ["1", "2", "9", "10"]
    assert [frame.seq for frame in frames] == [0, 1, 2, 3]
    assert {(frame.pts, frame.time_base, frame.epoch, frame.stream) for frame in frames} == {(None, None, 0, "in")}


@pytest.mark.parametrize("suffix", sorted(PICTURE_SUFFIXES))
def test_every_format_is_read_from_a_folder(tmp_path: Path, suffix: str) -> None:
    (frame,) = read(folder_of(tmp_path / "in", [f"a{suffix}"]))
    assert frame.size == (24, 32)


def test_other_hidden_and_nested_files_are_ignored(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "in", ["a.png", ".b.png"])
    (folder / "notes.txt").write_text("none of the pictures")
    (folder / "c.png").mkdir()
    assert [frame.name for frame in read(folder)] == ["a"]


def test_pictures_that_differ_in_their_suffix_alone_keep_it(tmp_path: Path) -> None:
    assert [frame.name for frame in read(folder_of(tmp_path / "in", ["a.bmp", "a.png", "b.png"]))] == [
        "a.bmp",
        "a.png",
        "b",
    ]


def test_single_picture_is_a_source_of_one_frame(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "in", ["a.png", "b.png"])
    (frame,) = read(folder / "b.png")
    assert frame.name == "b"
    assert (frame.pixels == read_picture(folder / "b.png")).all()


def test_change_of_size_begins_an_epoch(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "in", ["1.png", "2.png"])
    write_picture(folder / "3.png", noise_frames(1, (8, 8))[0])
    assert [(frame.epoch, frame.size) for frame in read(folder)] == [(0, (24, 32)), (0, (24, 32)), (1, (8, 8))]


def test_info_says_count_and_size(tmp_path: Path) -> None:
    info = PictureFolderSource(folder_of(tmp_path / "in", ["a.png", "b.png"])).info
    assert (info.name, info.size, info.frame_count, info.frame_rate) == ("in", (24, 32), 2, None)


def test_damaged_picture_is_left_out_and_named_at_the_end(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "in", ["1.png", "2.png", "3.png"])
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:200])
    frames: list[Frame] = []
    with closing(PictureFolderSource(folder)) as source, pytest.raises(IncompleteError, match=r"1 of 3 .*2\.png"):
        frames.extend(source)
    assert [frame.name for frame in frames] == ["1", "3"]


def test_folder_without_a_readable_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no picture in"):
        PictureFolderSource(tmp_path)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(SourceError, match=r"no picture of .* can be read"):
        PictureFolderSource(tmp_path)
    with pytest.raises(SourceError, match="no picture or folder at"):
        PictureFolderSource(tmp_path / "none")


def test_second_iteration_is_refused(tmp_path: Path) -> None:
    source = PictureFolderSource(folder_of(tmp_path / "in", ["a.png"]))
    list(source)
    with pytest.raises(SourceError, match="read only once"):
        iter(source)


def test_source_closed_half_way_ends_quietly(tmp_path: Path) -> None:
    source = PictureFolderSource(folder_of(tmp_path / "in", ["a.png", "b.png", "c.png"]))
    frames = iter(source)
    next(frames)
    source.close()
    source.close()
    assert list(frames) == []


def test_folder_appears_whole_on_close_with_every_pixel(tmp_path: Path) -> None:
    pictures = noise_frames(3)
    sink = PictureFolderSink(tmp_path / "out")
    for frame in frames_from(pictures):
        sink.write(frame)
    assert not (tmp_path / "out").exists()
    sink.close()
    sink.close()
    sink.abort()
    assert sorted(file.name for file in sink.path.iterdir()) == ["00000000.png", "00000001.png", "00000002.png"]
    assert all(
        (read_picture(file) == pixels).all() for file, pixels in zip(sorted(sink.path.iterdir()), pictures, strict=True)
    )
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_pictures_keep_the_names_they_came_with(tmp_path: Path) -> None:
    sink = PictureFolderSink(tmp_path / "out")
    for frame in read(folder_of(tmp_path / "in", ["left.png", "right.jpg"])):
        sink.write(frame)
    sink.close()
    assert sorted(file.name for file in sink.path.iterdir()) == ["left.png", "right.png"]


def test_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    sink = PictureFolderSink(tmp_path / "out")
    sink.write(Frame(noise_frames(1)[0], 0, 0, name="../../elsewhere"))
    sink.close()
    assert [file.name for file in sink.path.iterdir()] == ["elsewhere.png"]


def test_two_frames_of_one_name_are_refused(tmp_path: Path) -> None:
    sink = PictureFolderSink(tmp_path / "out")
    sink.write(*frames_from(noise_frames(1)))
    with pytest.raises(OutputError, match="two frames are named 00000000"):
        sink.write(*frames_from(noise_frames(1)))
    sink.abort()


def test_abort_leaves_nothing(tmp_path: Path) -> None:
    sink = PictureFolderSink(tmp_path / "out")
    sink.write(*frames_from(noise_frames(1)))
    sink.abort()
    sink.abort()
    sink.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["out", "out.png"])
def test_run_without_a_frame_leaves_nothing_and_says_so(tmp_path: Path, name: str) -> None:
    sink = PictureFileSink(tmp_path / name) if name.endswith(".png") else PictureFolderSink(tmp_path / name)
    with pytest.raises(IncompleteError, match="no frame reached"):
        sink.close()
    assert not list(tmp_path.iterdir())


def test_existing_folder_is_refused_and_an_empty_one_taken(tmp_path: Path) -> None:
    folder_of(tmp_path / "full", ["a.png"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(OutputError, match="exists already"):
        PictureFolderSink(tmp_path / "full")
    sink = PictureFolderSink(tmp_path / "empty")
    sink.write(*frames_from(noise_frames(1)))
    sink.close()
    assert [file.name for file in (tmp_path / "empty").iterdir()] == ["00000000.png"]


def test_forced_folder_replaces_the_old_one_only_when_whole(tmp_path: Path) -> None:
    old = folder_of(tmp_path / "out", ["old.png"])
    sink = PictureFolderSink(old, force=True)
    sink.write(*frames_from(noise_frames(1)))
    assert [file.name for file in old.iterdir()] == ["old.png"]
    sink.close()
    assert [file.name for file in old.iterdir()] == ["00000000.png"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_folder_with_more_than_pictures_is_never_replaced(tmp_path: Path) -> None:
    (folder_of(tmp_path / "home", ["a.png"]) / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match=r"holds more than pictures \(thesis\.tex\)"):
        PictureFolderSink(tmp_path / "home", force=True)


def test_missing_parent_folder_and_file_in_the_way_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("words")
    with pytest.raises(OutputError, match="does not exist"):
        PictureFolderSink(tmp_path / "none" / "out")
    with pytest.raises(OutputError, match="is a file and the output is a folder"):
        PictureFolderSink(tmp_path / "file", force=True)
    with pytest.raises(OutputError, match="is a folder and the output is a file"):
        PictureFileSink(tmp_path, force=True)


def test_full_disk_is_said(tmp_path: Path) -> None:
    sink = PictureFolderSink(tmp_path / "out")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OutputError, match="disk full"):
            sink.write(*frames_from(noise_frames(1)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    sink.abort()
    assert not list(tmp_path.iterdir())


def test_one_picture_is_written_on_close(tmp_path: Path) -> None:
    picture = noise_frames(1)[0]
    sink = PictureFileSink(tmp_path / "out.png")
    sink.write(*frames_from([picture]))
    assert not list(tmp_path.iterdir())
    sink.close()
    sink.close()
    sink.abort()
    assert np.array_equal(read_picture(tmp_path / "out.png"), picture)


def test_second_picture_for_one_file_is_refused_with_a_way_out(tmp_path: Path) -> None:
    sink = PictureFileSink(tmp_path / "out.png")
    first, second = frames_from(noise_frames(2))
    sink.write(first)
    with pytest.raises(UsageError, match=r"holds one picture .* name a folder \(.*out/\)"):
        sink.write(second)
    sink.abort()
    sink.close()
    assert not list(tmp_path.iterdir())
