from __future__ import annotations

import importlib
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import pytest

from deblurrt.core.errors import OutputError, UsageError
from deblurrt.core.pictures import write_picture
from deblurrt.runtime.picture_folder import PictureFileSink, PictureFolderSink
from deblurrt.runtime.sinks import SINKS, open_sink
from deblurrt.runtime.sources import open_source
from deblurrt.runtime.video_sink import VideoFileSink

from .clips import ClipConfig, frames_from, noise_frames, packets_of, times_of, write_clip


@pytest.mark.parametrize("suffix", SINKS)
def test_every_entry_of_the_table_takes_a_frame_and_leaves_it_readable(tmp_path: Path, suffix: str) -> None:
    sink = open_sink(tmp_path / f"out{suffix}")
    sink.write(*frames_from(noise_frames(1)))
    sink.close()
    assert sink.path == tmp_path / f"out{suffix}"
    with closing(open_source(sink.path)) as source:
        assert [frame.size for frame in source] == [(24, 32)]


@pytest.mark.parametrize(("module", "attribute"), sorted(set(SINKS.values())))
def test_every_entry_of_the_table_can_be_imported(module: str, attribute: str) -> None:
    assert callable(getattr(importlib.import_module(module, "deblurrt.runtime"), attribute))


def test_kind_of_sink_follows_from_the_name(tmp_path: Path) -> None:
    (tmp_path / "there.v2").mkdir()
    names = {
        "a.MP4": VideoFileSink,
        "a.jpg": PictureFileSink,
        "a": PictureFolderSink,
        "a.mp4/": PictureFolderSink,
        "there.v2": PictureFolderSink,
    }
    for name, kind in names.items():
        sink = open_sink(f"{tmp_path}/{name}")
        assert isinstance(sink, kind)
        sink.abort()


def test_unknown_suffix_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a\.wmv names no known output, expected .*\.mp4, .*or a folder"):
        open_sink(tmp_path / "a.wmv")


def test_place_without_a_name_of_its_own_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (".", ".."):
        with pytest.raises(OutputError, match="is no name for an output"):
            open_sink(name, force=True)


def test_frame_rate_and_sound_reach_a_video(tmp_path: Path) -> None:
    blurred = write_clip(tmp_path / "in.mp4", noise_frames(3), config=ClipConfig(sound="aac", sound_packets=5))
    sink = open_sink(tmp_path / "out.mp4", copy_from=blurred, frame_rate=Fraction(10))
    for frame in frames_from(noise_frames(3)):
        sink.write(frame)
    sink.close()
    assert times_of(sink.path) == [0, Fraction(1, 10), Fraction(2, 10)]
    assert packets_of(sink.path, "audio") == packets_of(blurred, "audio")


def test_picture_as_source_has_no_sound_to_copy(tmp_path: Path) -> None:
    write_picture(tmp_path / "in.png", noise_frames(1)[0])
    for copy_from in (tmp_path / "in.png", tmp_path):
        sink = open_sink(tmp_path / "out.mp4", copy_from=copy_from, force=True)
        sink.write(*frames_from(noise_frames(1)))
        sink.close()
        assert len(times_of(sink.path)) == 1
