"""Frames of a stream or camera through PyAV, inside a capture process."""

from __future__ import annotations

import errno
import time
from typing import TYPE_CHECKING, Any

from ..core.optional import require
from .capture_channel import CaptureSender, Ended
from .capture_request import CaptureRequest
from .decoded_frames import DecodedFrames, decode
from .device_holder import holders_of

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
        in_use = holders_of(request.target) if error.errno == errno.EBUSY else ""
        return Ended("over", f"it cannot be opened ({error.strerror}{in_use and f': {in_use} has it open'})")
    stream = next(iter(container.streams.video), None)
    if stream is None or stream.codec_context is None:
        return Ended("unsupported", "it has no video that can be decoded here")
    return _send_all(container, stream, request, sender)


def _send_all(container: Any, stream: Any, request: CaptureRequest, sender: CaptureSender) -> Ended:
    # One thread: frame threads hold back as many frames as there are threads.
    stream.codec_context.thread_count = 1
    rate = stream.average_rate or stream.guessed_rate
    frames = DecodedFrames(
        sender,
        request,
        time_base=stream.time_base,
        fps=float(rate) if rate else None,
    )
    try:
        for packet in container.demux(stream):
            arrived_ns = time.monotonic_ns()
            if sender.is_hung_up.is_set():
                break
            for frame in decode(stream.codec_context, packet, sender) if packet.size else ():
                is_stamped = request.has_monotonic_stamps
                frames.send(frame, _stamp_ns(frame, arrived_ns) if is_stamped else arrived_ns)
    except require("av", purpose=_PURPOSE).FFmpegError as error:
        return Ended("over", f"reading stopped ({error.strerror})")
    return Ended("over", "the stream ended")


def _stamp_ns(frame: VideoFrame, arrived_ns: int) -> int:
    """Take the driver's stamp where it is one of our clock, else the time the packet came."""
    if frame.pts is None or frame.time_base is None:
        return arrived_ns
    stamped_ns = int(frame.pts * frame.time_base * 1_000_000_000)
    return stamped_ns if 0 <= arrived_ns - stamped_ns < _RECENT_NS else arrived_ns
