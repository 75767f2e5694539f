from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from deblurrt.core.errors import IncompleteError, SourceError, UsageError
from deblurrt.runtime.color import ColorSpec
from deblurrt.runtime.frame import Frame
from deblurrt.runtime.pipe_source import PipeSource, RawFormat
from deblurrt.runtime.sources import open_source

from .clips import ClipConfig, noise_frames, patch_picture, patches_of, write_clip, yuv_frame

RAW = RawFormat((24, 32), Fraction(30))

#: 8-bit limited range has 219 levels for 256
ONE_LEVEL = 2


@contextmanager
def pipe_with(data: bytes, *, stays_open: bool = False) -> Iterator[int]:
    """A pipe that another thread fills."""
    reading, writing = os.pipe()

    def fill() -> None:
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(writing, left[:5000]) :]
        except BrokenPipeError:
            pass
        if not stays_open:
            os.close(writing)

    thread = threading.Thread(target=fill)
    thread.start()
    yield reading
    os.close(reading)
    thread.join()
    if stays_open:
        os.close(writing)


def read_all(data: bytes, raw: RawFormat | None = None) -> list[Frame]:
    with pipe_with(data) as descriptor, closing(PipeSource(raw, descriptor)) as source:
        return list(source)


def y4m_of(tmp_path: Path, pixel_format: str, size: tuple[int, int] = (24, 32), options: str = "") -> bytes:
    """The frames of ``patch_picture`` as FFmpeg writes them."""
    color = ColorSpec(6, False)
    frames = [yuv_frame(patch_picture(size), color, pixel_format) for _ in range(3)]
    path = tmp_path / "clip.y4m"
    write_clip(path, frames, config=ClipConfig("wrapped_avframe", pixel_format, {}))
    head, _, rest = path.read_bytes().partition(b"\n")
    return head + options.encode() + b"\n" + rest


def test_plain_rgb_is_exact() -> None:
    pictures = noise_frames(5)
    frames = read_all(b"".join(picture.tobytes() for picture in pictures), RAW)
    assert all(np.array_equal(frame.pixels, picture) for frame, picture in zip(frames, pictures, strict=True))
    assert [frame.pts for frame in frames] == [0, 1, 2, 3, 4]
    assert frames[0].time_base == Fraction(1, 30)


def test_source_says_size_and_rate() -> None:
    with pipe_with(b"") as descriptor, closing(PipeSource(RAW, descriptor)) as source:
        assert (source.info.size, source.info.frame_rate, source.info.is_live) == ((24, 32), Fraction(30), False)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p"])
def test_y4m_of_ffmpeg_is_read(tmp_path: Path, pixel_format: str) -> None:
    frames = read_all(y4m_of(tmp_path, pixel_format, (40, 120)))
    assert len(frames) == 3
    wanted = patches_of(patch_picture((40, 120)))
    assert np.abs(patches_of(frames[0].pixels) - wanted).max() <= ONE_LEVEL
    assert frames[0].color.matrix == 6


def test_odd_sizes_of_y4m_are_exact(tmp_path: Path) -> None:
    frames = read_all(y4m_of(tmp_path, "yuv420p", (41, 121)))
    assert [frame.size for frame in frames] == [(41, 121)] * 3
    assert np.abs(patches_of(frames[2].pixels) - patches_of(patch_picture((41, 121)))).max() <= ONE_LEVEL


def test_range_of_y4m_is_carried() -> None:
    grey = bytes([128] * 64 + [128] * 32)
    data = b"YUV4MPEG2 W8 H8 F30000:1001 Ip A1:1 C420jpeg XCOLORRANGE=FULL\nFRAME\n" + grey
    (frame,) = read_all(data)
    assert frame.color.is_full_range
    assert np.all(np.abs(frame.pixels.astype(int) - 128) <= 1)
    assert frame.time_base == Fraction(1001, 30000)


def test_words_after_frame_are_skipped() -> None:
    data = b"YUV4MPEG2 W4 H2 F25:1 Cmono\n" + b"FRAME Ip\n" + bytes(8) + b"FRAME\n" + bytes([255] * 8)
    assert [int(frame.pixels[0, 0, 0]) for frame in read_all(data)] == [0, 255]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it is empty"),
        (b"\x89PNG", "it begins with"),
        (b"YUV4MPEG2 W8\n", "damaged Y4M"),
        (b"YUV4MPEG2 W8 H8 Fx:1\n", "damaged Y4M"),
        (b"YUV4MPEG2 W8 H8 C444alpha\n", "coded as 444alpha"),
        (b"YUV4MPEG2 W8 H8 C420 F25:1\n", "gave no frame"),
        (bytes(5000), "it begins with"),
    ],
)
def test_what_is_no_video_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        read_all(data)


@pytest.mark.parametrize("raw", [None, RawFormat((4, 4), Fraction(25))])
def test_pipe_that_ends_within_a_frame_gives_the_whole_ones(raw: RawFormat | None) -> None:
    data = bytes(48 + 17) if raw else b"YUV4MPEG2 W4 H4 Cmono\nFRAME\n" + bytes(16) + b"FRAME\n" + bytes(3)
    frames: list[Frame] = []
    with (
        pipe_with(data) as descriptor,
        closing(PipeSource(raw, descriptor)) as source,
        pytest.raises(IncompleteError, match="standard input ended within frame 1"),
    ):
        frames.extend(source)
    assert [frame.seq for frame in frames] == [0]


def test_damage_between_frames_is_said() -> None:
    data = b"YUV4MPEG2 W4 H4 Cmono\nFRAME\n" + bytes(16) + b"JUNK\n" + bytes(16)
    with pytest.raises(IncompleteError, match="damaged before frame 1: expected FRAME"):
        read_all(data)


def test_close_ends_a_waiting_reader() -> None:
    with pipe_with(bytes(10), stays_open=True) as descriptor:
        source = PipeSource(RAW, descriptor)
        threading.Timer(0.1, source.close).start()
        began_s = time.monotonic()
        assert list(source) == []
    assert time.monotonic() - began_s < 30


def test_source_is_read_once() -> None:
    with pipe_with(bytes(24 * 32 * 3)) as descriptor, closing(PipeSource(RAW, descriptor)) as source:
        list(source)
        with pytest.raises(SourceError, match="only once"):
            iter(source)


@pytest.mark.parametrize(
    ("text", "rate"),
    [("2x4@30", Fraction(30)), ("2x4@29.97", Fraction(2997, 100)), ("2x4@30000/1001", Fraction(30000, 1001))],
)
def test_raw_format_is_read(text: str, rate: Fraction) -> None:
    assert RawFormat.from_text(text) == RawFormat((2, 4), rate)


@pytest.mark.parametrize("text", ["", "2x4", "0x4@30", "2x4@0", "2x4@30/0", "2x4@1.5/2", "2x4@-1", "big"])
def test_wrong_raw_formats_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected HEIGHTxWIDTH@FPS"):
        RawFormat.from_text(text)


def test_raw_format_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"goes with standard input \(-\)"):
        open_source(tmp_path, RAW)


def test_version_of_av_reads_what_it_wrote(tmp_path: Path) -> None:
    data = y4m_of(tmp_path, "yuv420p")
    with av.open(str(tmp_path / "clip.y4m")) as container:
        assert len(list(container.decode(video=0))) == len(read_all(data))
