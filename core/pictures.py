"""Read and write single pictures as ``uint8 [height, width, 3]`` RGB, through FFmpeg (PyAV)."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import ContractError, SourceError, UsageError
from .optional import require
from .outputs import write_whole

if TYPE_CHECKING:
    from av import VideoFrame

Pixels = NDArray[np.uint8]

#: swscale's BICUBIC, FULL_CHR_H_INT and ACCURATE_RND; PyAV 17 takes the numbers but has no names for them
ACCURATE_DECODING = 0x4 | 0x2000 | 0x40000

#: signs of FFmpeg's display matrix ``((a, b), (c, d))``: shown x = ax + cy, shown y = bx + dy
Orientation = tuple[int, int, int, int]

UPRIGHT: Orientation = (1, 0, 0, 1)

#: ``VideoFrame.rotation`` (counterclockwise degrees) as a display matrix
_ROTATIONS: dict[int, Orientation] = {90: (0, -1, 1, 0), -90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), -180: (-1, 0, 0, -1)}

#: AV_FRAME_DATA_EXIF of FFmpeg 8; PyAV 18.1 refuses to list the side data of frames that carry it
_EXIF_SIDE_DATA = 31

#: suffix -> encoder, its pixel format, its options
ENCODERS: dict[str, tuple[str, str, dict[str, str]]] = {
    # 44 ms at 720p; FFmpeg's default takes 357 ms to save another fifth of the bytes.
    ".png": ("png", "rgb24", {"pred": "up", "compression_level": "1"}),
    # One quantiser step (118 = FF_QP2LAMBDA) and full chroma: the best this encoder does.
    ".jpg": ("mjpeg", "yuvj444p", {"flags": "+qscale", "global_quality": "118", "qmin": "1", "qmax": "1"}),
    ".bmp": ("bmp", "bgr24", {}),
    ".tif": ("tiff", "rgb24", {}),
    ".webp": ("libwebp", "bgra", {"lossless": "1", "compression_level": "1"}),
    ".ppm": ("ppm", "rgb24", {}),
}
ENCODERS |= {".jpeg": ENCODERS[".jpg"], ".tiff": ENCODERS[".tif"]}

PICTURE_SUFFIXES = frozenset(ENCODERS)


def is_picture(path: Path) -> bool:
    """Whether the file name ends like a picture's."""
    return path.suffix.lower() in PICTURE_SUFFIXES


def read_picture(path: Path) -> Pixels:
    """Read one picture, turned as its EXIF data says.

    Transparency is dropped, grey becomes RGB, 16 bits become 8; 8-bit RGB and grey are exact.

    Raises:
        SourceError: The file is missing, empty, damaged or no picture.
    """
    av = require("av", purpose="read pictures")
    if not path.is_file():
        raise SourceError(f"no picture at {path}; check the path")
    try:
        # From memory, since FFmpeg takes a % in a file name for a numbered series.
        with av.open(io.BytesIO(path.read_bytes())) as container:
            frame = next(container.decode(video=0))
            return upright(_rgb(frame), orientation_of(frame))
    except (OSError, av.FFmpegError, StopIteration, IndexError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error) or "it holds no picture"
        raise SourceError(f"{path} is not a readable picture ({reason}); is the file whole?") from error


def write_picture(path: Path, pixels: Pixels) -> None:
    """Write one picture in the format its suffix names; nobody ever sees half of it.

    PNG, BMP, TIFF, WebP and PPM keep every pixel, JPEG nearly. An existing file is replaced.

    Args:
        path: Where to; its folder exists.
        pixels: ``uint8 [height, width, 3]`` RGB.

    Raises:
        UsageError: The suffix names no known format.
        ContractError: ``pixels`` has another type or shape.
        OutputError: The disk is full or the place cannot be written.
    """
    write_whole(path, _encode(path, pixels))


def orientation_of(frame: VideoFrame) -> Orientation:
    """How a decoded frame is to be turned and mirrored before it is shown, in right angles."""
    side_data = _side_data(frame)
    if side_data is None:
        return _ROTATIONS.get(frame.rotation, UPRIGHT)
    matrix = side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return UPRIGHT
    a, b, _, c, d = (int(value) for value in np.frombuffer(bytes(matrix), np.int32)[:5])
    if abs(b) > abs(a):
        return 0, 1 if b > 0 else -1, 1 if c > 0 else -1, 0
    return 1 if a >= 0 else -1, 0, 0, 1 if d >= 0 else -1


def upright(pixels: Pixels, orientation: Orientation) -> Pixels:
    """Turn and mirror ``pixels`` as ``orientation`` says; the result is contiguous, perhaps the same array."""
    a, b, c, d = orientation
    turned = pixels.swapaxes(0, 1)[::b, ::c] if b else pixels[::d, ::a]
    return np.ascontiguousarray(turned)


def _side_data(frame: VideoFrame) -> Any:
    """List a frame's side data; None where PyAV cannot."""
    try:
        return frame.side_data
    except ValueError:
        pass
    # PyAV 18.1 fails on kinds it has no name for, so a filter takes EXIF away; may go once it knows EXIF.
    graph: Any = require("av.filter", purpose="read pictures").Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 25)
    )
    without_exif, sink = graph.add("sidedata", f"mode=delete:type={_EXIF_SIDE_DATA}"), graph.add("buffersink")
    source.link_to(without_exif)
    without_exif.link_to(sink)
    graph.configure()
    graph.push(frame)
    try:
        return graph.pull().side_data
    except ValueError:
        return None


def _rgb(frame: VideoFrame) -> Pixels:
    converted = frame.reformat(format="rgb24", interpolation=ACCURATE_DECODING)
    pixels: Pixels = converted.to_ndarray()  # type: ignore[assignment]
    return pixels


def _encode(path: Path, pixels: Pixels) -> bytes:
    av: Any = require("av", purpose="write pictures")
    if path.suffix.lower() not in ENCODERS:
        raise UsageError(f"{path.name} names no known picture format, expected {', '.join(sorted(ENCODERS))}")
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ContractError(f"{path.name} is {pixels.dtype}{list(pixels.shape)}, expected uint8 [height, width, 3]")
    codec, pixel_format, options = ENCODERS[path.suffix.lower()]
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    frame = frame.reformat(format=pixel_format)
    context = av.CodecContext.create(codec, "w")
    context.width, context.height, context.pix_fmt = frame.width, frame.height, pixel_format
    context.time_base, context.options = Fraction(1, 25), options
    return b"".join(bytes(packet) for packet in (*context.encode(frame), *context.encode(None)))
