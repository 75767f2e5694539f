"""A headless Chromium driven over its debugging socket: open a page, run a script, look, listen for errors."""

from __future__ import annotations

import asyncio
import base64
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from ..core.errors import MachineError
from ..core.optional import require

#: names the browser goes by, in order of preference
EXECUTABLES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

_START_TIMEOUT_S = 20.0
_ANSWER_TIMEOUT_S = 20.0
_POLL_S = 0.05

_SWITCHES = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)


def find_browser() -> str | None:
    """Path of an installed Chromium or Chrome; None where there is none."""
    return next(filter(None, map(shutil.which, EXECUTABLES)), None)


class Page:
    """One page of a browser.

    Attributes:
        errors: What the page wrote to its console as an error, exceptions nobody caught, failed loads.
    """

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._next = 0
        self._loaded = asyncio.Event()
        self.errors: list[str] = []
        self._receiving = asyncio.create_task(self._receive())

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the debugging protocol.

        Raises:
            MachineError: The browser refused, or does not answer.
        """
        self._next += 1
        answer = self._answers[self._next] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": self._next, "method": method, "params": parameters})
        try:
            result = await asyncio.wait_for(answer, _ANSWER_TIMEOUT_S)
        except asyncio.TimeoutError as error:
            raise MachineError(f"the browser did not answer {method} in {_ANSWER_TIMEOUT_S:.0f} s") from error
        if "error" in result:
            raise MachineError(f"the browser refused {method}: {result['error'].get('message')}")
        value: dict[str, Any] = result["result"]
        return value

    async def listen(self) -> None:
        """Begin to collect errors."""
        for domain in ("Page", "Runtime", "Log"):
            await self.call(f"{domain}.enable")

    async def open(self, url: str, *, first: str = "") -> None:
        """Go to ``url`` and wait until it is loaded; the script ``first`` runs before those of the page.

        Raises:
            MachineError: It does not load.
        """
        if first:
            await self.call("Page.addScriptToEvaluateOnNewDocument", source=first)
        self._loaded.clear()
        await self.call("Page.navigate", url=url)
        try:
            await asyncio.wait_for(self._loaded.wait(), _ANSWER_TIMEOUT_S)
        except asyncio.TimeoutError as error:
            raise MachineError(f"the browser did not load the page in {_ANSWER_TIMEOUT_S:.0f} s") from error

    async def evaluate(self, script: str) -> Any:
        """Give the value of a script, awaited where it is a promise.

        Raises:
            MachineError: The script threw.
        """
        result = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise MachineError(f"the page threw {result['exceptionDetails'].get('text')} at {script[:80]}")
        return result["result"].get("value")

    async def wait_for(self, script: str, timeout_s: float) -> None:
        """Wait until a script is true.

        Raises:
            MachineError: It did not become so in time.
        """
        loop = asyncio.get_running_loop()
        end_s = loop.time() + timeout_s
        while not await self.evaluate(script):
            if loop.time() > end_s:
                raise MachineError(f"the page was not ready in {timeout_s:.0f} s: {script[:80]}")
            await asyncio.sleep(_POLL_S)

    async def set_window(self, size: tuple[int, int], *, is_dark: bool = False, is_phone: bool = False) -> None:
        """Set height and width in the page's pixels, the colour scheme, and the kind of device."""
        height, width = size
        scale = 2 if is_phone else 1
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=is_phone
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def screenshot(self, path: Path, **options: Any) -> None:
        """Write what the page looks like, a PNG unless ``options`` say otherwise."""
        result = await self.call("Page.captureScreenshot", **options)
        path.write_bytes(base64.b64decode(result["data"]))

    async def close(self) -> None:
        """Stop listening."""
        self._receiving.cancel()
        await self._socket.close()

    async def _receive(self) -> None:
        async for message in self._socket:
            event = message.json()
            if "id" in event:
                waiting = self._answers.pop(event["id"], None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(event)
                continue
            if event.get("method") == "Page.loadEventFired":
                self._loaded.set()
            self.errors += _errors_of(event.get("method", ""), event.get("params", {}))


class HeadlessBrowser:
    """A browser process with a profile of its own, both gone at the end.

    Args:
        executable: Its path (``find_browser``).
        switches: Further ones of its command line.
    """

    def __init__(self, executable: str, switches: tuple[str, ...] = ()) -> None:
        self._command = (executable, *_SWITCHES, *switches)
        self._profile = tempfile.TemporaryDirectory(prefix="deblurrt-browser-", ignore_cleanup_errors=True)

    async def __aenter__(self) -> HeadlessBrowser:
        none = asyncio.subprocess.DEVNULL
        self._process = await asyncio.create_subprocess_exec(
            *self._command, f"--user-data-dir={self._profile.name}", "about:blank", stdout=none, stderr=none
        )
        self._session = require("aiohttp", purpose="drive a browser").ClientSession()
        try:
            self._port = await asyncio.wait_for(self._find_port(), _START_TIMEOUT_S)
        except (asyncio.TimeoutError, MachineError) as error:
            await self.__aexit__(None, None, None)
            raise MachineError(f"{self._command[0]} does not start headless") from error
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self._session.close()
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        self._profile.cleanup()

    @asynccontextmanager
    async def page(self) -> AsyncIterator[Page]:
        """Open an empty page."""
        address = f"http://127.0.0.1:{self._port}/json/new?about:blank"
        async with self._session.put(address) as answer:
            target = await answer.json()
        socket = await self._session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0)
        page = Page(socket)
        try:
            await page.listen()
            yield page
        finally:
            await page.close()

    async def _find_port(self) -> int:
        place = Path(self._profile.name, "DevToolsActivePort")
        while True:
            if self._process.returncode is not None:
                raise MachineError(f"the browser ended with {self._process.returncode}")
            lines = place.read_text().split() if place.exists() else []
            if len(lines) > 1:
                return int(lines[0])
            await asyncio.sleep(_POLL_S)


def _errors_of(method: str, event: dict[str, Any]) -> list[str]:
    if method == "Runtime.exceptionThrown":
        details = event["exceptionDetails"]
        return [details.get("exception", {}).get("description") or details.get("text", "exception")]
    if method == "Runtime.consoleAPICalled" and event["type"] in ("error", "warning", "assert"):
        return [" ".join(str(part.get("value", part.get("description"))) for part in event["args"])]
    if method == "Log.entryAdded" and event["entry"]["level"] in ("error", "warning"):
        return [f"{event['entry']['text']} {event['entry'].get('url', '')}".strip()]
    return []
