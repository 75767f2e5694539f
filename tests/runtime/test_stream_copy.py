from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from deblurrt.core.errors import IncompleteError
from deblurrt.runtime.frame import Frame
from deblurrt.runtime.video_sink import VideoFileSink
from deblurrt.runtime.video_source import VideoFileSource

from .clips import ClipConfig, frames_from, noise_frames, packets_of, times_of, write_clip

MILLISECOND = Fraction(1, 1000)


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


@pytest.mark.fault("F2", "sound beside the picture", "bytes and times equal")
@pytest.mark.parametrize(("source", "target"), [("mp4", "mp4"), ("mp4", "mov"), ("mkv", "mkv"), ("mkv", "mp4")])
def test_sound_is_copied_to_the_byte_and_keeps_its_time(tmp_path: Path, source: str, target: str) -> None:
    blurred = write_clip(tmp_path / f"in.{source}", noise_frames(20), config=ClipConfig(sound="aac"))
    sharp = write(VideoFileSink(tmp_path / f"out.{target}", copy_from=blurred), read(blurred))
    before, after = packets_of(blurred, "audio"), packets_of(sharp, "audio")
    assert [data for _, data in after] == [data for _, data in before]
    assert [time for time, _ in after] == [time for time, _ in before]
    assert times_of(sharp) == times_of(blurred)


def test_sound_stays_in_step_where_the_start_is_moved(tmp_path: Path) -> None:
    blurred = write_clip(tmp_path / "in.mkv", noise_frames(5), config=ClipConfig(sound="libopus"))
    frames = frames_from(noise_frames(20), [40 * index - 500 for index in range(20)], MILLISECOND)
    sharp = write(VideoFileSink(tmp_path / "out.mkv", copy_from=blurred), frames)
    before, after = packets_of(blurred, "audio"), packets_of(sharp, "audio")
    gaps = {late - early for (late, _), (early, _) in zip(after, before, strict=True)}
    assert gaps == {Fraction(1, 2)}
    assert times_of(sharp)[0] == 0


def test_sound_that_outlasts_the_picture_is_copied_whole(tmp_path: Path) -> None:
    config = ClipConfig(sound="aac", sound_packets=400)
    blurred = write_clip(tmp_path / "in.mp4", noise_frames(10), config=config)
    sharp = write(VideoFileSink(tmp_path / "out.mp4", copy_from=blurred), read(blurred))
    assert len(packets_of(sharp, "audio")) == len(packets_of(blurred, "audio"))


def test_sound_ends_with_the_picture_where_the_run_was_stopped_early(tmp_path: Path) -> None:
    blurred = write_clip(tmp_path / "in.mp4", noise_frames(50), config=ClipConfig(sound="aac", sound_packets=94))
    sharp = write(VideoFileSink(tmp_path / "out.mp4", copy_from=blurred), read(blurred)[:10])
    assert packets_of(sharp, "audio")[-1][0] <= times_of(sharp)[-1]


def test_sound_and_picture_lie_side_by_side_in_the_file(tmp_path: Path) -> None:
    blurred = write_clip(tmp_path / "in.mkv", noise_frames(100), config=ClipConfig(sound="aac", sound_packets=188))
    sharp = write(VideoFileSink(tmp_path / "out.mkv", copy_from=blurred), read(blurred))
    with av.open(str(sharp)) as container:
        kinds = [packet.stream.type for packet in container.demux() if packet.size]
    longest_run = max(len(run) for run in "".join(kind[0] for kind in kinds).replace("va", "v a").split())
    # One second of sound is 47 packets, one of picture 25.
    assert longest_run < 25


def subtitled_clip(path: Path) -> Path:
    text_file = path.with_suffix(".srt")
    text_file.write_text("1\n00:00:00,200 --> 00:00:00,500\nfirst\n\n2\n00:00:00,600 --> 00:00:00,900\nsecond\n")
    with av.open(str(path), "w") as container, av.open(str(text_file)) as subtitles:
        video = container.add_stream("libx264", rate=25, width=32, height=24)
        text = container.add_stream_from_template(subtitles.streams.subtitles[0])
        for index, pixels in enumerate(noise_frames(30)):
            frame = av.VideoFrame.from_ndarray(pixels)
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for packet in subtitles.demux():
            if packet.size:
                packet.stream = text
                container.mux(packet)
    return path


def test_subtitles_are_copied(tmp_path: Path) -> None:
    blurred = subtitled_clip(tmp_path / "in.mkv")
    sharp = write(VideoFileSink(tmp_path / "out.mkv", copy_from=blurred), read(blurred))
    assert packets_of(sharp, "subtitle") == packets_of(blurred, "subtitle")
    assert [data for _, data in packets_of(sharp, "subtitle")] == [b"first", b"second"]


def test_stream_the_container_cannot_hold_is_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blurred = subtitled_clip(tmp_path / "in.mkv")
    sharp = write(VideoFileSink(tmp_path / "out.mp4", copy_from=blurred), read(blurred))
    assert "subtitle stream 1 (srt) is left out" in caplog.text
    assert len(times_of(sharp)) == 30


def test_titles_chapters_and_language_are_copied(tmp_path: Path) -> None:
    blurred = tmp_path / "in.mkv"
    with av.open(str(blurred), "w") as container:
        container.metadata["title"] = "Ring road"
        container.set_chapters(
            [{"id": 1, "start": 0, "end": 80, "time_base": MILLISECOND, "metadata": {"title": "Tunnel"}}]
        )
        video, sound = (
            container.add_stream("ffv1", rate=25, width=32, height=24),
            container.add_stream("aac", rate=48_000),
        )
        sound.metadata["language"] = "deu"
        frame = av.VideoFrame.from_ndarray(noise_frames(1)[0])
        container.mux([*video.encode(frame.reformat(format="yuv420p")), *video.encode(None)])
        samples = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        samples.sample_rate = 48_000
        container.mux([*sound.encode(samples), *sound.encode(None)])
    write(VideoFileSink(tmp_path / "out.mp4", copy_from=blurred), read(blurred))
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.metadata["title"] == "Ring road"
        assert container.streams.audio[0].metadata["language"] == "deu"
        assert container.chapters()[0]["metadata"] == {"title": "Tunnel"}


def test_shape_of_pixels_is_kept(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "in.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, width=32, height=24)
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        container.mux([*stream.encode(av.VideoFrame.from_ndarray(noise_frames(1)[0])), *stream.encode(None)])
    write(VideoFileSink(tmp_path / "out.mp4", copy_from=tmp_path / "in.mp4"), read(tmp_path / "in.mp4"))
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(4, 3)


def test_sound_of_a_cut_file_is_copied_as_far_as_it_goes(tmp_path: Path) -> None:
    config = ClipConfig(sound="aac", container_options={"movflags": "+faststart"})
    blurred = write_clip(tmp_path / "in.mp4", noise_frames(40), config=config)
    blurred.write_bytes(blurred.read_bytes()[:-30_000])
    sink = VideoFileSink(tmp_path / "out.mp4", copy_from=blurred)
    with closing(VideoFileSource(blurred)) as source, pytest.raises(IncompleteError):
        write_all(sink, source)
    sink.close()
    assert 0 < len(packets_of(sink.path, "audio")) < 41
