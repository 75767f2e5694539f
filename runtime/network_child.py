"""The process that runs networks, so that one that hangs or crashes can be ended with it."""

from __future__ import annotations

import ctypes
import gc
import json
import logging
import os
import pickle
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..core.errors import UsageError
from .child_process import end_with_parent
from .guard import checked_session
from .nameless_memory import receive_message
from .network_channel import MAX_BYTES, RECORD_MARK, Call, CallReceiver, Opening, values_of_error
from .pipeline import clean_up
from .session import Session

#: of glibc's mallopt, bytes: pictures come from memory kept for them, for fresh pages cost 2 ms at 720p
_MALLOC_LIMITS = {-1: 128 << 20, -3: 32 << 20}  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
#: out of 1000: where memory runs out, Linux ends this process before the one that accounts for frames
_MEMORY_KILLER_SCORE = 500


class _RecordLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return RECORD_MARK + json.dumps([record.levelno, record.name, super().format(record)])


def main(handle: int, parent: int) -> None:
    """Open the networks the first message asks for, and do what is asked of them until nobody asks."""
    # Ctrl-C in a terminal and the end of a service reach every process; the parent decides when we end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    end_with_parent(parent)
    with suppress(AttributeError):  # another C library
        for parameter, byte_count in _MALLOC_LIMITS.items():
            ctypes.CDLL(None).mallopt(parameter, byte_count)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(_MEMORY_KILLER_SCORE))
    connection = socket.socket(fileno=handle)
    data, _ = receive_message(connection, MAX_BYTES)
    if not data:
        return
    calls = CallReceiver(connection)
    try:
        sessions = _opened(pickle.loads(data))
    except Exception as error:  # whatever a library does must reach the parent as a reason
        calls.answer(values_of_error(error))
        return
    try:
        calls.answer({"networks": [_facts(session) for session in sessions]})
        gc.freeze()
        _serve(calls, [checked_session(session) for session in sessions])
    finally:
        for session in sessions:
            clean_up(session.close)


def _opened(opening: Opening) -> Sequence[Session]:
    sys.path[:] = opening.path
    handler = logging.StreamHandler()
    handler.setFormatter(_RecordLine())
    logging.basicConfig(level=opening.log_level, handlers=[handler])
    try:
        open_networks = pickle.loads(opening.open_networks)
    except (AttributeError, ImportError, pickle.UnpicklingError) as error:
        raise UsageError(
            f"what opens the networks cannot be found in another process ({error}); give a function of a module"
        ) from error
    sessions: Sequence[Session] = open_networks()
    return sessions


def _facts(session: Session) -> dict[str, Any]:
    return {
        "model": session.model,
        "contract": session.contract.to_json(),
        "description": session.description,
        "batch_max": session.batch_max,
    }


def _serve(calls: CallReceiver, sessions: Sequence[Session]) -> None:
    while (call := calls.receive()) is not None:
        session = sessions[call.network]
        try:
            if call.action == "warm_up":
                session.warm_up(call.size)
            else:
                calls.put(call, _restored(call, calls, session), session.contract.scale)
        except Exception as error:  # networks may be anybody's
            calls.answer(values_of_error(error))
        else:
            calls.answer({"description": session.description})


def _restored(call: Call, calls: CallReceiver, session: Session) -> list[Any]:
    given = calls.given(call)
    windows = [[None if number is None else given[number] for number in window] for window in call.windows]
    pixels, previous, following = zip(*windows, strict=True)
    if len(windows) == 1:
        return [session.restore(pixels[0], previous[0], following[0])]
    return session.restore_batch(pixels, previous)


if __name__ == "__main__":
    with suppress(OSError):  # nobody listens any more
        main(int(sys.argv[1]), int(sys.argv[2]))
    # libraries' threads and destructors may hang; everything worth keeping is gone already
    os._exit(0)
