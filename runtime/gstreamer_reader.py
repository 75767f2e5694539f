"""Frames of a stream or camera through GStreamer, inside a capture process."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.optional import require
from .capture_channel import CaptureSender, Ended, FrameFormat
from .capture_request import CaptureRequest
from .color import ColorConverter, ColorSpec, assumed_matrix
from .decoded_frames import DecodedFrames, decode
from .gst_bindings import GstError, Pipeline, Sample, color_numbers, start_gstreamer

if TYPE_CHECKING:
    from av import VideoFrame

#: how often the bus is looked at while no picture comes
_PULL_NS = 50_000_000

#: GStreamer's format of whole coded pictures -> FFmpeg's decoder, whose colours and marks of damage are the ones
#: this runtime knows
CODECS = {"video/x-h264": "h264", "video/x-h265": "hevc", "image/jpeg": "mjpeg"}

#: GStreamer's format of plain pictures -> FFmpeg's
FORMATS = {"I420": "yuv420p", "NV12": "nv12", "GRAY8": "gray", "RGB": "rgb24", "YUY2": "yuyv422"}

_TIME_BASE = Fraction(1, 1_000_000_000)

#: codes of GST_RESOURCE_ERROR, GST_STREAM_ERROR, GST_CORE_ERROR and GST_PARSE_ERROR that say what a retry cannot change
_NOT_FOUND, _NOT_AUTHORIZED = ("resource", 3), ("resource", 15)
#: "internal data stream error": what the camera sends is not what the pipeline takes, or a defect
_NOT_LINKED = ("stream", 1)
_NO_ELEMENT = ("parse", 1)
_UNSUPPORTED = {("stream", 4), ("stream", 5), ("stream", 6), ("core", 12)}


def read_with_gstreamer(request: CaptureRequest, sender: CaptureSender) -> Ended:
    """Send every frame until the stream ends or nobody listens, and say why it ended."""
    stream = _GstStream(start_gstreamer(), request, sender)
    ended = Ended("unsupported", "no pipeline is known for it")
    for description in request.target.splitlines():
        ended = _read(description, stream)
        if stream.has_begun or ended.cause != "unsupported":
            break
    return ended


def _read(description: str, stream: _GstStream) -> Ended:
    pipeline = None
    try:
        pipeline = Pipeline(description, stream.request.settings)
        while not stream.sender.is_hung_up.is_set():
            sample = pipeline.pull(_PULL_NS)
            if sample is not None:
                stream.send(sample, time.monotonic_ns())
            elif pipeline.is_over():
                break
    except GstError as error:
        is_unlinked = not stream.has_begun and (error.domain, error.code) == _NOT_LINKED
        return Ended("unsupported", f"nothing here reads its coding ({error})") if is_unlinked else _ended(error)
    finally:
        if pipeline is not None:
            pipeline.close()
    return Ended("over", "the stream ended")


def _ended(error: GstError) -> Ended:
    place = error.domain, error.code
    if place == _NOT_AUTHORIZED:
        return Ended("refused", f"user or password is not accepted ({error})")
    if place == _NOT_FOUND:
        return Ended("missing", f"there is no such stream ({error})")
    if place == _NO_ELEMENT:
        reason = f"this GStreamer has {error}; install the plugin that has it (CSI cameras: JetPack's)"
        return Ended("unsupported", reason)
    return Ended("unsupported" if place in _UNSUPPORTED else "over", str(error))


@dataclass(frozen=True, slots=True)
class CapsFacts:
    """What a picture's caps say."""

    size: tuple[int, int]
    pixel_format: str
    fps: float | None
    color: ColorSpec


class _GstStream:
    """A pipeline's pictures, coded or plain, on their way to the parent.

    Attributes:
        has_begun: Whether there was one.
    """

    def __init__(self, version: str, request: CaptureRequest, sender: CaptureSender) -> None:
        self._version, self.request, self.sender = version, request, sender
        self.has_begun = False
        self._converter = ColorConverter()
        self._caps = ""
        self._facts: CapsFacts | None = None
        self._is_coded, self._coding = False, ("", "")
        self._decoder: Any = None
        self._decoded: DecodedFrames | None = None

    def send(self, sample: Sample, arrived_ns: int) -> None:
        """Send one picture and give it back."""
        self.has_begun = True
        try:
            if sample.caps != self._caps:
                self._begin(sample.caps)
            if self._is_coded:
                self._send_coded(sample, arrived_ns)
            elif self._facts is not None:
                self._send_plain(sample, arrived_ns, self._facts)
        finally:
            sample.close()

    def _begin(self, caps: str) -> None:
        self._caps = caps
        kind, values = caps.partition(",")[0], values_of_caps(caps)
        if kind == "video/x-raw":
            self._facts = facts_of_caps(caps, self.request.untagged_matrix)
            return
        coding = kind, values.get("codec_data", "")
        if coding != self._coding:
            self._coding, self._decoder = coding, _decoder(*coding)
        self._is_coded = True

    def _send_coded(self, sample: Sample, arrived_ns: int) -> None:
        packet: Any = require("av", purpose="read live video").Packet(bytes(sample.data))
        packet.pts = packet.dts = sample.pts_ns
        packet.time_base = _TIME_BASE
        for frame in decode(self._decoder, packet, self.sender):
            if self._decoded is None:
                self._decoded = self._first_decoded()
            self._decoded.send(frame, arrived_ns)

    def _first_decoded(self) -> DecodedFrames:
        """Set up what is known with the first frame only: the rate comes with its parameters."""
        rate = self._decoder.framerate
        return DecodedFrames(
            self.sender,
            self.request,
            time_base=_TIME_BASE,
            fps=float(rate) if rate else None,
            reader=self._version,
        )

    def _send_plain(self, sample: Sample, arrived_ns: int, facts: CapsFacts) -> None:
        frame = frame_of_bytes(np.frombuffer(sample.data, np.uint8), facts)
        pixels = self._converter.rgb_from_frame(frame, facts.color)
        described = FrameFormat(facts.size, facts.color, _TIME_BASE, facts.pixel_format, facts.fps, self._version)
        self.sender.put(pixels, described, arrived_ns, sample.pts_ns)


def _decoder(kind: str, codec_data: str) -> Any:
    decoder: Any = require("av", purpose="read live video").CodecContext.create(CODECS[kind], "r")
    # One thread: frame threads hold back as many frames as there are threads.
    decoder.thread_count, decoder.options = 1, {"flags": "+low_delay"}
    if codec_data:
        decoder.extradata = bytes.fromhex(codec_data)
    return decoder


def values_of_caps(caps: str) -> dict[str, str]:
    """Read the fields of ``video/x-raw, format=(string)I420, …``."""
    return dict(re.findall(r"([\w-]+)=\(\w+\)([^,;]+)", caps))


def _rate(values: dict[str, str]) -> float | None:
    numerator, _, denominator = values.get("framerate", "0/1").partition("/")
    return int(numerator) / int(denominator or 1) or None


def facts_of_caps(caps: str, untagged_matrix: int | None = None) -> CapsFacts:
    """Read size, format, rate and colours of plain pictures."""
    values = values_of_caps(caps)
    height, width = int(values["height"]), int(values["width"])
    return CapsFacts((height, width), values["format"], _rate(values), _color(values, height, untagged_matrix))


def _color(values: dict[str, str], height: int, untagged_matrix: int | None) -> ColorSpec:
    matrix, primaries, transfer, is_full = color_numbers(values.get("colorimetry", ""))
    if values["format"] in ("RGB", "GRAY8"):
        return ColorSpec(0, is_full or values["format"] == "RGB", primaries, transfer)
    is_known = matrix not in (0, 2)
    assumed = untagged_matrix or assumed_matrix(height)
    is_assumed = not is_known and untagged_matrix is None
    return ColorSpec(matrix if is_known else assumed, is_full, primaries, transfer, is_assumed=is_assumed)


def frame_of_bytes(data: NDArray[np.uint8], facts: CapsFacts) -> VideoFrame:
    """Make a frame of FFmpeg's from the bytes of one of GStreamer's, in its default layout."""
    av: Any = require("av", purpose="convert colours")
    height, width = facts.size
    frame: VideoFrame = av.VideoFrame(width, height, FORMATS[facts.pixel_format])
    offset = 0
    for plane, (stride, rows) in zip(frame.planes, _layout(facts), strict=True):
        lines = data[offset : offset + stride * rows].reshape(rows, stride)
        offset += stride * rows
        target = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        used = min(stride, plane.line_size)
        target[: plane.height, :used] = lines[: plane.height, :used]
    return frame


def _layout(facts: CapsFacts) -> list[tuple[int, int]]:
    """Stride and rows of every plane (``gst_video_info_set_format``)."""
    height, width = facts.size
    even_height, stride = height + height % 2, _round_up(width, 4)
    half = _round_up((width + 1) // 2, 4)
    layouts = {
        "I420": [(stride, even_height), (half, even_height // 2), (half, even_height // 2)],
        "NV12": [(stride, even_height), (stride, even_height // 2)],
        "GRAY8": [(stride, height)],
        "RGB": [(_round_up(3 * width, 4), height)],
        "YUY2": [(_round_up(2 * width, 4), height)],
    }
    return layouts[facts.pixel_format]


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
