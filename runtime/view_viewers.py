"""Browsers that watch: one WebSocket with credits, or one endless MJPEG answer, each."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..core.optional import require
from .view_feed import ViewFeed
from .view_pictures import REDUCTIONS, PictureMaker

if TYPE_CHECKING:
    from aiohttp import web

#: turns on their way to a browser that has not yet drawn them; two keep the line busy, more only age
CREDITS = 2
#: a browser that takes nothing for so long is gone
SEND_TIMEOUT_S = 10.0
#: how long a browser may take to answer a goodbye
GOODBYE_S = 1.0
#: how often a WebSocket is asked whether it lives
HEARTBEAT_S = 10.0
#: largest message a browser may send; ours are below 100 bytes
MESSAGE_BYTES_MAX = 1024
#: browsers draw a picture of an MJPEG answer when the next one begins: repeat the last one of a still source
MJPEG_REPEAT_S = 0.5
MJPEG_BOUNDARY = "deblurrt-frame"
#: bytes on their way to one browser; more would be old pictures
SEND_BUFFER_BYTES = 256 * 1024


@dataclass(eq=False)
class Viewer:
    """One browser.

    Attributes:
        stream: What it watches; None for the first stream there is.
        reduction: By how much its pictures are reduced.
        credits: Turns it may still be sent.
        shown: Newest frame it was sent as a picture.
        told: Newest frame whose outcome it was told.
        status_version: Newest status it was told of.
        changed: Set when there may be something to send.
    """

    stream: str | None = None
    reduction: int = 1
    credits: int = CREDITS
    shown: int = 0
    told: int = 0
    status_version: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def obey(self, text: str) -> None:
        """Take a message of the browser: ``{"credit": n}``, ``{"watch": name}``, ``{"reduction": n}``.

        Raises:
            ValueError: It is none.
        """
        message = json.loads(text)
        if not isinstance(message, dict):
            raise ValueError("not an object")
        if "credit" in message:
            self.credits = min(CREDITS, self.credits + max(0, int(message["credit"])))
        if "watch" in message:
            self.stream, self.shown, self.told = str(message["watch"]), 0, 0
        if "reduction" in message:
            if message["reduction"] not in REDUCTIONS:
                raise ValueError("no such reduction")
            self.reduction, self.shown = message["reduction"], 0
        self.changed.set()


class Viewers:
    """Sends every browser the newest there is, at the pace of that browser.

    For one event loop.

    Args:
        feed: What there is to see.
        pictures: Makes it JPEG.
        viewers_max: Browsers at a time.
    """

    def __init__(self, feed: ViewFeed, pictures: PictureMaker, viewers_max: int) -> None:
        self._feed, self._pictures, self._max = feed, pictures, viewers_max
        self._watching: set[Viewer] = set()
        self._web: Any = require("aiohttp.web", purpose="show the view in a browser")
        self._is_closing = False
        self.sent = 0

    def __len__(self) -> int:
        return len(self._watching)

    def wake(self) -> None:
        """Tell all viewers that something changed."""
        for viewer in self._watching:
            viewer.changed.set()

    def close(self) -> None:
        """Let every viewer go; each says goodbye to its browser."""
        self._is_closing = True
        self.wake()

    async def serve_socket(self, request: web.Request) -> web.StreamResponse:
        """Answer ``/ws``: per turn a text of counters and, if there is a new one, a binary picture."""
        if len(self._watching) >= self._max:
            raise self._web.HTTPServiceUnavailable(text=f"{self._max} viewers are watching already")
        socket = self._web.WebSocketResponse(
            timeout=GOODBYE_S, heartbeat=HEARTBEAT_S, max_msg_size=MESSAGE_BYTES_MAX, compress=False
        )
        await socket.prepare(request)
        viewer = Viewer()
        viewer.changed.set()
        self._watching.add(viewer)
        receiving = asyncio.create_task(self._receive(socket, viewer))
        try:
            await self._send_turns(socket, viewer)
            await socket.close(code=1001, message=b"the run has ended")
        except (ConnectionError, asyncio.TimeoutError):
            _abort(request)
        finally:
            receiving.cancel()
            self._watching.discard(viewer)
        answer: web.StreamResponse = socket
        return answer

    async def serve_mjpeg(self, request: web.Request) -> web.StreamResponse:
        """Answer ``/mjpeg``: what goes out, or with ``?show=untouched`` what came in."""
        if len(self._watching) >= self._max:
            raise self._web.HTTPServiceUnavailable(text=f"{self._max} viewers are watching already")
        answer = self._web.StreamResponse(
            headers={"Content-Type": f"multipart/x-mixed-replace; boundary={MJPEG_BOUNDARY}"}
        )
        await answer.prepare(request)
        if request.transport is not None:
            request.transport.set_write_buffer_limits(high=SEND_BUFFER_BYTES)
        viewer = Viewer(stream=request.query.get("stream"))
        self._watching.add(viewer)
        try:
            await self._send_parts(answer, viewer, is_untouched=request.query.get("show") == "untouched")
        except (ConnectionError, asyncio.TimeoutError):
            _abort(request)
        finally:
            self._watching.discard(viewer)
        done: web.StreamResponse = answer
        return done

    async def _receive(self, socket: web.WebSocketResponse, viewer: Viewer) -> None:
        """Take messages until the browser leaves or says something it should not."""
        kind = require("aiohttp", purpose="show the view in a browser").WSMsgType.TEXT
        async for message in socket:
            try:
                if message.type is not kind:
                    raise ValueError("not text")
                viewer.obey(message.data)
            except (ValueError, TypeError):
                await socket.close(code=1008, message=b"message not understood")
        viewer.changed.set()

    async def _send_turns(self, socket: web.WebSocketResponse, viewer: Viewer) -> None:
        while not socket.closed and not self._is_closing:
            await viewer.changed.wait()
            viewer.changed.clear()
            if viewer.credits and not socket.closed and self._has_news(viewer):
                await asyncio.wait_for(self._send_turn(socket, viewer), SEND_TIMEOUT_S)

    def _stream_of(self, viewer: Viewer) -> str | None:
        streams = self._feed.streams
        return viewer.stream if viewer.stream in streams else next(iter(streams), None)

    def _has_news(self, viewer: Viewer) -> bool:
        stream = self._stream_of(viewer)
        has_frame = stream is not None and self._feed.version(stream) > viewer.shown
        return has_frame or self._feed.status[0] > viewer.status_version

    async def _send_turn(self, socket: web.WebSocketResponse, viewer: Viewer) -> None:
        """Send what is new; whatever comes meanwhile is for the next turn."""
        viewer.credits -= 1
        stream = self._stream_of(viewer)
        picture = None
        if stream is not None and (version := self._feed.version(stream)) > viewer.shown:
            picture = await self._pictures.newest(stream, viewer.reduction)
            viewer.shown = version if picture is None else picture.version
        await socket.send_str(json.dumps(self._turn(viewer, stream, picture is not None)))
        if picture is not None:
            await socket.send_bytes(picture.message)
        self.sent += 1
        viewer.changed.set()

    def _turn(self, viewer: Viewer, stream: str | None, has_picture: bool) -> dict[str, Any]:
        turn: dict[str, Any] = {"picture": has_picture, "streams": self._feed.streams, "viewers": len(self)}
        if stream is not None:
            outcomes = self._feed.outcomes_since(stream, viewer.told)
            totals = self._feed.totals()[stream]
            viewer.told = outcomes[-1][0] if outcomes else viewer.told
            turn |= {"stream": stream, "outcomes": outcomes, "states": totals.states}
            turn["age_ms"] = round((time.monotonic_ns() - totals.t_capture_ns) / 1e6, 1)
        version, status = self._feed.status
        if version > viewer.status_version:
            turn["status"], viewer.status_version = status, version
        return turn

    async def _send_parts(self, answer: web.StreamResponse, viewer: Viewer, *, is_untouched: bool) -> None:
        while not self._is_closing:
            stream = self._stream_of(viewer)
            picture = None if stream is None else await self._pictures.newest(stream, viewer.reduction)
            if picture is not None:
                jpeg = picture.untouched if is_untouched else picture.shown
                head = f"--{MJPEG_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                await asyncio.wait_for(answer.write(head.encode() + jpeg + b"\r\n"), SEND_TIMEOUT_S)
                self.sent += 1
                if stream is not None and self._feed.version(stream) > picture.version:
                    continue
            try:
                await asyncio.wait_for(viewer.changed.wait(), MJPEG_REPEAT_S)
            except asyncio.TimeoutError:
                continue
            finally:
                viewer.changed.clear()


def _abort(request: web.Request) -> None:
    """End the connection of a browser that takes nothing, without waiting for it."""
    if request.transport is not None:
        request.transport.abort()
