"""Raw video on standard output, for the next program of a pipe: Y4M or plain RGB."""

from __future__ import annotations

import os
import sys
from fractions import Fraction

import numpy as np

from ..core.errors import OutputError
from .color import BT601, BT709, HD_HEIGHT_PX, ColorConverter, ColorSpec
from .frame import Pixels
from .result_sinks import ResultSinkOptions
from .terminal import Result, enlarged

STDOUT = 1

DEFAULT_FRAME_RATE = Fraction(25)


class RawPipe:
    """Writes ``uint8 [height, width, 3]`` RGB, picture after picture, nothing between them.

    A reader that goes away ends the run in order; that is how readers of pipes say "enough".

    Args:
        options: Scale, frame rate, and what to do when the reader is gone.
        descriptor: Where to write; kept open by whoever opened it.

    Raises:
        OutputError: There is no standard output.
    """

    name = "-"
    queue_frames = 2
    keeps_newest = True

    def __init__(self, options: ResultSinkOptions, descriptor: int = STDOUT) -> None:
        self._options = options
        if descriptor == STDOUT and sys.__stdout__ is None:
            # its number may be that of any file by now
            raise OutputError("standard output is closed; give it a program or a file, or name another output")
        # a copy: whoever closes or flushes the other one is not in the way
        self._descriptor: int | None = os.dup(descriptor)
        self._size: tuple[int, int] | None = None

    def write(self, result: Result) -> None:
        """Write one picture; waits for the reader.

        Raises:
            OutputError: The size changed, which this format cannot say; or the disk is full.
        """
        pixels = enlarged(result, self._options.scale)
        size = (pixels.shape[0], pixels.shape[1])
        try:
            if self._size is None:
                self._size = size
                self._send(self._head(size))
            if size != self._size:
                raise OutputError(
                    f"frame {result.frame.seq} is {size[0]}x{size[1]} and standard output was begun with "
                    f"{self._size[0]}x{self._size[1]}; write files or a folder of pictures instead"
                )
            self._send(self._picture(pixels))
        except BrokenPipeError:
            self.close()
            self._options.on_reader_gone()
        except OSError as error:
            raise OutputError(f"standard output cannot be written ({error.strerror})") from error

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def give_up(self) -> None:
        self.close()

    def _head(self, size: tuple[int, int]) -> bytes:
        del size
        return b""

    def _picture(self, pixels: Pixels) -> bytes | memoryview:
        return np.ascontiguousarray(pixels).data.cast("B")

    def _send(self, data: bytes | memoryview) -> None:
        left = memoryview(data)
        while left and self._descriptor is not None:
            left = left[os.write(self._descriptor, left) :]


class Y4mPipe(RawPipe):
    """Writes YUV4MPEG2, which carries size and frame rate and most video programs read.

    Even sizes are 4:2:0, odd ones 4:4:4; limited range. The format cannot name its colour matrix:
    it is BT.709 from 720 lines on and BT.601 below, as readers assume.
    """

    def __init__(self, options: ResultSinkOptions, descriptor: int = STDOUT) -> None:
        super().__init__(options, descriptor)
        self._converter = ColorConverter()

    def _head(self, size: tuple[int, int]) -> bytes:
        height, width = size
        rate = self._options.frame_rate or DEFAULT_FRAME_RATE
        chroma = "444" if height % 2 or width % 2 else "420mpeg2"
        text = (
            f"YUV4MPEG2 W{width} H{height} F{rate.numerator}:{rate.denominator} Ip A1:1 C{chroma} XCOLORRANGE=LIMITED"
        )
        return f"{text}\n".encode()

    def _picture(self, pixels: Pixels) -> bytes:
        height, width = pixels.shape[:2]
        matrix = BT709 if height >= HD_HEIGHT_PX else BT601
        pixel_format = "yuv444p" if height % 2 or width % 2 else "yuv420p"
        frame = self._converter.frame_from_rgb(pixels, ColorSpec(matrix, False, matrix, matrix), pixel_format)
        planes: list[bytes] = [b"FRAME\n"]
        for plane in frame.planes:
            rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
            planes.append(rows[:, : plane.width].tobytes())
        return b"".join(planes)


def open_y4m_pipe(_rest: str, options: ResultSinkOptions) -> Y4mPipe:
    """Open standard output for Y4M."""
    return Y4mPipe(options)


def open_raw_pipe(_rest: str, options: ResultSinkOptions) -> RawPipe:
    """Open standard output for plain RGB."""
    return RawPipe(options)
