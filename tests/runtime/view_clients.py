"""A view on a free port and browsers without a screen, for the tests of the view."""

from __future__ import annotations

import asyncio
import json
import struct
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import numpy as np

from deblurrt.runtime.view_sink import ViewConfig, ViewSink, ViewUpdate

#: far more than any answer takes here, so that only a hang fails
PATIENCE_S = 20.0


def update(
    seq: int, *, stream: str = "camera", state: str = "deblurred", size: tuple[int, int] = (24, 32)
) -> ViewUpdate:
    """A frame whose brightness tells its number."""
    untouched = np.full((*size, 3), seq % 256, np.uint8)
    restored = 255 - untouched if state == "deblurred" else None
    return ViewUpdate(stream, seq, untouched, restored, state, "", 12.0, 33.0, time.monotonic_ns())


@dataclass(frozen=True)
class Turn:
    """What a browser got at once: counters, and the head and bytes of a picture where there was one."""

    counters: dict[str, Any]
    head: dict[str, Any] | None
    jpegs: tuple[bytes, ...]


class Browser:
    """Speaks the page's side of the WebSocket, and gives credit only when told to."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def turn(self) -> Turn:
        counters = json.loads(await self.socket.receive_str(timeout=PATIENCE_S))
        if not counters["picture"]:
            return Turn(counters, None, ())
        message = await self.socket.receive_bytes(timeout=PATIENCE_S)
        (length,) = struct.unpack(">I", message[:4])
        head = json.loads(message[4 : 4 + length])
        untouched, restored = head["lengths"]
        body = message[4 + length :]
        assert len(body) == untouched + restored
        return Turn(counters, head, (body[:untouched], body[untouched:]))

    async def give_credit(self, count: int = 1) -> None:
        await self.socket.send_json({"credit": count})


@asynccontextmanager
async def browser(view: ViewSink, headers: Mapping[str, str] | None = None) -> AsyncIterator[Browser]:
    """Open the WebSocket of a view."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(view.url.split("?")[0] + "ws", headers=headers, max_msg_size=0) as socket,
    ):
        yield Browser(socket)


def get(url: str, headers: Mapping[str, str] | None = None) -> tuple[int, str, Mapping[str, str]]:
    """Ask for a page without following where it leads: status, text, headers."""

    async def ask() -> tuple[int, str, Mapping[str, str]]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(url, headers=headers, allow_redirects=False) as answer,
        ):
            return answer.status, await answer.text(), dict(answer.headers)

    return asyncio.run(ask())


async def until(is_true: Callable[[], bool]) -> None:
    """Wait for something another thread does."""
    end_s = time.monotonic() + PATIENCE_S
    while not is_true():
        assert time.monotonic() < end_s, "it did not happen"
        await asyncio.sleep(0.005)


def local_view(**options: Any) -> ViewSink:
    """A view on a free port of the loopback."""
    return ViewSink(ViewConfig(port=0, **options))
