"""The view's web server, in a thread of its own: page, pictures, figures."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from importlib import resources
from typing import TYPE_CHECKING, Any

from ..core.errors import UsageError
from ..core.optional import require
from .view_feed import ViewFeed
from .view_guard import ViewGuard, security_headers
from .view_metrics import CONTENT_TYPE, health, prometheus_text
from .view_pictures import PictureMaker
from .view_viewers import GOODBYE_S, Viewers

if TYPE_CHECKING:
    from aiohttp import web

    from .view_sink import ViewConfig

logger = logging.getLogger(__name__)

#: path -> file of the page and its type
PAGE = {
    "/": ("index.html", "text/html"),
    "/view.css": ("view.css", "text/css"),
    "/noscript.css": ("noscript.css", "text/css"),
    "/view.js": ("view.js", "text/javascript"),
    "/chart.js": ("chart.js", "text/javascript"),
}

_START_TIMEOUT_S = _STOP_TIMEOUT_S = 5.0


class ViewServer:
    """Serves what a feed holds.

    Args:
        feed: What to show.
        config: Where and how.

    Raises:
        MissingExtraError: aiohttp or OpenCV is not installed.
    """

    def __init__(self, feed: ViewFeed, config: ViewConfig) -> None:
        self._web: Any = require("aiohttp.web", purpose="show the view in a browser")
        require("cv2", purpose="show pictures in a browser")
        self._feed, self._config = feed, config
        self._page = _read_page()
        self._guard = ViewGuard((*config.names, config.host), config.token)
        self._thread: threading.Thread | None = None
        self._started = threading.Event()
        self._error: BaseException | None = None
        self._wake_is_due = False
        self._port = config.port

    @property
    def url(self) -> str:
        """What to open in a browser."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self._config.host, self._config.host)
        host = f"[{host}]" if ":" in host else host
        token = f"?token={self._config.token}" if self._config.token else ""
        return f"http://{host}:{self._port}/{token}"

    @property
    def viewers(self) -> int:
        """Browsers watching now."""
        return len(self._viewers) if self._started.is_set() and self._error is None else 0

    @property
    def _cookie(self) -> str:
        """Browsers keep cookies by the machine's name, whatever the port: the port goes into their name."""
        return f"deblurrt_view_{self._port}"

    def start(self) -> None:
        """Begin to serve.

        Raises:
            UsageError: The port is taken, or the address is not this machine's.
        """
        self._thread = threading.Thread(target=self._run, name="view", daemon=True)
        self._thread.start()
        self._started.wait(_START_TIMEOUT_S)
        if isinstance(self._error, OSError):
            reason = self._error.strerror or str(self._error)
            raise UsageError(
                f"the view cannot be served at {self._config.host} port {self._config.port} ({reason}); "
                "choose another: --view PORT, --view-host ADDRESS"
            ) from self._error
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """End within seconds, whatever browsers do; stopping twice is fine."""
        thread, self._thread = self._thread, None
        if thread is None or self._error is not None:
            return
        self._feed.watch(None)
        self._loop.call_soon_threadsafe(self._stopping.set)
        thread.join(_STOP_TIMEOUT_S)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # raised by start()
            self._error = error
            logger.debug("the view ended", exc_info=True)
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        self._pictures = PictureMaker(self._feed, self._config.quality, self._config.width_max)
        self._viewers = Viewers(self._feed, self._pictures, self._config.viewers_max)
        runner = self._web.AppRunner(self._application(), access_log=None, shutdown_timeout=2 * GOODBYE_S)
        await runner.setup()
        try:
            await self._web.TCPSite(runner, self._config.host or None, self._config.port).start()
            self._port = runner.addresses[0][1]
            self._feed.watch(self._on_change)
            self._started.set()
            await self._stopping.wait()
        finally:
            self._viewers.close()
            await runner.cleanup()
            self._pictures.close()

    def _on_change(self) -> None:
        """Wake the viewers, from any thread: one call on its way is enough for all changes."""
        if self._wake_is_due or not self._viewers:
            return
        self._wake_is_due = True
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:  # the loop has just ended
            return

    def _wake(self) -> None:
        self._wake_is_due = False
        self._viewers.wake()

    def _application(self) -> web.Application:
        application: web.Application = self._web.Application(middlewares=[self._web.middleware(partial(self._check))])
        for path in PAGE:
            application.router.add_get(path, self._send_page)
        application.router.add_get("/ws", self._viewers.serve_socket)
        application.router.add_get("/mjpeg", self._viewers.serve_mjpeg)
        application.router.add_get("/metrics", self._send_metrics)
        application.router.add_get("/healthz", self._send_health)
        application.on_response_prepare.append(_add_security_headers)
        return application

    async def _check(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Refuse strangers; move a right token from the address into a cookie."""
        shown = request.query.get("token")
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        tokens = [token for token in (request.cookies.get(self._cookie), shown, bearer) if token]
        refusal = self._guard.refusal(request.path, request.headers, tokens)
        if refusal is not None:
            answer: web.StreamResponse = self._web.Response(status=403, text=f"{refusal}\n")
            return answer
        if request.path == "/" and shown:
            answer = self._web.Response(status=303, headers={"Location": "/"})
            answer.set_cookie(self._cookie, shown, httponly=True, samesite="Strict", max_age=30 * 86400)
            return answer
        return await handler(request)

    async def _send_page(self, request: web.Request) -> web.Response:
        text, kind = self._page[request.path]
        answer: web.Response = self._web.Response(text=text, content_type=kind, charset="utf-8")
        return answer

    async def _send_metrics(self, _request: web.Request) -> web.Response:
        counters = {
            "view_viewers": len(self._viewers),
            "view_encoded_total": self._pictures.encoded,
            "view_sent_total": self._viewers.sent,
        }
        text = prometheus_text(self._feed, counters)
        answer: web.Response = self._web.Response(text=text, headers={"Content-Type": CONTENT_TYPE})
        return answer

    async def _send_health(self, _request: web.Request) -> web.Response:
        word = health(self._feed, self._config.stale_after_s)
        answer: web.Response = self._web.Response(status=200 if word == "ok" else 503, text=f"{word}\n")
        return answer


def _read_page() -> dict[str, tuple[str, str]]:
    """Text and type of each file of the page, by path."""
    folder = resources.files(__package__) / "view"
    return {path: ((folder / name).read_text("utf-8"), kind) for path, (name, kind) in PAGE.items()}


async def _add_security_headers(request: web.Request, answer: web.StreamResponse) -> None:
    answer.headers.update(security_headers(request.headers.get("Host", "") if answer.status != 403 else ""))
