"""The browser view as the pipeline sees it: hand over frames and status, never wait."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .terminal import Result, Terminal
from .view_feed import ViewFeed, ViewUpdate

__all__ = ["ViewConfig", "ViewSink", "ViewUpdate", "update_of"]


@dataclass(frozen=True, slots=True)
class ViewConfig:
    """Where and how the view is served.

    Attributes:
        port: TCP port; 0 takes a free one.
        host: Address or name to listen at; anything but this machine's loopback needs ``token``.
        token: What a browser must show; None makes one where it is needed.
        names: Further names the machine is called by in browsers; addresses and its own name are known.
        quality: Of the JPEG pictures, 1 to 100.
        width_max: Wider pictures are made smaller, pixels.
        viewers_max: Browsers at a time; the next one is refused.
        stale_after_s: A stream without a frame for so long is not healthy.
    """

    port: int = 8080
    host: str = "127.0.0.1"
    token: str | None = None
    names: tuple[str, ...] = ()
    quality: int = 80
    width_max: int = 1920
    viewers_max: int = 64
    stale_after_s: float = 5.0

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the view."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


class ViewSink:
    """Serves the view from a thread of its own until closed.

    Example:
        >>> with ViewSink(ViewConfig(port=8080)) as view:
        ...     print(view.url)
        ...     view.write(ViewUpdate("camera", 0, blurred, sharp, "deblurred", "", 12.5, 33.3, captured_ns))

    Raises:
        MissingExtraError: aiohttp or OpenCV is not installed.
        UsageError: The port is taken, or the address is not this machine's.
    """

    def __init__(self, config: ViewConfig | None = None) -> None:
        from .view_server import ViewServer

        config = config or ViewConfig()
        if not config.is_loopback and config.token is None:
            config = replace(config, token=secrets.token_urlsafe(16))
        self._feed = ViewFeed()
        self._server = ViewServer(self._feed, config)
        self._server.start()

    @property
    def url(self) -> str:
        """What to open in a browser, with the token where one is needed: for the user, not for logs."""
        return self._server.url

    @property
    def viewers(self) -> int:
        """Browsers watching now."""
        return self._server.viewers

    def write(self, update: ViewUpdate) -> None:
        """Show a frame; replaces the one before, whether anybody saw it or not. Never waits."""
        self._feed.put(update)

    def status(self, status: Mapping[str, Any]) -> None:
        """Show counters and health; replaces the status before. About once a second is enough.

        Args:
            status: Plain values, all optional, without credentials: ``model``, ``backend``, ``streams`` (each
                with ``stream``, ``health``, ``reason``, ``fps``, ``reconnects``, ``captured``, ``states``),
                ``sinks`` (name -> counters) and ``device`` (fact -> value). What else is in it is not shown.
        """
        self._feed.put_status(status)

    def close(self) -> None:
        """End the view and free the port; closing twice is fine."""
        self._server.stop()
        self._feed.forget_pictures()

    def __enter__(self) -> ViewSink:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def update_of(result: Result) -> ViewUpdate:
    """What the view shows of a frame that has ended."""
    frame, deadline_ns = result.frame, result.deadline_ns
    return ViewUpdate(
        stream=frame.stream,
        seq=frame.seq,
        untouched=frame.pixels,
        restored=result.restored if result.state is Terminal.DEBLURRED else None,
        state=result.state.value,
        reason=result.reason,
        latency_ms=result.total_ms,
        deadline_ms=None if deadline_ns is None else (deadline_ns - frame.t_capture_ns) / 1e6,
        t_capture_ns=frame.t_capture_ns,
    )
