"""Frames decoded by FFmpeg on their way out of a capture process: upright, RGB, described."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from ..core.optional import require
from ..core.pictures import UPRIGHT, Orientation, orientation_of, upright
from .capture_channel import Alive, CaptureSender, Corrupt, FrameFormat
from .capture_request import CaptureRequest
from .color import ColorConverter, ColorSpec, color_of_frame

if TYPE_CHECKING:
    from av import VideoFrame


class DecodedFrames:
    """Sends decoded frames of one stream.

    Args:
        sender: Where they go.
        request: Whether frames marked as damaged are sent, or withheld and reported; how colours are
            coded where the stream does not say.
        time_base: Seconds per unit of their time stamps; None where they have none.
        fps: What the stream says of its rate.
        reader: Who reads; PyAV where it is not said.
    """

    def __init__(
        self,
        sender: CaptureSender,
        request: CaptureRequest,
        *,
        time_base: Fraction | None,
        fps: float | None,
        reader: str = "",
    ) -> None:
        self._sender, self._request = sender, request
        self._time_base, self._fps = time_base, fps
        self._reader = reader or f"PyAV {require('av', purpose='read live video').__version__}"
        self._converter = ColorConverter()
        self._shape: tuple[int, int, str] | None = None
        self._color, self._orientation = ColorSpec(), UPRIGHT

    def send(self, frame: VideoFrame, captured_ns: int) -> None:
        """Convert and send one frame, or say that it was damaged."""
        if frame.is_corrupt and not self._request.keeps_corrupt:
            self._sender.say(Corrupt(1))
            return
        color, orientation = self._description(frame)
        pixels = upright(self._converter.rgb_from_frame(frame, color), orientation)
        size = pixels.shape[0], pixels.shape[1]
        described = FrameFormat(size, color, self._time_base, frame.format.name, self._fps, self._reader)
        pts = frame.pts if self._time_base is not None else None
        self._sender.put(pixels, described, captured_ns, pts)

    def _description(self, frame: VideoFrame) -> tuple[ColorSpec, Orientation]:
        shape = (frame.height, frame.width, frame.format.name)
        if shape != self._shape:
            self._shape = shape
            self._color = color_of_frame(frame, self._request.untagged_matrix)
            self._orientation = orientation_of(frame)
        return self._color, self._orientation


def decode(context: Any, packet: Any, sender: CaptureSender) -> list[VideoFrame]:
    """Decode one packet; one that cannot be decoded is reported as a damaged frame, one without result as life."""
    try:
        frames: list[VideoFrame] = context.decode(packet)
    except require("av", purpose="read live video").FFmpegError:
        sender.say(Corrupt(1))
        return []
    if not frames:
        sender.say(Alive())
    return frames
