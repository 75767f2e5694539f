"""JPEG pictures for the view: made once per frame and size, and only when somebody watches."""

from __future__ import annotations

import asyncio
import json
import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ..core.optional import require
from .frame import Pixels
from .view_feed import ViewFeed, ViewUpdate

#: by how much a viewer may ask pictures to be reduced; a short list bounds the work of all viewers
REDUCTIONS = (1, 2, 4)


@dataclass(frozen=True, slots=True)
class ViewPicture:
    """A frame as it is sent.

    Attributes:
        version: Of the stream, which frame this is.
        update: The frame.
        untouched: JPEG.
        restored: JPEG; None where the untouched picture went out.
        message: Both for the page: length of a JSON head (big-endian, four bytes), head, JPEGs.
    """

    version: int
    update: ViewUpdate
    untouched: bytes
    restored: bytes | None
    message: bytes

    @property
    def shown(self) -> bytes:
        """JPEG of what went out."""
        return self.restored or self.untouched


class PictureMaker:
    """Gives the newest picture of a stream; viewers who ask at the same time share the work.

    For one event loop; the work is done in two threads beside it, one for each picture of a frame.

    Args:
        feed: Where frames are.
        quality: Of the JPEGs.
        width_max: Wider pictures are made smaller, pixels.
    """

    def __init__(self, feed: ViewFeed, quality: int, width_max: int) -> None:
        self._feed, self._quality, self._width_max = feed, quality, width_max
        self._executor = ThreadPoolExecutor(2, thread_name_prefix="view-jpeg")
        self._made: dict[tuple[str, int], ViewPicture] = {}
        self._at_work: dict[tuple[str, int], asyncio.Future[ViewPicture | None]] = {}
        self.encoded = 0

    async def newest(self, stream: str, reduction: int) -> ViewPicture | None:
        """Make the newest picture, or give the one that is made or being made; None without a frame.

        While one is being made a newer frame may come: the next call gives that one.
        """
        key = (stream, reduction)
        if key in self._at_work:
            return await asyncio.shield(self._at_work[key])
        made = self._made.get(key)
        if made is not None and made.version == self._feed.version(stream):
            return made
        work = asyncio.ensure_future(self._make(stream, reduction))
        self._at_work[key] = work
        work.add_done_callback(lambda _done: self._at_work.pop(key, None))
        picture = await asyncio.shield(work)
        if picture is not None:
            self._made[key] = picture
        return picture

    def close(self) -> None:
        """End the threads and let go of the pictures."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._made.clear()

    async def _make(self, stream: str, reduction: int) -> ViewPicture | None:
        newest = self._feed.latest(stream)
        if newest is None or newest[1].untouched.size == 0:
            return None
        version, update = newest
        pictures = [pixels for pixels in (update.untouched, update.restored) if pixels is not None]
        loop = asyncio.get_running_loop()
        jpegs = [loop.run_in_executor(self._executor, self._jpeg, pixels, reduction) for pixels in pictures]
        untouched, *others = await asyncio.gather(*jpegs)
        restored = others[0] if others else None
        self.encoded += 1
        return ViewPicture(version, update, untouched, restored, _message(version, update, untouched, restored))

    def _jpeg(self, pixels: Pixels, reduction: int) -> bytes:
        cv2: Any = require("cv2", purpose="show pictures in a browser")
        width = max(1, min(pixels.shape[1] // reduction, self._width_max))
        if width < pixels.shape[1]:
            height = max(1, round(pixels.shape[0] * width / pixels.shape[1]))
            pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
        bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, self._quality])
        data: bytes = jpeg.tobytes()
        return data


def _message(version: int, update: ViewUpdate, untouched: bytes, restored: bytes | None) -> bytes:
    head = {
        "stream": update.stream,
        "version": version,
        "seq": update.seq,
        "state": update.state,
        "reason": update.reason,
        "size": update.untouched.shape[:2],
        "restored_size": None if update.restored is None else update.restored.shape[:2],
        "lengths": [len(untouched), len(restored or b"")],
    }
    text = json.dumps(head).encode()
    return b"".join([struct.pack(">I", len(text)), text, untouched, restored or b""])
