from __future__ import annotations

import errno
import resource
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from deblurrt.core.errors import IncompleteError, OutputError, SourceError, UsageError
from deblurrt.runtime.color import ColorSpec
from deblurrt.runtime.frame import Frame
from deblurrt.runtime.sinks import SINKS
from deblurrt.runtime.video_encoder import CONTAINERS, LIVE_ENCODER, EncoderConfig
from deblurrt.runtime.video_sink import VideoFileSink
from deblurrt.runtime.video_source import VideoFileSource

from .clips import (
    frames_from,
    noise_frames,
    patch_picture,
    patches_of,
    times_of,
)

#: 8-bit limited YUV and back twice, and x264 at crf 16
COLOR_TOLERANCE_LEVELS = 2

MILLISECOND = Fraction(1, 1000)
FINE = Fraction(1, 90_000)
VARIABLE_TICKS = [0, 1500, 1511, 9000, 9011, 12_000, 30_000, 30_003, 31_000, 45_000, 45_500, 60_001]


def write(sink: VideoFileSink, frames: Iterable[Frame]) -> Path:
    write_all(sink, frames)
    sink.close()
    return sink.path


def write_all(sink: VideoFileSink, frames: Iterable[Frame]) -> None:
    for frame in frames:
        sink.write(frame)


def read(path: Path) -> list[Frame]:
    with closing(VideoFileSource(path)) as source:
        return list(source)


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """Let the system refuse to let files grow, as a full disk does; Python ignores the signal."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.fault("F3", "every matrix and range, through a file", "colours and tags equal")
@pytest.mark.parametrize("height", [48, 720])
@pytest.mark.parametrize(
    "color", [ColorSpec(m, f, p, p) for m, p in ((1, 1), (5, 5), (6, 6), (9, 9)) for f in (False, True)]
)
def test_colours_and_tags_survive_the_way_through_a_file(tmp_path: Path, color: ColorSpec, height: int) -> None:
    picture = patch_picture((height, 160))
    (frame,) = read(write(VideoFileSink(tmp_path / "a.mp4"), frames_from([picture], color=color)))
    assert frame.color == color
    assert np.abs(patches_of(frame.pixels) - patches_of(picture)).max() <= COLOR_TOLERANCE_LEVELS


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_rgb_pictures_become_tagged_limited_bt709(tmp_path: Path, suffix: str) -> None:
    picture = patch_picture((48, 160))
    (frame,) = read(write(VideoFileSink(tmp_path / f"a{suffix}"), frames_from([picture])))
    assert frame.color == ColorSpec(1, False, 1, 1)
    assert np.abs(patches_of(frame.pixels) - patches_of(picture)).max() <= COLOR_TOLERANCE_LEVELS


@pytest.mark.fault("F2", "varying rate, negative start", "time stamps exact")
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize("first", [0, 777, 900_001])
def test_variable_time_stamps_are_exact_to_the_tick(tmp_path: Path, first: int, suffix: str) -> None:
    ticks = [first + tick for tick in VARIABLE_TICKS]
    write(VideoFileSink(tmp_path / f"a{suffix}"), frames_from(noise_frames(12), ticks, FINE))
    assert times_of(tmp_path / f"a{suffix}") == [tick * FINE for tick in ticks]


@pytest.mark.parametrize("time_base", [MILLISECOND, Fraction(1001, 30_000), Fraction(1, 25), Fraction(1, 1_000_000)])
def test_every_common_clock_is_kept_exactly(tmp_path: Path, time_base: Fraction) -> None:
    ticks = [5, 6, 8, 13, 14, 15, 29, 30]
    write(VideoFileSink(tmp_path / "a.mp4"), frames_from(noise_frames(8), ticks, time_base))
    assert times_of(tmp_path / "a.mp4") == [tick * time_base for tick in ticks]


def test_mkv_is_exact_to_the_millisecond_it_counts_in(tmp_path: Path) -> None:
    write(VideoFileSink(tmp_path / "a.mkv"), frames_from(noise_frames(12), VARIABLE_TICKS, FINE))
    errors = [abs(time - tick * FINE) for time, tick in zip(times_of(tmp_path / "a.mkv"), VARIABLE_TICKS, strict=True)]
    assert max(errors) <= MILLISECOND / 2


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_negative_start_moves_everything_to_zero_and_loses_no_frame(tmp_path: Path, suffix: str) -> None:
    ticks = [tick - 900 for tick in (0, 40, 77, 120, 500, 990, 1000, 1040)]
    write(VideoFileSink(tmp_path / f"a{suffix}"), frames_from(noise_frames(8), ticks, MILLISECOND))
    assert times_of(tmp_path / f"a{suffix}") == [(tick + 900) * MILLISECOND for tick in ticks]


def test_pictures_without_time_play_at_the_given_rate(tmp_path: Path) -> None:
    rate = Fraction(30_000, 1001)
    write(VideoFileSink(tmp_path / "a.mp4", frame_rate=rate), frames_from(noise_frames(5)))
    assert times_of(tmp_path / "a.mp4") == [index / rate for index in range(5)]


def test_pictures_without_time_and_rate_play_at_25_per_second(tmp_path: Path) -> None:
    write(VideoFileSink(tmp_path / "a.mp4"), frames_from(noise_frames(3)))
    assert times_of(tmp_path / "a.mp4") == [0, Fraction(1, 25), Fraction(2, 25)]


@pytest.mark.parametrize("size", [(1, 1), (1, 16), (3, 5), (23, 32), (24, 31), (2, 2)])
def test_every_size_is_exact(tmp_path: Path, size: tuple[int, int]) -> None:
    frames = read(write(VideoFileSink(tmp_path / "a.mp4"), frames_from(noise_frames(3, size))))
    assert [frame.size for frame in frames] == [size] * 3


def test_even_sizes_are_coded_as_every_player_expects(tmp_path: Path) -> None:
    write(VideoFileSink(tmp_path / "a.mp4"), frames_from(noise_frames(2)))
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"


def test_closed_file_is_an_ordinary_indexed_one(tmp_path: Path) -> None:
    write(VideoFileSink(tmp_path / "a.mp4"), frames_from(noise_frames(30)))
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].frames == 30


def test_change_of_size_is_refused(tmp_path: Path) -> None:
    with closing(VideoFileSink(tmp_path / "a.mp4")) as sink:
        sink.write(*frames_from(noise_frames(1, (24, 32))))
        with pytest.raises(OutputError, match="frame 0 is 48x64 and the video was begun with 24x32"):
            sink.write(*frames_from(noise_frames(1, (48, 64))))
    assert not list(tmp_path.iterdir())


def test_names_of_video_outputs_and_containers_agree() -> None:
    assert set(CONTAINERS) == {suffix for suffix, (module, _) in SINKS.items() if module == ".video_sink"}


def test_unknown_suffix_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a\.wmv names no known video, expected \.m4v, \.mkv, \.mov, \.mp4"):
        VideoFileSink(tmp_path / "a.wmv")


def test_existing_output_is_refused_before_any_work_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"precious")
    with pytest.raises(OutputError, match="exists already"):
        VideoFileSink(tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == b"precious"


def test_forced_output_replaces_the_old_one_only_when_whole(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"precious")
    sink = VideoFileSink(tmp_path / "a.mp4", force=True)
    write_all(sink, frames_from(noise_frames(3)))
    assert (tmp_path / "a.mp4").read_bytes() == b"precious"
    sink.close()
    assert len(times_of(tmp_path / "a.mp4")) == 3
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.mp4"]


def test_output_that_appeared_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    sink = VideoFileSink(tmp_path / "a.mp4")
    sink.write(*frames_from(noise_frames(1)))
    (tmp_path / "a.mp4").write_bytes(b"precious")
    with pytest.raises(OutputError, match="exists already"):
        sink.close()
    sink.abort()
    assert (tmp_path / "a.mp4").read_bytes() == b"precious"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.mp4"]


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"the folder .*none of output a\.mp4 does not exist"):
        VideoFileSink(tmp_path / "none" / "a.mp4")


def test_unreadable_source_of_sound_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        VideoFileSink(tmp_path / "a.mp4", copy_from=tmp_path / "none.mp4")
    assert not list(tmp_path.iterdir())


def test_recording_left_of_a_crash_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a.mp4.part").write_bytes(b"all there is")
    with pytest.raises(OutputError, match="left of an interrupted run"):
        VideoFileSink(tmp_path / "a.mp4")


def test_abort_leaves_nothing(tmp_path: Path) -> None:
    sink = VideoFileSink(tmp_path / "a.mp4")
    write_all(sink, frames_from(noise_frames(3)))
    sink.abort()
    sink.abort()
    sink.close()
    assert not list(tmp_path.iterdir())


def test_closing_twice_and_aborting_after_it_keeps_the_output(tmp_path: Path) -> None:
    sink = VideoFileSink(tmp_path / "a.mp4")
    write(sink, frames_from(noise_frames(3)))
    sink.close()
    sink.abort()
    assert len(times_of(tmp_path / "a.mp4")) == 3


def test_run_without_a_frame_leaves_nothing_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(IncompleteError, match="no frame reached"):
        VideoFileSink(tmp_path / "a.mp4").close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_full_disk_while_writing_is_said_and_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    sink = VideoFileSink(tmp_path / f"a{suffix}", encoder=EncoderConfig(keyframe_interval_s=0.2, tune="zerolatency"))
    with largest_file(20_000), pytest.raises(OutputError, match=rf"disk full while writing .*a\{suffix}"):
        write_all(sink, frames_from(noise_frames(60, (48, 64))))
    sink.close()
    sink.abort()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_full_disk_at_the_end_is_said_and_replaces_nothing(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a{suffix}").write_bytes(b"precious")
    sink = VideoFileSink(tmp_path / f"a{suffix}", force=True)
    write_all(sink, frames_from(noise_frames(8, (48, 64))))
    with largest_file(2_000), pytest.raises(OutputError, match="disk full"):
        sink.close()
    sink.abort()
    assert [entry.name for entry in tmp_path.iterdir()] == [f"a{suffix}"]
    assert (tmp_path / f"a{suffix}").read_bytes() == b"precious"


def test_place_that_cannot_be_opened_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.mp4.part").mkdir()
    sink = VideoFileSink(tmp_path / "a.mp4", force=True)
    with pytest.raises(OutputError, match="cannot be written") as caught:
        sink.write(*frames_from(noise_frames(1)))
    assert getattr(caught.value.__cause__, "errno", None) == errno.EISDIR


CRASHING = """
import sys, numpy as np
from pathlib import Path
from deblurrt.runtime.frame import Frame
from deblurrt.runtime.video_encoder import EncoderConfig
from deblurrt.runtime.video_sink import VideoFileSink
rng = np.random.default_rng(0)
sink = VideoFileSink(Path(sys.argv[1]), encoder=EncoderConfig(keyframe_interval_s=1, tune="zerolatency"))
for seq in range(130):
    sink.write(Frame(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8), seq, 0))
print("written", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_killed_recording_plays_up_to_its_last_key_frame(tmp_path: Path, suffix: str) -> None:
    command = [sys.executable, "-c", CRASHING, str(tmp_path / f"a{suffix}")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        process.send_signal(signal.SIGKILL)
    # 130 frames at 25 per second with a key frame each: four or five whole groups.
    times = times_of(tmp_path / f"a{suffix}.part")
    assert times == [Fraction(index, 25) for index in range(len(times))]
    assert len(times) >= 100


def test_live_encoder_holds_no_frame_back(tmp_path: Path) -> None:
    sink = VideoFileSink(tmp_path / "a.mkv", encoder=LIVE_ENCODER)
    sink.write(*frames_from(noise_frames(1)))
    assert (tmp_path / "a.mkv.part").stat().st_size > 0
    sink.abort()
