"""Raw video on standard input, from the program before in a pipe: Y4M or plain RGB."""

from __future__ import annotations

import os
import re
import select
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import IncompleteError, SourceError, UsageError
from ..core.optional import require
from .color import ColorConverter, ColorSpec, color_of_frame
from .frame import Frame
from .sources import SourceInfo

if TYPE_CHECKING:
    from av import VideoFrame

STDIN = 0

NAME = "standard input"

#: Y4M's colour space -> FFmpeg's pixel format
Y4M_FORMATS = {
    **dict.fromkeys(("420", "420jpeg", "420mpeg2", "420paldv"), "yuv420p"),
    "422": "yuv422p",
    "444": "yuv444p",
    "mono": "gray",
    "420p10": "yuv420p10le",
    "422p10": "yuv422p10le",
    "444p10": "yuv444p10le",
}

_MAX_LINE_BYTES = 1024
_CHUNK_BYTES = 65536
_FULL_RANGE = 2

#: how often a reader that waits for bytes looks whether it shall end, seconds
_LOOK_S = 0.2

_RAW = re.compile(r"(?P<height>[1-9]\d*)x(?P<width>[1-9]\d*)@(?P<rate>\d+(?:\.\d+)?(?:/\d+)?)")


@dataclass(frozen=True, slots=True)
class RawFormat:
    """What plain RGB on a pipe is, which says nothing of itself.

    Attributes:
        size: Height and width.
        frame_rate: Frames per second.
    """

    size: tuple[int, int]
    frame_rate: Fraction

    @classmethod
    def from_text(cls, text: str) -> RawFormat:
        """Read ``HEIGHTxWIDTH@FPS``.

        Example:
            >>> RawFormat.from_text("720x1280@30000/1001").size
            (720, 1280)

        Raises:
            UsageError: It has another form.
        """
        match = _RAW.fullmatch(text)
        numerator, _, denominator = match["rate"].partition("/") if match else ("0", "", "")
        if match is None or not float(numerator) or denominator == "0" or ("." in numerator and denominator):
            raise UsageError(f"{text!r} is no raw format, expected HEIGHTxWIDTH@FPS such as 720x1280@30")
        rate = Fraction(numerator) / int(denominator or 1)
        return cls((int(match["height"]), int(match["width"])), rate)


@dataclass(frozen=True, slots=True)
class _Format:
    """Layout of the pictures to come."""

    size: tuple[int, int]
    frame_rate: Fraction
    pixel_format: str
    is_full_range: bool
    has_headers: bool


class PipeSource:
    """Reads every frame of a pipe, in order; a slow reader makes the program before wait.

    Args:
        raw: What plain RGB is; None where the pipe carries Y4M.
        descriptor: Where to read; left open.
        untagged_matrix: Colour matrix of Y4M, which cannot name it; None to go by its height.

    Raises:
        SourceError: The pipe is empty, or not Y4M.
    """

    def __init__(
        self, raw: RawFormat | None = None, descriptor: int = STDIN, untagged_matrix: int | None = None
    ) -> None:
        self._pipe = _Pipe(descriptor)
        self._untagged_matrix = untagged_matrix
        self._format = _Format(raw.size, raw.frame_rate, "rgb24", True, False) if raw else self._read_head()
        self._is_started = False
        self._info = SourceInfo(NAME, self._format.size, self._format.frame_rate)

    @property
    def info(self) -> SourceInfo:
        """What the head of the pipe, or the user, says."""
        return self._info

    def __iter__(self) -> Iterator[Frame]:
        """Yield every whole frame.

        Raises:
            IncompleteError: After the last, where the pipe ended within a frame.
            SourceError: It gave no frame, or was iterated before.
        """
        if self._is_started:
            raise SourceError(f"{NAME} can be read only once")
        self._is_started = True
        return self._frames()

    def interrupt(self) -> None:
        """End the frames with the last one read; may be called from any thread."""
        self._pipe.closed.set()

    def close(self) -> None:
        """Stop reading, also in another thread; closing twice is fine."""
        self._pipe.closed.set()

    def _frames(self) -> Iterator[Frame]:
        converter, planes = ColorConverter(), _planes_of(self._format)
        seq = 0
        while (frame := self._read_frame(planes, seq)) is not None:
            captured_ns = time.monotonic_ns()
            is_rgb = self._format.pixel_format == "rgb24"
            color = ColorSpec() if is_rgb else color_of_frame(frame, self._untagged_matrix)
            yield Frame(
                pixels=converter.rgb_from_frame(frame, color),
                seq=seq,
                t_capture_ns=captured_ns,
                stream=NAME,
                pts=seq,
                time_base=1 / self._format.frame_rate,
                color=color,
            )
            seq += 1
        if not seq and not self._pipe.closed.is_set():
            raise SourceError(f"{NAME} gave no frame; does the program before it write any?")

    def _read_frame(self, planes: list[tuple[int, int]], seq: int) -> VideoFrame | None:
        av: Any = require("av", purpose="read raw video")
        if self._format.has_headers and not self._read_frame_head(seq):
            return None
        expected = sum(stride * rows for stride, rows in planes)
        data = self._pipe.read(expected)
        if self._pipe.closed.is_set() or (not data and not self._format.has_headers):
            return None
        if len(data) < expected:
            raise IncompleteError(f"{NAME} ended within frame {seq}: {len(data)} of {expected} bytes came")
        height, width = self._format.size
        frame: VideoFrame = av.VideoFrame(width, height, self._format.pixel_format)
        _fill(frame, np.frombuffer(data, np.uint8), planes)
        if self._format.is_full_range:
            frame.color_range = _FULL_RANGE
        return frame

    def _read_frame_head(self, seq: int) -> bool:
        line = self._pipe.read_line()
        if line and not line.startswith(b"FRAME"):
            raise IncompleteError(f"{NAME} is damaged before frame {seq}: expected FRAME, got {line[:16]!r}")
        return bool(line)

    def _read_head(self) -> _Format:
        line = self._pipe.read_line()
        if not line.startswith(b"YUV4MPEG2 "):
            found = f"it begins with {line[:16]!r}" if line else "it is empty"
            raise SourceError(f"{NAME} is no Y4M video ({found}); for plain RGB say its format: --raw 720x1280@30")
        words = line.decode(errors="replace").split()[1:]
        values = {word[0]: word[1:] for word in words if word[0] != "X"}
        coding = values.get("C", "420jpeg")
        if coding not in Y4M_FORMATS:
            raise SourceError(f"{NAME} is coded as {coding}, which is not read; expected {', '.join(Y4M_FORMATS)}")
        try:
            size = int(values["H"]), int(values["W"])
            rate = Fraction(*(int(part) for part in values.get("F", "25:1").split(":")))
        except (KeyError, ValueError, ZeroDivisionError, TypeError) as error:
            raise SourceError(f"{NAME} is damaged Y4M video: {line[:80]!r}") from error
        is_full = "XCOLORRANGE=FULL" in words
        return _Format(size, rate or Fraction(25), Y4M_FORMATS[coding], is_full, True)


class _Pipe:
    """Bytes of a descriptor; reading ends when ``closed`` is set."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._buffer = bytearray()
        self.closed = threading.Event()

    def read(self, count: int) -> bytes:
        """Read so many bytes; fewer where the pipe ends."""
        while len(self._buffer) < count and self._fill(count - len(self._buffer)):
            pass
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    def read_line(self) -> bytes:
        """Read a line without its end; what there is where the pipe ends or no line does."""
        while (end := self._buffer.find(b"\n")) < 0 and len(self._buffer) < _MAX_LINE_BYTES and self._fill(1):
            pass
        end = end if end >= 0 else len(self._buffer)
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    def _fill(self, count: int) -> bool:
        """Add bytes, of which ``count`` are wanted at once; False at the end."""
        while not self.closed.is_set():
            if select.select([self._descriptor], [], [], _LOOK_S)[0]:
                data = os.read(self._descriptor, max(count, _CHUNK_BYTES))
                self._buffer += data
                return bool(data)
        return False


def _planes_of(described: _Format) -> list[tuple[int, int]]:
    """Bytes per line and lines of every plane, without padding."""
    height, width = described.size
    if described.pixel_format == "rgb24":
        return [(3 * width, height)]
    depth = 2 if described.pixel_format.endswith("10le") else 1
    luma = (width * depth, height)
    if described.pixel_format == "gray":
        return [luma]
    chroma_width = width if "444" in described.pixel_format else -(-width // 2)
    chroma_height = -(-height // 2) if "420" in described.pixel_format else height
    return [luma, (chroma_width * depth, chroma_height), (chroma_width * depth, chroma_height)]


def _fill(frame: VideoFrame, data: NDArray[np.uint8], planes: list[tuple[int, int]]) -> None:
    offset = 0
    for plane, (stride, rows) in zip(frame.planes, planes, strict=True):
        lines = data[offset : offset + stride * rows].reshape(rows, stride)
        offset += stride * rows
        np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[:rows, :stride] = lines
