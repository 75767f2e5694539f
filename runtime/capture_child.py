"""The process that reads one camera or stream, so that a hanging library can be killed with it."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import cast

from .capture_channel import CaptureSender, Ended
from .capture_request import CaptureRequest
from .redaction import redacted

#: reader -> (module, attribute); called with the request and the sender, returns when the stream is over
READERS: dict[str, tuple[str, str]] = {
    "gstreamer": (".gstreamer_reader", "read_with_gstreamer"),
    "http": (".http_reader", "read_over_http"),
    "pyav": (".pyav_reader", "read_with_pyav"),
}

#: a library that does not let go in this time, once nobody listens, is ended with the process
_GRACE_S = 2.0

_MAX_REQUEST_BYTES = 65536


def main(handle: int) -> None:
    """Take a request from the socket ``handle``, read until the stream or the listener is gone."""
    # Ctrl-C in a terminal reaches every process; the parent decides when capturing ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = socket.socket(fileno=handle)
    for module, _ in READERS.values():
        importlib.import_module(module, __package__)
    importlib.import_module("av")
    try:
        data = connection.recv(_MAX_REQUEST_BYTES)
    except OSError:
        return
    if not data:
        return
    request = CaptureRequest.from_bytes(data)
    sender = CaptureSender(connection)
    threading.Thread(target=_end_when_hung_up, args=(sender,), daemon=True).start()
    try:
        ended = _read(request, sender)
        sender.say(ended)
    except OSError:
        # Nobody listens any more.
        return


def _read(request: CaptureRequest, sender: CaptureSender) -> Ended:
    module, attribute = READERS[request.reader]
    reader = cast(
        "Callable[[CaptureRequest, CaptureSender], Ended]",
        getattr(importlib.import_module(module, __package__), attribute),
    )
    try:
        ended = reader(request, sender)
    except BrokenPipeError:
        raise
    except Exception as error:
        # Whatever a library does must reach the parent as a reason.
        ended = Ended("over", f"{type(error).__name__}: {error}")
    return Ended(ended.cause, redacted(ended.reason.splitlines()[0] if ended.reason else "it gave no reason"))


def _end_when_hung_up(sender: CaptureSender) -> None:
    sender.is_hung_up.wait()
    threading.Event().wait(_GRACE_S)
    os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
    # Libraries' threads and destructors may hang; everything worth keeping is gone already.
    os._exit(0)
