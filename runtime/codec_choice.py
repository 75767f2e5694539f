"""Which H.264 encoder to use: the machine's own where it works, else x264. A list entry is no proof."""

from __future__ import annotations

import logging
from fractions import Fraction
from functools import cache
from typing import Any

from ..core.errors import MachineError
from ..core.optional import require

logger = logging.getLogger(__name__)

#: in order of preference: NVENC, the encoders behind V4L2 (Raspberry Pi and others), x264
CODECS = ("h264_nvenc", "h264_v4l2m2m", "libx264")

#: encoders that know no constant quality and need a bit rate
WITHOUT_QUALITY = frozenset({"h264_v4l2m2m"})
#: bits per pixel and frame that keep a restored picture's detail
_BITS_PER_PIXEL = 0.25


@cache
def working_codec(size: tuple[int, int], pixel_format: str) -> str:
    """Name the first encoder that encodes a picture of this kind; says so once where it is not the first.

    Args:
        size: Height and width, pixels; hardware has limits.
        pixel_format: FFmpeg's name.

    Raises:
        MachineError: None works.
    """
    refused: list[str] = []
    for codec in CODECS:
        reason = why_not(codec, size, pixel_format)
        if reason is None:
            because = f" ({'; '.join(refused)})" if refused else ""
            logger.info("recording %dx%d with %s%s", *size, codec, because)
            return codec
        refused.append(f"{codec}: {reason}")
    raise MachineError(f"no encoder of H.264 works here: {'; '.join(refused)}; reinstall PyAV: pip install av")


def why_not(codec: str, size: tuple[int, int], pixel_format: str) -> str | None:
    """Give why an encoder does not work here, None where it does: it is tried on a grey picture."""
    av: Any = require("av", purpose="write video")
    try:
        context = av.CodecContext.create(codec, "w")
        context.height, context.width = size
        context.pix_fmt, context.time_base, context.framerate = pixel_format, Fraction(1, 30), Fraction(30)
        if codec in WITHOUT_QUALITY:
            context.bit_rate = bit_rate_of(size, Fraction(30))
        context.options = hardware_options(codec, 20)
        frame = av.VideoFrame(size[1], size[0], pixel_format)
        for plane in frame.planes:
            plane.update(bytes([128]) * plane.buffer_size)
        frame.pts, frame.time_base = 0, Fraction(1, 30)
        packets = [*context.encode(frame), *context.encode(None)]
    except (av.FFmpegError, ValueError, OSError) as error:  # an encoder PyAV does not know is a ValueError
        return getattr(error, "strerror", None) or str(error)
    return None if packets else "it gives no picture"


def hardware_options(codec: str, quality: int) -> dict[str, str]:
    """Options of an encoder other than x264: constant quality, no look-ahead, no B-frames."""
    if codec == "h264_nvenc":
        return {"preset": "p4", "tune": "ll", "rc": "constqp", "qp": str(quality + 4), "bf": "0"}
    return {}


def bit_rate_of(size: tuple[int, int], rate: Fraction) -> int:
    """Bits per second for a restored picture of this size."""
    return round(size[0] * size[1] * rate * _BITS_PER_PIXEL)
