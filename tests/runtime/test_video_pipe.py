from __future__ import annotations

import os
import threading
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from deblurrt.core.errors import OutputError
from deblurrt.runtime.result_sinks import ResultSinkOptions
from deblurrt.runtime.terminal import Terminal
from deblurrt.runtime.video_pipe import RawPipe, Y4mPipe

from .clips import patch_picture
from .results import result

#: grey levels between RGB, limited 8-bit YUV and back
ROUND_TRIP = 2


def written(kind: type[RawPipe], path: Path, count: int, size: tuple[int, int], rate: Fraction | None = None) -> bytes:
    with path.open("wb") as file:
        sink = kind(ResultSinkOptions(frame_rate=rate), file.fileno())
        for seq in range(count):
            sink.write(result(seq, size))
        sink.close()
        sink.close()
    return path.read_bytes()


def test_raw_pipe_is_the_pictures_and_nothing_else(tmp_path: Path) -> None:
    data = written(RawPipe, tmp_path / "video.rgb", 3, (6, 8))
    assert data == b"".join(result(seq).restored.tobytes() for seq in range(3))


@pytest.mark.parametrize(("size", "chroma"), [((48, 64), "420mpeg2"), ((47, 65), "444"), ((720, 2), "420mpeg2")])
def test_y4m_is_read_by_ffmpeg(tmp_path: Path, size: tuple[int, int], chroma: str) -> None:
    path = tmp_path / "video.y4m"
    head = written(Y4mPipe, path, 3, size, Fraction(30000, 1001)).split(b"\n", 1)[0].decode()
    assert head == f"YUV4MPEG2 W{size[1]} H{size[0]} F30000:1001 Ip A1:1 C{chroma} XCOLORRANGE=LIMITED"
    with av.open(path) as container:
        frames = list(container.decode(video=0))
        assert container.streams.video[0].average_rate == Fraction(30000, 1001)
    assert [(frame.height, frame.width) for frame in frames] == [size] * 3


@pytest.mark.parametrize(("size", "matrix"), [((480, 640), 5), ((720, 640), 1)])
def test_y4m_keeps_colours_as_readers_assume_them(tmp_path: Path, size: tuple[int, int], matrix: int) -> None:
    pixels = patch_picture(size)
    path = tmp_path / "video.y4m"
    with path.open("wb") as file:
        sink = Y4mPipe(ResultSinkOptions(), file.fileno())
        shown = result(0, size)
        shown.restored[:] = pixels
        sink.write(shown)
        sink.close()
    with av.open(path) as container:
        frame = next(container.decode(video=0))
    read = frame.to_ndarray(format="rgb24", src_colorspace=matrix, dst_colorspace=matrix)
    middles = (slice(size[0] // 2, size[0] // 2 + 1), (np.arange(5) * 2 + 1) * size[1] // 10)
    assert np.abs(read[middles].astype(int) - pixels[middles].astype(int)).max() <= ROUND_TRIP


def test_reader_that_has_enough_ends_the_run_once() -> None:
    gone = list[str]()
    reading, writing = os.pipe()
    sink = RawPipe(ResultSinkOptions(on_reader_gone=lambda: gone.append("gone")), writing)
    os.close(writing)
    os.close(reading)
    for seq in range(3):
        sink.write(result(seq))
    sink.close()
    assert gone == ["gone"]


def test_slow_reader_gets_every_byte() -> None:
    reading, writing = os.pipe()
    sink = RawPipe(ResultSinkOptions(), writing)
    os.close(writing)
    size = (300, 400)

    def write() -> None:
        sink.write(result(0, size))
        sink.close()

    writer = threading.Thread(target=write)
    writer.start()
    received = b""
    while part := os.read(reading, 10_000):
        received += part
    writer.join()
    os.close(reading)
    assert received == result(0, size).restored.tobytes()


def test_change_of_size_is_refused_by_name(tmp_path: Path) -> None:
    with (tmp_path / "video.rgb").open("wb") as file:
        sink = RawPipe(ResultSinkOptions(), file.fileno())
        sink.write(result(0))
        with pytest.raises(OutputError, match="frame 1 is 4x8 and standard output was begun with 6x8"):
            sink.write(result(1, (4, 8)))
        sink.give_up()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_full_disk_is_an_output_error() -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        sink = RawPipe(ResultSinkOptions(), full.fileno())
        with pytest.raises(OutputError, match="standard output cannot be written"):
            sink.write(result(0))
        sink.close()


def test_passed_frames_have_the_size_of_restored_ones(tmp_path: Path) -> None:
    path = tmp_path / "video.rgb"
    with path.open("wb") as file:
        sink = RawPipe(ResultSinkOptions(scale=2), file.fileno())
        sink.write(result(0, state=Terminal.PASS_DEADLINE))
        sink.close()
    assert path.stat().st_size == 12 * 16 * 3
