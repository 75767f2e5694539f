"""How a video's numbers mean colours: matrix, range, primaries, transfer; and the way to RGB and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import MachineError
from ..core.optional import require

if TYPE_CHECKING:
    from av import VideoFrame

Pixels = NDArray[np.uint8]

#: from this height on, video that does not say is taken as BT.709 (below it as BT.601)
HD_HEIGHT_PX = 720

BT709, BT601 = 1, 6
#: what a user may say of video that names no matrix
MATRICES = {"bt601": BT601, "bt709": BT709}
_RGB = 0
_LIMITED_RANGE, _FULL_RANGE = 1, 2

#: matrix tag -> swscale's number for it; 5 and 6 are one matrix, 10 differs from 9 only in linear light
_SWSCALE_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}

#: formats without chroma, where no matrix applies: grey, grey with alpha, black and white, palette
_COLORLESS_FORMATS = ("gray", "ya", "mono", "pal")

#: swscale's BILINEAR, FULL_CHR_H_INT and ACCURATE_RND; bicubic takes 8 ms, this 5 ms for a 720p frame on one core
_ACCURATE_DECODING = 0x2 | 0x2000 | 0x40000
#: swscale's BICUBIC, FULL_CHR_H_INP and ACCURATE_RND
_ACCURATE_ENCODING = 0x4 | 0x4000 | 0x40000

#: swscale's slices; more than two only takes cores from the network
_CONVERSION_THREADS = 2


@dataclass(frozen=True, slots=True)
class ColorSpec:
    """Colour description of a stream, in FFmpeg's numbers (ITU-T H.273).

    Attributes:
        matrix: Luma/chroma matrix: 0 RGB, 1 BT.709, 5 and 6 BT.601, 9 BT.2020.
        is_full_range: Whether luma uses 0..255 rather than 16..235.
        primaries: 2 where unknown.
        transfer: 2 where unknown.
        is_assumed: Whether ``matrix`` was not tagged and had to be assumed.
    """

    matrix: int = 0
    is_full_range: bool = True
    primaries: int = 2
    transfer: int = 2
    is_assumed: bool = False

    @property
    def for_video(self) -> ColorSpec:
        """What to encode a frame of this colour as: RGB becomes limited BT.709, the rest stays."""
        return ColorSpec(BT709, False, BT709, BT709) if self.matrix == _RGB else self


def color_of_frame(frame: VideoFrame, untagged_matrix: int | None = None) -> ColorSpec:
    """Read a decoded frame's tags and fill in what they leave open.

    Without a matrix, frames are ``untagged_matrix``; where that is None, 720 coded lines and more are
    BT.709, fewer are BT.601. Without a range, video is limited and the ``yuvj`` formats are full. RGB,
    grey and palette frames have no matrix.
    """
    name = frame.format.name
    if frame.format.is_rgb or name.startswith(_COLORLESS_FORMATS):
        is_limited = frame.color_range == _LIMITED_RANGE
        return ColorSpec(_RGB, not is_limited, frame.color_primaries, frame.color_trc)
    is_tagged = frame.colorspace in _SWSCALE_MATRICES
    return ColorSpec(
        matrix=frame.colorspace if is_tagged else untagged_matrix or assumed_matrix(frame.height),
        is_full_range=frame.color_range == _FULL_RANGE or name.startswith("yuvj"),
        primaries=frame.color_primaries,
        transfer=frame.color_trc,
        is_assumed=not is_tagged and untagged_matrix is None,
    )


def assumed_matrix(height: int) -> int:
    """Say what video of ``height`` lines is that does not say it."""
    return BT709 if height >= HD_HEIGHT_PX else BT601


class ColorConverter:
    """Turns decoded frames into RGB and RGB into frames to encode, never by a library's default.

    Chroma is interpolated and rounded accurately; swscale's default is faster, with errors of several
    levels at edges of colour. Not for use by several threads.
    """

    def __init__(self) -> None:
        swscale = require("av.video.reformatter", purpose="convert colours")
        self._to_rgb: Any = swscale.VideoReformatter()
        self._from_rgb: Any = swscale.VideoReformatter()

    def rgb_from_frame(self, frame: VideoFrame, color: ColorSpec) -> Pixels:
        """Convert a decoded frame to ``uint8 [height, width, 3]``; 10 bits become 8, alpha is dropped.

        Args:
            frame: As decoded; left as it is.
            color: What ``color_of_frame`` says of it.

        Raises:
            MachineError: The installed PyAV cannot convert this format or matrix.
        """
        matrix = _SWSCALE_MATRICES.get(color.matrix)
        is_full_range = color.is_full_range or color.matrix == _RGB
        av = require("av", purpose="convert colours")
        try:
            converted = self._to_rgb.reformat(
                frame,
                format="rgb24",
                src_colorspace=matrix,
                dst_colorspace=matrix,
                src_color_range=_FULL_RANGE if is_full_range else _LIMITED_RANGE,
                dst_color_range=_FULL_RANGE,
                interpolation=_ACCURATE_DECODING,
                threads=_CONVERSION_THREADS,
            )
        except av.FFmpegError as error:
            raise MachineError(
                f"PyAV {av.__version__} cannot convert {frame.format.name} with colour matrix {color.matrix} to RGB "
                f"({error.strerror}); BT.2020 (9) needs version 18: pip install 'av>=18'"
            ) from error
        pixels: Pixels = converted.to_ndarray()
        if color.matrix == _RGB and not color.is_full_range and frame.format.name.startswith("gray"):
            # swscale takes grey as full range whatever it is told.
            pixels = _FULL_FROM_LIMITED[pixels]
        return np.ascontiguousarray(pixels)

    def frame_from_rgb(self, pixels: Pixels, color: ColorSpec, pixel_format: str) -> VideoFrame:
        """Convert ``uint8 [height, width, 3]`` to a tagged frame of ``pixel_format``, a YUV one.

        Args:
            pixels: RGB; left as it is.
            color: What the frame shall be, with a matrix that is not RGB (``ColorSpec.for_video``).
            pixel_format: FFmpeg's name, such as ``yuv420p``.
        """
        av = require("av", purpose="write video")
        frame: VideoFrame = self._from_rgb.reformat(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24"),
            format=pixel_format,
            src_color_range=_FULL_RANGE,
            dst_colorspace=_SWSCALE_MATRICES[color.matrix],
            dst_color_range=_FULL_RANGE if color.is_full_range else _LIMITED_RANGE,
            interpolation=_ACCURATE_ENCODING,
            threads=_CONVERSION_THREADS,
        )
        tag(frame, color)
        return frame


def tag(target: Any, color: ColorSpec) -> None:
    """Write ``color`` into a frame or a codec context."""
    target.colorspace = color.matrix
    target.color_range = _FULL_RANGE if color.is_full_range else _LIMITED_RANGE
    target.color_primaries = color.primaries
    target.color_trc = color.transfer


_FULL_FROM_LIMITED: Pixels = np.clip(np.rint((np.arange(256) - 16) * (255 / 219)), 0, 255).astype(np.uint8)
