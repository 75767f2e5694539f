from __future__ import annotations

import importlib
from contextlib import closing
from pathlib import Path

import pytest

from deblurrt.core.errors import SourceError
from deblurrt.core.pictures import write_picture
from deblurrt.runtime.picture_folder import PictureFolderSource
from deblurrt.runtime.sources import SOURCES, open_source
from deblurrt.runtime.video_source import VideoFileSource

from .clips import noise_frames, write_clip


@pytest.mark.parametrize("kind", SOURCES)
def test_every_entry_of_the_table_can_be_imported(kind: str) -> None:
    module, attribute = SOURCES[kind]
    assert callable(getattr(importlib.import_module(module, "deblurrt.runtime"), attribute))


def test_kind_of_source_follows_from_what_lies_at_the_path(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.PNG", noise_frames(1)[0])
    video = write_clip(tmp_path / "a.mp4", noise_frames(2))
    for path, kind in (
        (tmp_path, PictureFolderSource),
        (tmp_path / "a.PNG", PictureFolderSource),
        (video, VideoFileSource),
    ):
        with closing(open_source(path)) as source:
            assert isinstance(source, kind)


def test_path_may_be_text(tmp_path: Path) -> None:
    with closing(open_source(str(write_clip(tmp_path / "a.mp4", noise_frames(3))))) as source:
        assert len(list(source)) == 3


@pytest.mark.parametrize("name", ["none", "none.mp4", "none.png", "rtsp://user:secret@camera/1"])
def test_missing_source_is_said_in_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError) as caught:
        open_source(tmp_path / name)
    assert caught.value.exit_code == 6
    assert "\n" not in str(caught.value)


def test_pattern_takes_the_pictures_it_fits_in_natural_order(tmp_path: Path) -> None:
    for name in ("a10.png", "a9.png", "b1.png"):
        write_picture(tmp_path / name, noise_frames(1)[0])
    (tmp_path / "a1.txt").write_text("no picture")
    with closing(open_source(tmp_path / "a*")) as source:
        assert [frame.name for frame in source] == ["a9", "a10"]


def test_pattern_that_fits_nothing_is_said(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no picture fits"):
        open_source(tmp_path / "a*.png")


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(tmp_path: Path) -> None:
    write_picture(tmp_path / "a[1].png", noise_frames(1)[0])
    with closing(open_source(tmp_path / "a[1].png")) as source:
        assert [frame.name for frame in source] == ["a[1]"]
