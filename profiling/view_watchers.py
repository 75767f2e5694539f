"""Browsers without a screen that watch a view, in a process of their own.

``python -m deblurrt.profiling.view_watchers URL --reading 50 --dead 3``: the reading ones take every
picture and ask for the next, the dead ones never take a byte. Prints a line when all are there, ends
when its standard input does, and prints then how many pictures were read.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from ..core.errors import MachineError
from ..core.optional import require

#: how long all of them may take to connect
CONNECT_S = 60.0
#: how long they may take to leave
LEAVE_S = 10.0
READY = "watching"


class Watchers:
    """Watchers of a view as a process; leaving the context ends it.

    Args:
        url: Of the view.
        reading: Watchers that take every picture.
        dead: Watchers that take nothing.

    Attributes:
        pictures: What the reading ones got, together; known afterwards.
    """

    def __init__(self, url: str, reading: int = 1, dead: int = 0) -> None:
        self.pictures = 0
        command = [sys.executable, "-m", __spec__.name, url, "--reading", str(reading), "--dead", str(dead)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Watchers:
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != READY:
            self._process.kill()
            self._process.communicate()
            raise MachineError("the watchers of the view did not connect")
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        try:
            said, _ = self._process.communicate("", timeout=LEAVE_S)
            self.pictures = int(said or 0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()


async def watch(url: str, reading: int, dead: int) -> int:
    """Watch until standard input ends; gives the pictures read by all together."""
    counts = [0] * reading
    with ExitStack() as stack:
        for _ in range(dead):
            stack.enter_context(connect_dead(url))
        async with require("aiohttp", purpose="watch the view").ClientSession() as session:
            sockets = [await asyncio.wait_for(_connect(session, url), CONNECT_S) for _ in range(reading)]
            print(READY, flush=True)
            tasks = [asyncio.create_task(_read(one, counts, place)) for place, one in enumerate(sockets)]
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return sum(counts)


def connect_dead(url: str) -> socket.socket:
    """Open a WebSocket and never read from it again."""
    parts = urlsplit(url)
    connection = socket.socket()
    # little room on this side: the view's own is full soon
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(CONNECT_S)
    connection.connect((parts.hostname, parts.port))
    key = base64.b64encode(os.urandom(16)).decode()
    lines = ("GET /ws HTTP/1.1", f"Host: {parts.netloc}", "Upgrade: websocket", "Connection: Upgrade")
    connection.sendall("\r\n".join([*lines, "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}", "", ""]).encode())
    if connection.recv(12) != b"HTTP/1.1 101":
        raise MachineError(f"the view at {parts.netloc} refuses watchers")
    return connection


async def _connect(session: Any, url: str) -> Any:
    return await session.ws_connect(f"{url}ws", max_msg_size=0)


async def _read(viewer: Any, counts: list[int], place: int) -> None:
    text = require("aiohttp", purpose="watch the view").WSMsgType.TEXT
    async for message in viewer:
        if message.type is text and json.loads(message.data)["picture"]:
            continue  # it comes next
        counts[place] += message.type is not text
        await viewer.send_json({"credit": 1})


def main(arguments: Sequence[str] | None = None) -> int:
    """Watch, and print what was read."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("--reading", type=int, default=1)
    parser.add_argument("--dead", type=int, default=0)
    given = parser.parse_args(arguments)
    print(asyncio.run(watch(given.url, given.reading, given.dead)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
