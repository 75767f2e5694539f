"""Where results go that are no files: standard output, shared memory, ZeroMQ, a window."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

from ..core.errors import UsageError
from .outbox import ResultSink

#: scheme of the place -> (module, attribute); called with what follows the scheme and ``ResultSinkOptions``
RESULT_SINKS: dict[str, tuple[str, str]] = {
    "-": (".video_pipe", "open_y4m_pipe"),
    "y4m": (".video_pipe", "open_y4m_pipe"),
    "raw": (".video_pipe", "open_raw_pipe"),
    "shm": (".shm_ring", "open_shm_ring"),
    "zmq+tcp": (".zmq_sink", "open_zmq_tcp"),
    "zmq+ipc": (".zmq_sink", "open_zmq_ipc"),
    "window": (".window_sink", "open_window"),
}

#: schemes that take standard output for themselves
PIPES = ("-", "y4m", "raw")


def do_nothing() -> None:
    """Take no notice."""


@dataclass(frozen=True, slots=True)
class ResultSinkOptions:
    """What a sink may need to know of the run.

    Attributes:
        scale: How much the network enlarges; untouched frames are enlarged as much.
        frame_rate: Nominal frames per second; None where unknown.
        on_reader_gone: Called once when whoever took the results wants no more: that ends a run in order.
    """

    scale: int = 1
    frame_rate: Fraction | None = None
    on_reader_gone: Callable[[], None] = do_nothing


def scheme_of(place: str) -> str | None:
    """Scheme of a place in ``RESULT_SINKS``; None for files and folders."""
    if place == "-":
        return place
    scheme, separator, rest = place.partition(":")
    is_known = bool(separator) and scheme in RESULT_SINKS and (rest == "-" or rest.startswith("//"))
    return scheme if is_known else None


def open_result_sinks(place: str, cameras: int, options: ResultSinkOptions) -> list[ResultSink]:
    """Open a place for several cameras: a ring each, ``shm://front-camera2``; all else is shared.

    Raises:
        UsageError: The place cannot tell cameras apart; else as ``open_result_sink``.
    """
    scheme = scheme_of(place)
    if cameras > 1 and scheme in PIPES:
        raise UsageError(f"{place} holds one camera's video, not {cameras}; give each a run of its own")
    if scheme != "shm":
        return [open_result_sink(place, options)] * cameras
    places = [place, *(f"{place}-camera{index}" for index in range(2, cameras + 1))]
    return [open_result_sink(one, options) for one in places]


def open_result_sink(place: str, options: ResultSinkOptions | None = None) -> ResultSink:
    """Open a place that is no file.

    ``-`` or ``y4m:-`` is Y4M on standard output and ``raw:-`` plain RGB; ``shm://NAME`` is a ring in
    shared memory; ``zmq+tcp://HOST:PORT`` and ``zmq+ipc:///PATH`` publish over ZeroMQ; ``window://TITLE``
    is a window on this machine's screen.

    Example:
        >>> sink = open_result_sink("shm://front")

    Raises:
        UsageError: The scheme is not known, the place is malformed or taken.
        MissingExtraError: A package is not installed.
        MachineError: This machine has no screen, or no shared memory.
    """
    scheme = scheme_of(place)
    if scheme is None:
        raise UsageError(f"{place} names no known output, expected one of {', '.join(RESULT_SINKS)}")
    module, attribute = RESULT_SINKS[scheme]
    factory = cast(
        "Callable[[str, ResultSinkOptions], ResultSink]",
        getattr(importlib.import_module(module, __package__), attribute),
    )
    return factory(place.partition(":")[2].removeprefix("//"), options or ResultSinkOptions())
