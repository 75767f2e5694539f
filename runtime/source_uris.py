"""Live sources by URI: which one a URI names, with which options."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from ..core.errors import UsageError
from .live_source import LiveSource
from .redaction import redacted
from .source_health import HealthLimits

#: scheme of the URI -> (module, attribute); the attribute is called with the URI and ``LiveOptions``
LIVE_SOURCES: dict[str, tuple[str, str]] = {
    "csi": (".camera_uris", "open_csi"),
    "http": (".camera_uris", "open_http"),
    "https": (".camera_uris", "open_http"),
    "rtsp": (".camera_uris", "open_rtsp"),
    "rtsps": (".camera_uris", "open_rtsp"),
    "synthetic": (".synthetic_source", "open_synthetic"),
    "v4l2": (".camera_uris", "open_v4l2"),
}

_DEVICE = "/dev/video"


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """How live sources are read, whatever their kind.

    Attributes:
        reader: Who reads RTSP: ``gstreamer`` shows a picture when it is whole, ``pyav`` when the next one
            begins; ``auto`` takes GStreamer where it is installed.
        transport: How RTSP carries pictures; UDP loses some where the network does.
        keeps_corrupt: Whether frames the decoder marks as damaged are given out; else they are withheld
            and counted.
        attempts: Connections tried without a frame before giving up; None for ever.
        limits: Stall threshold and waits.
        untagged_matrix: Colour matrix of video that names none (``MATRICES``); None to go by its height.
        reconnects_frozen: Whether a camera that repeats one picture for ever counts as lost; else that is
            only said, for a still scene may look the same.
    """

    reader: Literal["auto", "gstreamer", "pyav"] = "auto"
    transport: Literal["tcp", "udp"] = "tcp"
    keeps_corrupt: bool = False
    attempts: int | None = None
    limits: HealthLimits = field(default_factory=HealthLimits)
    untagged_matrix: int | None = None
    reconnects_frozen: bool = False


def is_live_uri(source: str) -> bool:
    """Whether ``source`` names a camera or stream: a URI, a camera's index, or its device file.

    Example:
        >>> [is_live_uri(name) for name in ("rtsp://cam/live", "0", "/dev/video2", "drive.mp4")]
        [True, True, True, False]
    """
    return "://" in source or source.isdecimal() or source.startswith(_DEVICE)


def open_live_source(uri: str, options: LiveOptions | None = None) -> LiveSource:
    """Open a camera or stream by its URI; what it gives, and whether it is there at all, ``read`` tells.

    ``rtsp://…``, ``http://…`` (Motion JPEG and whatever FFmpeg knows), ``v4l2:///dev/video0`` or ``0``,
    ``csi://0``, ``synthetic://?size=720x1280&fps=30&blur=9&seed=0``.

    Example:
        >>> with closing(open_live_source("rtsp://user:password@camera.lan/live")) as source:
        ...     item = source.read(timeout_s=1.0)

    Raises:
        UsageError: The scheme, or a parameter of it, is not known.
        MachineError: This machine lacks what such a source needs.
    """
    if source_is_device(uri):
        uri = f"v4l2://{_DEVICE}{uri}" if uri.isdecimal() else f"v4l2://{uri}"
    scheme = uri.partition("://")[0].lower()
    if "://" not in uri or scheme not in LIVE_SOURCES:
        known = ", ".join(f"{name}://" for name in sorted(LIVE_SOURCES))
        raise UsageError(f"{redacted(uri)} names no known live source, expected {known}, or a camera's number")
    module, attribute = LIVE_SOURCES[scheme]
    factory = cast(
        "Callable[[str, LiveOptions], LiveSource]", getattr(importlib.import_module(module, __package__), attribute)
    )
    return factory(uri, options or LiveOptions())


def source_is_device(source: str) -> bool:
    """Whether ``source`` is a camera's index or device file rather than a URI."""
    return source.isdecimal() or source.startswith(_DEVICE)


def size_of_text(text: str) -> tuple[int, int]:
    """Read ``HEIGHTxWIDTH``.

    Raises:
        UsageError: It has another form, or a side is 0.
    """
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise UsageError(f"{text!r} is no size, expected HEIGHTxWIDTH such as 720x1280")
    return int(height), int(width)


def number_of_text(text: str, name: str) -> float:
    """Read a positive number.

    Raises:
        UsageError: It is none; the message calls it ``name``.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise UsageError(f"{name} is {text!r}, expected a number such as 30")
    return value


def parameters_of(uri: str, known: frozenset[str]) -> dict[str, str]:
    """Read the query of a URI of ours.

    Raises:
        UsageError: It has a parameter that is not in ``known``.
    """
    parameters = dict(parse_qsl(urlsplit(uri).query, keep_blank_values=True))
    if unknown := sorted(parameters.keys() - known):
        raise UsageError(f"{redacted(uri)} has no parameter {unknown[0]!r}, expected {', '.join(sorted(known))}")
    return parameters


def place_of(uri: str) -> str:
    """Give what stands between ``scheme://`` and the query: ``/dev/video0`` of ``v4l2:///dev/video0?fps=30``."""
    parts = urlsplit(uri)
    return unquote(parts.netloc + parts.path)


def device_of(place: str) -> Path:
    """Give the device file of a camera named by number or file."""
    return Path(f"{_DEVICE}{place or '0'}" if not place or place.isdecimal() else place)
