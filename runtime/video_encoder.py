"""One video file being written: H.264, the input's time stamps and colours, copied sound."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import OutputError
from ..core.optional import require
from .codec_choice import WITHOUT_QUALITY, bit_rate_of, hardware_options, working_codec
from .color import ColorConverter, tag
from .frame import Frame
from .frame_clock import FrameClock
from .stream_copy import StreamCopy

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame

#: suffix -> FFmpeg's muxer
CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}

#: after SIGKILL every finished fragment plays; the edit list with the exact start comes with the
#: first one (delay_moov), and a normal close leaves an ordinary indexed file
_CRASH_SAFE_MP4 = "+hybrid_fragmented+delay_moov"

#: how long the muxer may hold packets back to sort them
_MAX_INTERLEAVE_US = 1_000_000

#: MP4 counts the start of its tracks in a clock of the whole film; this one holds 48 kHz exactly
_SOUND_TICKS_PER_S = 48_000
_MAX_MOVIE_TIMESCALE = 2**31 - 1


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """How frames are compressed.

    Attributes:
        preset: x264's trade of time for size; ``superfast`` takes half the time of ``veryfast``, which
            the network needs more, for files a fifth larger.
        crf: Quality, 0 (lossless) to 51; 16 is hard to tell from the original.
        tune: x264's tuning, such as ``zerolatency``; empty for none.
        keyframe_interval_s: Longest time between key frames; a crash loses little more than this.
        threads: Of the encoder, 0 for one and a half per core.
        codec: FFmpeg's name of the encoder; ``auto`` for the first of the machine that works.
    """

    preset: str = "superfast"
    crf: int = 16
    tune: str = ""
    keyframe_interval_s: float = 2.0
    threads: int = 0
    codec: str = "libx264"


FILE_ENCODER = EncoderConfig()
#: for pictures that are watched while they are made: no look-ahead, no B-frames
LIVE_ENCODER = EncoderConfig(tune="zerolatency", codec="auto")


class EncoderError(OutputError):
    """The encoder refuses to go on, such as one in hardware that was taken away; disk and place are fine."""


class VideoEncoder:
    """An open video file; errors of FFmpeg and the disk come out as they are.

    Args:
        part: Where to write.
        suffix: Of the final name, in ``CONTAINERS``.
        first: The first frame; it decides size, clock and colours and is not yet written.
        rate: Nominal frames per second.
        config: How frames are compressed.
        copy: Sound and subtitles to go with it; not closed here.

    Attributes:
        given: Pictures the encoder has given so far.
    """

    def __init__(
        self, part: Path, suffix: str, first: Frame, rate: Fraction, config: EncoderConfig, copy: StreamCopy | None
    ) -> None:
        self._size, self._color = first.size, first.color.for_video
        height, width = first.size
        self._pixel_format = "yuv444p" if height % 2 or width % 2 else "yuv420p"
        self._clock, self._copy = FrameClock(first, rate), copy
        self._taken = self.given = 0
        self._converter = ColorConverter()
        self._output = _open(part, CONTAINERS[suffix], self._clock.time_base)
        codec = working_codec(self._size, self._pixel_format) if config.codec == "auto" else config.codec
        self._stream: Any = self._output.add_stream(
            codec, rate=rate.limit_denominator(100_000), options=_codec_options(codec, config, rate)
        )
        if codec in WITHOUT_QUALITY:
            self._stream.codec_context.bit_rate = bit_rate_of(self._size, rate)
        self._set_up_stream(config)
        if copy is not None:
            copy.add_streams(self._output, self._clock.shift_s)
        self._output.start_encoding()

    def write(self, frame: Frame) -> None:
        """Encode one frame.

        Raises:
            EncoderError: The encoder failed.
            OutputError: Its size is not that of the first.
        """
        if frame.size != self._size:
            raise OutputError(
                f"frame {frame.seq} is {frame.size[0]}x{frame.size[1]} and the video was begun with "
                f"{self._size[0]}x{self._size[1]}; write a folder of pictures instead"
            )
        picture = self._converter.frame_from_rgb(frame.pixels, self._color, self._pixel_format)
        picture.pts, picture.time_base = self._clock.ticks_of(frame), self._clock.time_base
        self._mux(self._encoded(picture))
        self._taken += 1

    @property
    def held(self) -> int:
        """Frames the encoder took and has not given back."""
        return self._taken - self.given

    def finish(self) -> None:
        """Write what encoder and copy still hold, and the end of the file."""
        self._mux(self._encoded(None))
        self.cut()

    def cut(self) -> None:
        """Write the end of the file without what the encoder still holds."""
        if self._copy is not None:
            self._copy.copy_rest(self._clock.last_s, self._output)
        self._output.close()

    def discard(self) -> None:
        """Let go of the file, whatever state it is in."""
        try:
            # Closing writes the end of the file, which fails again where writing has failed.
            self._output.close()
        except (OSError, require("av", purpose="write video").FFmpegError):
            return

    def _set_up_stream(self, config: EncoderConfig) -> None:
        context = self._stream.codec_context
        context.height, context.width = self._size
        context.pix_fmt, context.time_base = self._pixel_format, self._clock.time_base
        context.thread_count = config.threads
        tag(context, self._color)
        self._stream.time_base = self._clock.time_base
        if self._copy is not None:
            context.sample_aspect_ratio = self._copy.pixel_aspect(is_portrait=self._size[0] > self._size[1])

    def _encoded(self, picture: VideoFrame | None) -> list[Packet[Any]]:
        try:
            packets: list[Packet[Any]] = self._stream.encode(picture)
        except require("av", purpose="write video").FFmpegError as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise EncoderError(f"the encoder {self._stream.codec_context.name} failed: {reason}") from error
        return packets

    def _mux(self, packets: list[Packet[Any]]) -> None:
        self.given += len(packets)
        for packet in packets:
            if self._copy is not None and packet.dts is not None:
                self._copy.copy_until(packet.dts * packet.time_base, self._output)
            self._output.mux_one(packet)


def _open(part: Path, muxer: str, time_base: Fraction) -> OutputContainer:
    options = {"flush_packets": "1", "max_interleave_delta": str(_MAX_INTERLEAVE_US)}
    if muxer != "matroska":
        timescale = math.lcm(time_base.denominator, _SOUND_TICKS_PER_S)
        timescale = timescale if timescale <= _MAX_MOVIE_TIMESCALE else time_base.denominator
        options |= {"movflags": _CRASH_SAFE_MP4, "movie_timescale": str(timescale)}
        # TrueHD and a few others are standard in MP4 by now, FFmpeg 8 still asks.
        options["strict"] = "experimental"
    av = require("av", purpose="write video")
    output: OutputContainer = av.open(f"file:{part}", "w", format=muxer, container_options=options)
    return output


def _codec_options(codec: str, config: EncoderConfig, rate: Fraction) -> dict[str, str]:
    options = {"g": str(max(1, round(config.keyframe_interval_s * rate)))}
    if codec == "libx264":
        options |= {"preset": config.preset, "crf": str(config.crf)}
        return options | ({"tune": config.tune} if config.tune else {})
    return options | hardware_options(codec, config.crf)
