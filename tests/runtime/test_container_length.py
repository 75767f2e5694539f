from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from deblurrt.core.errors import IncompleteError
from deblurrt.runtime.container_length import missing_bytes
from deblurrt.runtime.frame import Frame
from deblurrt.runtime.video_source import VideoFileSource

from .clips import ClipConfig, noise_frames, write_clip

FAST_START = {"movflags": "+faststart"}
CUTS = {
    "fast_start.mp4": FAST_START,
    "fragmented.mp4": {"movflags": "+frag_keyframe+empty_moov", "frag_duration": "200000"},
    "matroska.mkv": {},
    "riff.avi": {},
}


def frames_of(path: Path) -> list[Frame]:
    with closing(VideoFileSource(path)) as source:
        return list(source)


def frames_before_error(path: Path) -> tuple[list[Frame], IncompleteError]:
    frames: list[Frame] = []
    with closing(VideoFileSource(path)) as source, pytest.raises(IncompleteError) as caught:
        frames.extend(source)
    return frames, caught.value


def without_length(path: Path) -> Path:
    """Pretend a recorder never learned the length of its Matroska segment."""
    data = bytearray(path.read_bytes())
    start = data.index(b"\x18\x53\x80\x67") + 4
    data[start : start + 8] = b"\x01" + b"\xff" * 7
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("share", [0.5, 0.8])
@pytest.mark.parametrize("name", CUTS)
def test_cut_file_gives_all_it_holds_and_then_says_what_is_missing(tmp_path: Path, name: str, share: float) -> None:
    path = write_clip(tmp_path / name, noise_frames(40), config=ClipConfig(container_options=CUTS[name]))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    frames, error = frames_before_error(path)
    # Headers and tables take up to a quarter of files this small.
    assert 40 * (share - 0.25) <= len(frames) <= 40 * share
    assert f"delivered {len(frames)} frames" in str(error)


def test_cut_file_says_how_many_frames_were_declared(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", noise_frames(40), config=ClipConfig(container_options=FAST_START))
    path.write_bytes(path.read_bytes()[:-9000])
    _, error = frames_before_error(path)
    assert "of 40 declared" in str(error)


def test_cut_within_the_last_picture_loses_only_that(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", noise_frames(10), config=ClipConfig(container_options=FAST_START))
    path.write_bytes(path.read_bytes()[:-100])
    frames, _ = frames_before_error(path)
    assert [frame.pts for frame in frames] == [index * 512 for index in range(9)]


WHOLE = {
    "plain.mp4": {},
    "edit_list.mov": {"movflags": "+faststart"},
    "fragmented.mp4": {"movflags": "+frag_keyframe+empty_moov"},
    "hybrid.mp4": {"movflags": "+hybrid_fragmented"},
    "matroska.mkv": {},
    "riff.avi": {},
    "transport.ts": {},
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_file_is_never_called_damaged(tmp_path: Path, name: str) -> None:
    config = ClipConfig(options={"preset": "veryfast"}, container_options=WHOLE[name], sound="aac")
    assert len(frames_of(write_clip(tmp_path / name, noise_frames(20), config=config))) == 20


def test_frames_hidden_by_an_edit_list_are_not_missed(tmp_path: Path) -> None:
    ticks = [index - 4 for index in range(20)]
    path = write_clip(tmp_path / "a.mp4", noise_frames(20), ticks, ClipConfig(container_options={"use_editlist": "1"}))
    assert len(frames_of(path)) < 20


def test_recording_of_unknown_length_is_not_called_damaged(tmp_path: Path) -> None:
    assert len(frames_of(without_length(write_clip(tmp_path / "a.mkv", noise_frames(8))))) == 8


def test_file_with_a_trailer_of_some_camera_is_not_called_damaged(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", noise_frames(4))
    path.write_bytes(path.read_bytes() + b"\x7f\x00\x00\x00SEFTxyz")
    assert len(frames_of(path)) == 4


@pytest.mark.parametrize("missing", [1, 100, 5000])
@pytest.mark.parametrize("name", ["fast_start.mp4", "matroska.mkv"])
def test_missing_bytes_are_counted_exactly(tmp_path: Path, name: str, missing: int) -> None:
    path = write_clip(tmp_path / name, noise_frames(10), config=ClipConfig(container_options=CUTS[name]))
    assert missing_bytes(path) == 0
    path.write_bytes(path.read_bytes()[:-missing])
    assert missing_bytes(path) == missing


@pytest.mark.parametrize("content", [b"", b"RIFF", b"\x1a\x45\xdf\xa3", b"\x00\x00\x00\x01mdat", b"words, no video"])
def test_stumps_of_files_do_no_harm(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    assert missing_bytes(tmp_path / "a") == 0
