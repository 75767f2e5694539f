"""Frames of a video file: decoded, upright, RGB, with their own time stamps."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import IncompleteError, SourceError
from ..core.optional import require
from ..core.pictures import UPRIGHT, Orientation, orientation_of, upright
from .color import HD_HEIGHT_PX, ColorConverter, ColorSpec, color_of_frame
from .container_length import missing_bytes
from .frame import Frame
from .sources import SourceInfo

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

logger = logging.getLogger(__name__)

#: frame threads are half as fast again, but where the last packets are damaged they lose good frames
#: before them and hide the error (PyAV 18.1, FFmpeg 8); this way 720p decodes at 580 fps on one core
_THREADING = "SLICE"


class VideoFileSource:
    """Decodes the first video stream of a file, losing no frame that can be decoded.

    Time stamps are the file's own, whatever their rate and start. A change of size begins a new
    epoch. Frames the decoder marks as damaged are yielded and counted.

    Args:
        path: A regular file.
        untagged_matrix: Colour matrix where the file names none; None to go by its height.

    Attributes:
        corrupt_frames: Frames so far that the decoder marked as damaged.

    Raises:
        SourceError: The file is missing, empty, no video, or gives no frame.
    """

    def __init__(self, path: Path, untagged_matrix: int | None = None) -> None:
        self._path, self._untagged_matrix = path, untagged_matrix
        self.corrupt_frames = 0
        self._undecodable_packets = 0
        self._read_error = ""
        self._is_started = self._is_closed = False
        self._container = open_container(path)
        try:
            self._stream = video_stream(self._container, path)
            self._missing_bytes = missing_bytes(path)
            self._decoded = self._decode()
            self._info = self._read_first()
        except BaseException:
            self._container.close()
            raise

    @property
    def info(self) -> SourceInfo:
        """What the container says, with the size of the first upright frame."""
        return self._info

    def __iter__(self) -> Iterator[Frame]:
        """Yield every frame; pixels are new memory.

        Raises:
            IncompleteError: After the last frame, where the file ends early or part of it could
                not be decoded.
            SourceError: The source was iterated before.
        """
        if self._is_started:
            raise SourceError(f"{self._path.name} was read already and is read only once; open it again")
        self._is_started = True
        return self._frames()

    def close(self) -> None:
        """Release the decoder; closing twice is fine."""
        self._is_closed = True
        self._container.close()

    def _read_first(self) -> SourceInfo:
        self._first: VideoFrame | None = next(self._decoded, None)
        if self._first is None:
            reason = self._damage() or "the stream is empty"
            raise SourceError(f"{self._path} has a video stream but not one readable frame ({reason}); is it whole?")
        height, width = self._first.height, self._first.width
        is_turned = bool(orientation_of(self._first)[1])
        return SourceInfo(
            name=self._path.name,
            size=(width, height) if is_turned else (height, width),
            frame_rate=frame_rate_of(self._stream),
            frame_count=self._stream.frames or None,
        )

    def _frames(self) -> Iterator[Frame]:
        converter = ColorConverter()
        seq = epoch = 0
        shape: tuple[int, int] | None = None
        color, orientation = ColorSpec(), UPRIGHT
        decoded, self._first = self._first, None
        while decoded is not None:
            if shape != (decoded.height, decoded.width):
                epoch += shape is not None
                shape = decoded.height, decoded.width
                color, orientation = self._describe(decoded)
            pixels = upright(converter.rgb_from_frame(decoded, color), orientation)
            yield Frame(
                pixels=pixels,
                seq=seq,
                t_capture_ns=time.monotonic_ns(),
                stream=self._path.name,
                epoch=epoch,
                pts=decoded.pts,
                time_base=self._stream.time_base,
                color=color,
            )
            seq += 1
            decoded = next(self._decoded, None)
        self._check_complete(seq)

    def _describe(self, frame: VideoFrame) -> tuple[ColorSpec, Orientation]:
        color = color_of_frame(frame, self._untagged_matrix)
        if color.is_assumed and frame.height >= HD_HEIGHT_PX:
            message = "%s does not say how its colours are coded; taken as BT.709 (--untagged-matrix says otherwise)"
            logger.warning(message, self._path.name)
        return color, orientation_of(frame)

    def _decode(self) -> Iterator[VideoFrame]:
        ffmpeg_error: type[Exception] = require("av", purpose="read video").FFmpegError
        for packet in self._packets():
            try:
                frames = self._stream.codec_context.decode(packet)
            except ffmpeg_error:
                self._undecodable_packets += 1
                continue
            self.corrupt_frames += sum(frame.is_corrupt for frame in frames)
            yield from frames

    def _packets(self) -> Iterator[Packet[VideoStream] | None]:
        """Yield every packet with content, then None, which drains the decoder."""
        try:
            for packet in self._container.demux(self._stream):
                if packet.size:
                    yield packet
                if self._is_closed:
                    return
        except require("av", purpose="read video").FFmpegError as error:
            self._read_error = _reason(error)
        yield None

    def _damage(self) -> str:
        reasons = []
        if self._missing_bytes:
            reasons.append(f"it ends {self._missing_bytes} bytes early")
        if self._undecodable_packets:
            reasons.append(f"{self._undecodable_packets} packets could not be decoded")
        if self._read_error:
            reasons.append(f"reading stopped with {self._read_error!r}")
        return ", ".join(reasons)

    def _check_complete(self, delivered: int) -> None:
        if self.corrupt_frames:
            logger.warning("%s: %d frames are damaged and were kept", self._path.name, self.corrupt_frames)
        damage = self._damage()
        if damage and not self._is_closed:
            declared = f" of {self._stream.frames} declared" if self._stream.frames else ""
            raise IncompleteError(
                f"{self._path.name} is damaged ({damage}): delivered {delivered} frames{declared}; "
                "copy or record it again if the rest matters"
            )


def open_container(path: Path) -> InputContainer:
    """Open a file for demuxing; the caller closes it.

    Raises:
        SourceError: It is missing, empty, no regular file or nothing FFmpeg knows.
    """
    av = require("av", purpose="read video")
    if not path.exists():
        raise SourceError(f"no video at {path}; check the path")
    if not path.is_file():
        raise SourceError(f"{path} is not a regular file; give a video, a picture or a folder of pictures")
    if not path.stat().st_size:
        raise SourceError(f"{path} is empty (0 bytes); was its copy or download cut off?")
    try:
        # "file:" keeps a colon in the name from being read as a protocol.
        container: InputContainer = av.open(f"file:{path}", metadata_errors="replace")
    except (av.FFmpegError, OSError) as error:
        raise SourceError(f"{path} is not a readable video ({_reason(error)}); is it one, and whole?") from error
    return container


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """Pick the first video stream that is no cover picture.

    Raises:
        SourceError: There is none, or nothing here decodes it.
    """
    cover = require("av.stream", purpose="read video").Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & cover]
    if not streams:
        found = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        raise SourceError(f"{path} has no video stream (found: {found}); give a file with pictures in it")
    stream: Any = streams[0]
    if stream.codec_context is None:
        raise SourceError(f"{path} is coded in a way FFmpeg has no decoder for; convert it to H.264 first")
    stream.thread_type = _THREADING
    chosen: VideoStream = stream
    return chosen


def frame_rate_of(stream: VideoStream) -> Fraction | None:
    """Average frames per second, None where the container does not say."""
    return stream.average_rate or stream.guessed_rate or None


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
