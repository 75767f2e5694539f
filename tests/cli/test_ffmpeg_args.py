"""``deblurrt run --print-ffmpeg-args``: what it prints opens what ``raw:-`` writes, with FFmpeg itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import av
import pytest

from .conftest import FRAMES, SIZE, Deblurrt

RUN = ("run", "--backend", "onnxruntime", "--threads", "1", "--model", "identity")
PRINT = (*RUN, "--print-ffmpeg-args")
COMMAND = (sys.executable, "-c", "from deblurrt.cli.main import main; main()", *RUN)


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out.removesuffix("\n")


def test_what_is_printed_reads_what_is_written(
    deblurrt: Deblurrt, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deblurrt(*PRINT, clip, "raw:-") == 0
    words = printed(capsys).split()
    assert words[-2:] == ["-i", "-"]
    options = dict(zip(words[:-2:2], words[1:-2:2], strict=True))
    raw = subprocess.run([*COMMAND, clip, "raw:-"], capture_output=True, check=True, timeout=60).stdout
    (tmp_path / "out.rgb").write_bytes(raw)
    demuxer = options.pop("-f")
    settings = {name.removeprefix("-"): value for name, value in options.items()}
    with av.open(str(tmp_path / "out.rgb"), format=demuxer, options=settings) as container:
        frames = list(container.decode(video=0))
    assert [(frame.height, frame.width, frame.format.name) for frame in frames] == [(*SIZE, "rgb24")] * FRAMES
    assert frames[-1].time == pytest.approx((FRAMES - 1) / 25)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("-", "out.mkv", "--raw", "48x64@30000/1001"), "-f rawvideo -pix_fmt rgb24 -s 64x48 -r 30000/1001 -"),
        (("-", "out.mkv"), "-f yuv4mpegpipe -"),
        (("-", "-"), "-f yuv4mpegpipe -i -"),
        (
            ("v4l2:///dev/video0?size=480x640&fps=30", "raw:-"),
            "-f rawvideo -pixel_format rgb24 -video_size 640x480 -framerate 30 -i -",
        ),
    ],
)
def test_either_end_of_a_pipe_is_described(
    arguments: tuple[str, ...], expected: str, deblurrt: Deblurrt, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deblurrt(*PRINT, *arguments) == 0
    assert printed(capsys) == expected


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("a.mp4", "out.mkv"), "goes with a pipe"),
        (("-", "raw:-"), "says its size only when it comes"),
        (("rtsp://me:secret@cam/live", "raw:-"), "rtsp://***@cam/live says its size"),
    ],
)
def test_what_cannot_be_known_is_told(
    arguments: tuple[str, ...], told: str, deblurrt: Deblurrt, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deblurrt(*PRINT, *arguments) == 2
    assert told in capsys.readouterr().err
