"""Motion JPEG over HTTP, inside a capture process: pictures are found by their own structure.

Boundaries and lengths of cameras are missing or wrong often enough; the end of a JPEG is not, and it is
there a frame earlier than the boundary that follows.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from http.client import HTTPResponse
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import (
    HTTPBasicAuthHandler,
    HTTPDigestAuthHandler,
    HTTPPasswordMgrWithDefaultRealm,
    OpenerDirector,
    build_opener,
)

from ..core.optional import require
from .capture_channel import CaptureSender, Ended
from .capture_request import CaptureRequest
from .decoded_frames import DecodedFrames, decode
from .pyav_reader import read_with_pyav

_CHUNK_BYTES = 65536

#: beyond it a picture is given up as damaged; a 8K one at full quality has less
_MAX_PICTURE_BYTES = 64 << 20

_START = b"\xff\xd8\xff"
_FIRST_SEGMENT, _END_OF_IMAGE, _START_OF_SCAN = 0xC0, 0xD9, 0xDA
_CUT_OFF = -1
#: in coded data, a marker that is no stuffed zero, no restart and no filling
_SCAN_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


def read_over_http(request: CaptureRequest, sender: CaptureSender) -> Ended:
    """Send every frame of a Motion JPEG camera; whatever else the address holds is left to PyAV."""
    try:
        response = _opener(request.target).open(_without_user(request.target))
    except HTTPError as error:
        return _refusal(error.code, error.reason)
    except (URLError, OSError) as error:
        return Ended("over", f"it cannot be opened ({getattr(error, 'reason', error)})")
    with response:
        if response.headers.get_content_maintype() != "multipart":
            response.close()
            return read_with_pyav(request, sender)
        return _send_pictures(response, request, sender)


def _send_pictures(response: HTTPResponse, request: CaptureRequest, sender: CaptureSender) -> Ended:
    av: Any = require("av", purpose="read live video")
    context = av.CodecContext.create("mjpeg", "r")
    context.thread_count = 1
    frames = DecodedFrames(sender, request, time_base=None, fps=None)
    splitter = JpegSplitter()
    while not sender.is_hung_up.is_set():
        try:
            data = response.read1(_CHUNK_BYTES)
        except OSError as error:
            return Ended("over", f"reading stopped ({error.strerror or error})")
        if not data:
            return Ended("over", "the stream ended")
        arrived_ns = time.monotonic_ns()
        for picture in splitter.split(data):
            for frame in decode(context, av.Packet(picture), sender):
                frames.send(frame, arrived_ns)
    return Ended("over", "nobody listens")


class JpegSplitter:
    """Cuts a stream of bytes into the JPEGs in it, whatever stands between them."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        #: where parsing goes on; the picture begins at 0 once ``_is_inside``
        self._place = 0
        self._is_inside = self._is_scan = False

    def split(self, data: bytes) -> Iterator[bytes]:
        """Add ``data`` and yield every picture that is whole now."""
        self._buffer += data
        while (end := self._find_end()) is not None:
            yield bytes(self._buffer[:end])
            self._drop(end)
        if len(self._buffer) > _MAX_PICTURE_BYTES:
            self._drop(len(_START))

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self._place, self._is_inside, self._is_scan = 0, False, False

    def _find_end(self) -> int | None:
        """Give the end of the first picture; None when more bytes are needed."""
        while self._is_inside or self._find_start():
            end = self._parse()
            if end != _CUT_OFF:
                return end
            self._drop(self._place)
        return None

    def _parse(self) -> int | None:
        """Go on through the segments of the picture at 0; its end, None for more bytes, or ``_CUT_OFF``."""
        buffer = self._buffer
        while True:
            if self._is_scan:
                found = _SCAN_MARKER.search(buffer, self._place)
                if found is None:
                    self._place = max(len(buffer) - 1, self._place)
                    return None
                self._place, self._is_scan = found.start(), False
            if self._place + 2 > len(buffer):
                return None
            first, marker = buffer[self._place : self._place + 2]
            if marker == _END_OF_IMAGE:
                return self._place + 2
            if first != 0xFF or not _FIRST_SEGMENT <= marker < 0xFF or marker == _START[1]:
                # No segment where one must be, or the next picture: this one was cut off.
                return _CUT_OFF
            if self._place + 4 > len(buffer):
                return None
            self._place += 2 + int.from_bytes(buffer[self._place + 2 : self._place + 4], "big")
            self._is_scan = marker == _START_OF_SCAN

    def _find_start(self) -> bool:
        start = self._buffer.find(_START)
        # The last bytes may be the beginning of a start.
        self._drop(start if start >= 0 else max(len(self._buffer) - len(_START) + 1, 0))
        self._is_inside = start >= 0
        self._place = 2
        return self._is_inside


def _opener(target: str) -> OpenerDirector:
    parts = urlsplit(target)
    if parts.username is None:
        return build_opener()
    passwords = HTTPPasswordMgrWithDefaultRealm()
    passwords.add_password(None, _without_user(target), unquote(parts.username), unquote(parts.password or ""))
    return build_opener(HTTPBasicAuthHandler(passwords), HTTPDigestAuthHandler(passwords))


def _without_user(target: str) -> str:
    parts = urlsplit(target)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _refusal(code: int, reason: str) -> Ended:
    if code in (401, 403):
        return Ended("refused", f"user or password is not accepted ({code} {reason})")
    if 400 <= code < 500:
        return Ended("missing", f"there is no such stream ({code} {reason})")
    return Ended("over", f"it cannot be opened ({code} {reason})")
