"""Frames of a stream or camera through PyAV, inside a capture process."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ..core.optional import require
from ..core.pictures import UPRIGHT, Orientation, orientation_of, upright
from .capture_channel import CaptureSender, Corrupt, Ended, FrameFormat
from .capture_request import CaptureRequest
from .color import ColorConverter, ColorSpec, color_of_frame

if TYPE_CHECKING:
    from av import VideoFrame

_PURPOSE = "read live video"

#: a driver's stamp is believed when it is so recent
_RECENT_NS = 1_000_000_000


def read_with_pyav(request: CaptureRequest, sender: CaptureSender) -> Ended:
    """Send every frame until the stream ends or nobody listens, and say why it ended."""
    av: Any = require("av", purpose=_PURPOSE)
    try:
        container = av.open(request.target, format=request.input_format, options=request.settings)
    except av.error.HTTPUnauthorizedError as error:
        return Ended("refused", f"user or password is not accepted ({error.strerror})")
    except av.error.HTTPForbiddenError as error:
        return Ended("refused", f"access is denied ({error.strerror})")
    except (av.error.HTTPNotFoundError, av.error.HTTPOtherClientError) as error:
        return Ended("missing", f"there is no such stream ({error.strerror})")
    except (av.FFmpegError, OSError) as error:
        return Ended("over", f"it cannot be opened ({error.strerror})")
    if not container.streams.video:
        return Ended("unsupported", "it has no video")
    return _PyavStream(container, request, sender).send_all()


class _PyavStream:
    """An open stream on its way to the parent."""

    def __init__(self, container: Any, request: CaptureRequest, sender: CaptureSender) -> None:
        self._container, self._request, self._sender = container, request, sender
        self._stream = container.streams.video[0]
        self._converter = ColorConverter()
        self._shape: tuple[Any, ...] | None = None
        self._orientation: Orientation = UPRIGHT
        self._color = ColorSpec()

    def send_all(self) -> Ended:
        """Demux, decode and send until there is nothing more."""
        av: Any = require("av", purpose=_PURPOSE)
        if self._stream.codec_context is None:
            return Ended("unsupported", "nothing here decodes its video")
        # One thread: frame threads hold back as many frames as there are threads.
        self._stream.codec_context.thread_count = 1
        try:
            for packet in self._container.demux(self._stream):
                if self._sender.is_hung_up.is_set():
                    break
                if packet.size:
                    self._send_frames(packet, time.monotonic_ns())
        except av.FFmpegError as error:
            return Ended("over", f"reading stopped ({error.strerror})")
        return Ended("over", "the stream ended")

    def _send_frames(self, packet: Any, arrived_ns: int) -> None:
        av: Any = require("av", purpose=_PURPOSE)
        try:
            frames = self._stream.codec_context.decode(packet)
        except av.FFmpegError:
            self._sender.say(Corrupt(1))
            return
        for frame in frames:
            if frame.is_corrupt and not self._request.keeps_corrupt:
                self._sender.say(Corrupt(1))
            else:
                self._send(frame, self._captured_ns(frame, arrived_ns))

    def _send(self, frame: VideoFrame, captured_ns: int) -> None:
        shape = (frame.height, frame.width, frame.format.name)
        if shape != self._shape:
            self._shape = shape
            self._color, self._orientation = color_of_frame(frame), orientation_of(frame)
        pixels = upright(self._converter.rgb_from_frame(frame, self._color), self._orientation)
        rate = self._stream.average_rate or self._stream.guessed_rate
        version = require("av", purpose=_PURPOSE).__version__
        described = FrameFormat(
            size=(pixels.shape[0], pixels.shape[1]),
            color=self._color,
            time_base=self._stream.time_base,
            coding=frame.format.name,
            fps=float(rate) if rate else None,
            reader=f"PyAV {version}",
        )
        self._sender.put(pixels, described, captured_ns, frame.pts)

    def _captured_ns(self, frame: VideoFrame, arrived_ns: int) -> int:
        """Take the driver's stamp where it is one of our clock, else the time the packet came."""
        if self._request.has_monotonic_stamps and frame.pts is not None and self._stream.time_base is not None:
            stamped_ns = int(frame.pts * self._stream.time_base * 1_000_000_000)
            if 0 <= arrived_ns - stamped_ns < _RECENT_NS:
                return stamped_ns
        return arrived_ns
