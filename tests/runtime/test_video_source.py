from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from deblurrt.core.errors import IncompleteError, SourceError
from deblurrt.runtime.color import ColorSpec
from deblurrt.runtime.frame import Frame
from deblurrt.runtime.sources import open_source
from deblurrt.runtime.video_source import VideoFileSource

from .clips import ClipConfig, Pixels, noise_frames, patch_picture, patches_of, write_clip, yuv_frame

#: rounding to 8-bit limited YUV and back; the clips themselves are lossless
COLOR_TOLERANCE_LEVELS = 2

#: phone held upright, upside down, the other way up; then mirrored, which numbers alone cannot say
TURNS: dict[str, tuple[tuple[int, int, int, int], Callable[[Pixels], Pixels]]] = {
    "quarter_clockwise": ((0, 1, -1, 0), lambda pixels: np.rot90(pixels, -1)),
    "half": ((-1, 0, 0, -1), lambda pixels: np.rot90(pixels, 2)),
    "quarter_counterclockwise": ((0, -1, 1, 0), np.rot90),
    "left_for_right": ((-1, 0, 0, 1), np.fliplr),
    "top_for_bottom": ((1, 0, 0, -1), np.flipud),
    "transposed": ((0, 1, 1, 0), lambda pixels: pixels.swapaxes(0, 1)),
}


def frames_of(path: Path) -> list[Frame]:
    with closing(VideoFileSource(path)) as source:
        return list(source)


def frames_before_error(path: Path) -> tuple[list[Frame], IncompleteError]:
    frames: list[Frame] = []
    with closing(VideoFileSource(path)) as source, pytest.raises(IncompleteError) as caught:
        frames.extend(source)
    return frames, caught.value


def turn(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Write a display matrix into the track header of an MP4 file."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 44
    a, b, c, d = (value << 16 for value in matrix)
    data[start : start + 36] = np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], ">i4").tobytes()
    path.write_bytes(data)


@pytest.mark.fault("F3", "every matrix and range, tagged", "at most 2 levels off")
@pytest.mark.parametrize("height", [48, 720])
@pytest.mark.parametrize("is_full", [False, True])
@pytest.mark.parametrize("matrix", [1, 5, 9])
def test_tagged_video_has_the_colours_it_was_made_of(tmp_path: Path, matrix: int, is_full: bool, height: int) -> None:
    color, picture = ColorSpec(matrix, is_full), patch_picture((height, 160))
    path = write_clip(tmp_path / "a.mp4", [yuv_frame(picture, color, "yuv420p")], config=ClipConfig(color=color))
    (frame,) = frames_of(path)
    assert (frame.color.matrix, frame.color.is_full_range, frame.color.is_assumed) == (matrix, is_full, False)
    assert np.abs(patches_of(frame.pixels) - patches_of(picture)).max() <= COLOR_TOLERANCE_LEVELS


@pytest.mark.parametrize(("height", "matrix"), [(48, 6), (720, 1)])
def test_untagged_video_is_read_as_its_size_suggests(tmp_path: Path, height: int, matrix: int) -> None:
    picture = patch_picture((height, 160))
    path = write_clip(tmp_path / "a.mp4", [yuv_frame(picture, ColorSpec(matrix, False), "yuv420p")])
    (frame,) = frames_of(path)
    assert frame.color == ColorSpec(matrix, False, is_assumed=True)
    assert np.abs(patches_of(frame.pixels) - patches_of(picture)).max() <= COLOR_TOLERANCE_LEVELS


@pytest.mark.parametrize(("height", "matrix"), [(48, 1), (720, 6)])
def test_untagged_video_is_read_as_the_user_says(
    tmp_path: Path, height: int, matrix: int, caplog: pytest.LogCaptureFixture
) -> None:
    picture = patch_picture((height, 160))
    path = write_clip(tmp_path / "a.mp4", [yuv_frame(picture, ColorSpec(matrix, False), "yuv420p")])
    with closing(open_source(path, untagged_matrix=matrix)) as source:
        (frame,) = list(source)
    assert frame.color == ColorSpec(matrix, False)
    assert np.abs(patches_of(frame.pixels) - patches_of(picture)).max() <= COLOR_TOLERANCE_LEVELS
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_assuming_the_colours_of_hd_video_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    frames_of(write_clip(tmp_path / "hd.mp4", noise_frames(3, (720, 16))))
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "hd.mp4 does not say how its colours are coded; taken as BT.709 (--untagged-matrix says otherwise)"
    ]


def test_ten_bits_become_eight(tmp_path: Path) -> None:
    color, picture = ColorSpec(1, False), patch_picture((16, 160))
    config = ClipConfig("ffv1", "yuv420p10le", {}, color=color)
    (frame,) = frames_of(write_clip(tmp_path / "a.mkv", [yuv_frame(picture, color, "yuv420p10le")], config=config))
    assert np.abs(patches_of(frame.pixels) - patches_of(picture)).max() <= COLOR_TOLERANCE_LEVELS


def test_rgb_codec_gives_every_pixel_exactly(tmp_path: Path) -> None:
    pictures = noise_frames(3)
    frames = frames_of(write_clip(tmp_path / "a.mkv", pictures, config=ClipConfig("ffv1", "bgr0", {})))
    assert all((frame.pixels == picture).all() for frame, picture in zip(frames, pictures, strict=True))
    assert frames[0].color.matrix == 0


def test_time_stamps_are_the_files_own_whatever_their_rate_and_start(tmp_path: Path) -> None:
    ticks = [777, 2280, 2300, 9000, 9001, 12_000]
    config = ClipConfig(time_base=Fraction(1, 90_000), container_options={"movie_timescale": "90000"})
    frames = frames_of(write_clip(tmp_path / "a.mp4", noise_frames(6), ticks, config))
    assert [frame.pts for frame in frames] == ticks
    assert {frame.time_base for frame in frames} == {Fraction(1, 90_000)}


def test_frames_are_numbered_and_named_after_their_file(tmp_path: Path) -> None:
    frames = frames_of(write_clip(tmp_path / "drive.mp4", noise_frames(4)))
    assert [frame.seq for frame in frames] == [0, 1, 2, 3]
    assert {frame.stream for frame in frames} == {"drive.mp4"}


def test_frames_do_not_share_memory(tmp_path: Path) -> None:
    first, second = frames_of(write_clip(tmp_path / "a.mkv", noise_frames(2), config=ClipConfig("ffv1", "bgr0", {})))
    assert not np.shares_memory(first.pixels, second.pixels)
    assert first.pixels.flags.c_contiguous


@pytest.mark.fault("F2", "rotation and mirroring of a file", "pictures upright")
@pytest.mark.parametrize("name", TURNS)
def test_pictures_are_upright_whatever_the_file_says_of_turning(tmp_path: Path, name: str) -> None:
    matrix, expected = TURNS[name]
    path = write_clip(tmp_path / "a.mp4", noise_frames(2, (24, 32)))
    upright = [frame.pixels for frame in frames_of(path)]
    turn(path, matrix)
    with closing(VideoFileSource(path)) as source:
        turned = [frame.pixels for frame in source]
    assert all((after == expected(before)).all() for before, after in zip(upright, turned, strict=True))
    assert source.info.size == turned[0].shape[:2]


@pytest.mark.fault("F4", "odd sizes", "exact")
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (23, 31)])
def test_odd_sizes_are_exact(tmp_path: Path, size: tuple[int, int]) -> None:
    path = write_clip(tmp_path / "a.mkv", noise_frames(2, size), config=ClipConfig("ffv1", "bgr0", {}))
    assert [frame.size for frame in frames_of(path)] == [size, size]


@pytest.mark.fault("S8", "size changes within a file", "new epoch")
def test_change_of_size_begins_an_epoch(tmp_path: Path) -> None:
    small = write_clip(tmp_path / "a.ts", noise_frames(3, (24, 32)), [0, 1, 2]).read_bytes()
    large = write_clip(tmp_path / "b.ts", noise_frames(3, (48, 64)), [3, 4, 5]).read_bytes()
    (tmp_path / "both.ts").write_bytes(small + large)
    frames = frames_of(tmp_path / "both.ts")
    assert [(frame.epoch, frame.size) for frame in frames] == [(0, (24, 32))] * 3 + [(1, (48, 64))] * 3
    assert [frame.seq for frame in frames] == list(range(6))


def test_info_is_known_before_the_first_frame(tmp_path: Path) -> None:
    with closing(VideoFileSource(write_clip(tmp_path / "a.mp4", noise_frames(5)))) as source:
        info = source.info
    assert (info.name, info.size, info.frame_rate, info.frame_count) == ("a.mp4", (24, 32), Fraction(25), 5)
    assert not info.is_live


@pytest.mark.fault("F1", "empty file, text, no index", "one line, exit 6")
@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is empty"), (b"these are words, no video\n" * 50, "is not a readable video")],
)
def test_file_that_is_no_video_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(SourceError, match=said) as caught:
        VideoFileSource(tmp_path / "a.mp4")
    assert "\n" not in str(caught.value)


@pytest.mark.fault("F1", "missing file", "one line, exit 6")
def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no video at .*none\.mp4"):
        VideoFileSource(tmp_path / "none.mp4")
    with pytest.raises(SourceError, match="not a regular file"):
        VideoFileSource(tmp_path)


def test_file_with_sound_alone_is_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=48_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        frame.sample_rate = 48_000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    with pytest.raises(SourceError, match=r"no video stream \(found: audio\)"):
        VideoFileSource(tmp_path / "a.mp4")


def test_video_without_a_single_frame_is_refused(tmp_path: Path) -> None:
    path = write_clip(
        tmp_path / "a.mp4", noise_frames(1), config=ClipConfig(container_options={"movflags": "+faststart"})
    )
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"mdat") + 4])
    with pytest.raises(SourceError, match="not one readable frame"):
        VideoFileSource(path)


@pytest.mark.fault("F1", "bytes overwritten in a file", "rest is read, exit 8")
def test_damage_inside_is_passed_over_and_reported_at_the_end(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", noise_frames(12))
    with av.open(str(path)) as container:
        entry = container.streams.video[0].index_entries[5]
        start, size = entry.pos, entry.size
    data = bytearray(path.read_bytes())
    data[start : start + size] = bytes(size)
    path.write_bytes(data)
    frames, error = frames_before_error(path)
    assert len(frames) == 11
    assert "1 packets could not be decoded" in str(error)


@pytest.mark.fault("F1", "bits flipped in a file", "frames kept and counted")
def test_decoders_doubts_are_counted_and_the_frames_kept(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", noise_frames(12, (48, 64)))
    with av.open(str(path)) as container:
        entry = container.streams.video[0].index_entries[0]
        start, size = entry.pos, entry.size
    data = bytearray(path.read_bytes())
    data[start + size // 2 : start + size // 2 + 40] = bytes(40)
    path.write_bytes(data)
    with closing(VideoFileSource(path)) as source:
        assert len(list(source)) == 12
    assert source.corrupt_frames > 0


def test_name_that_looks_like_a_protocol_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clip(tmp_path / "a.mp4", noise_frames(2)).rename(tmp_path / "10:30 %03d.mp4")
    monkeypatch.chdir(tmp_path)
    assert len(frames_of(Path("10:30 %03d.mp4"))) == 2


def test_second_iteration_is_refused(tmp_path: Path) -> None:
    with closing(VideoFileSource(write_clip(tmp_path / "a.mp4", noise_frames(2)))) as source:
        list(source)
        with pytest.raises(SourceError, match="read only once"):
            iter(source)


def test_source_closed_half_way_ends_quietly(tmp_path: Path) -> None:
    source = VideoFileSource(write_clip(tmp_path / "a.mp4", noise_frames(30)))
    frames = iter(source)
    taken: list[Pixels] = [next(frames).pixels]
    source.close()
    source.close()
    taken += [frame.pixels for frame in frames]
    assert len(taken) < 30
