"""How pictures and calls reach a network in a process of its own, and how results and errors come back.

Pictures lie one after the other in memory that both map, first those given, behind them those restored.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..core import errors
from ..core.errors import BackendError, ContractError, DeblurrtError
from .frame import Pixels
from .nameless_memory import Bytes, memory_of, new_memory, receive_message, send_message

#: of a message; the longest is the first, which says where modules are found
MAX_BYTES = 1 << 17
#: marks a line the process prints as a record of our log: level, logger and text
RECORD_MARK = "\x01"

#: a picture's number among those given, and those of the frame before and of the one after, None where there is none
Window = tuple[int, int | None, int | None]


@dataclass(frozen=True, slots=True)
class Opening:
    """What the process is told first.

    Attributes:
        path: Where modules are found.
        log_level: Least level of what is logged.
        open_networks: A pickled function without arguments that opens them.
    """

    path: tuple[str, ...]
    log_level: int
    open_networks: bytes


@dataclass(frozen=True, slots=True)
class Call:
    """What the process is to do.

    Attributes:
        action: What.
        network: Which network does it.
        size: Height and width of the pictures.
        windows: Of each picture to restore.
        memory_bytes: Size of memory that comes with this call and replaces the one before; 0 for none.
    """

    action: Literal["restore", "warm_up"]
    network: int
    size: tuple[int, int]
    windows: tuple[Window, ...] = ()
    memory_bytes: int = 0

    def to_bytes(self) -> bytes:
        """Write it down."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Call:
        """Read what ``to_bytes`` wrote."""
        values = json.loads(data)
        windows = tuple((window[0], window[1], window[2]) for window in values.pop("windows"))
        return cls(size=tuple(values.pop("size")), windows=windows, **values)


class SharedPictures:
    """Our side of the memory; it grows with what has to lie in it."""

    def __init__(self) -> None:
        self._memory: Bytes | None = None

    def put(self, pictures: Sequence[Pixels], result_bytes: int) -> tuple[int | None, int]:
        """Copy pictures in, with room for results behind them.

        Returns:
            Handle and size of new memory the other side must be given, the handle to be closed then; or None
            and 0 where it has it already.
        """
        wanted = sum(pixels.nbytes for pixels in pictures) + result_bytes
        handle, byte_count = None, 0
        if self._memory is None or self._memory.size < wanted:
            self._memory, handle = new_memory(wanted)
            byte_count = wanted
        start = 0
        for pixels in pictures:
            self._memory[start : start + pixels.nbytes].reshape(pixels.shape)[...] = pixels
            start += pixels.nbytes
        return handle, byte_count

    def results(self, start: int, shape: tuple[int, int, int], count: int) -> list[Pixels]:
        """Copy ``count`` pictures out that begin at byte ``start``."""
        assert self._memory is not None
        return [pixels.copy() for pixels in pictures_in(self._memory, start, shape, count)]


def pictures_in(memory: Bytes, start: int, shape: tuple[int, int, int], count: int) -> list[Pixels]:
    """View ``count`` pictures that begin at byte ``start``."""
    byte_count = shape[0] * shape[1] * shape[2]
    places = range(start, start + count * byte_count, byte_count)
    return [memory[place : place + byte_count].reshape(shape) for place in places]


class CallReceiver:
    """The side of the process: takes calls, and keeps the memory they speak of."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._memory: Bytes | None = None

    def receive(self) -> Call | None:
        """Wait for the next call; None when nobody will make one."""
        try:
            data, handle = receive_message(self._connection, MAX_BYTES)
        except OSError:
            return None
        if not data:
            return None
        call = Call.from_bytes(data)
        if handle is not None:
            self._memory = memory_of(handle, call.memory_bytes, is_writable=True)
        return call

    def given(self, call: Call) -> list[Pixels]:
        """The pictures that came with a call, where they lie."""
        assert self._memory is not None, "a picture came before its memory"
        numbers = [number for window in call.windows for number in window if number is not None]
        return pictures_in(self._memory, 0, (*call.size, 3), 1 + max(numbers))

    def put(self, call: Call, restored: Sequence[Pixels], scale: int) -> None:
        """Copy what became of them behind them.

        Raises:
            ContractError: A picture is of another type or size than was promised.
        """
        assert self._memory is not None, "a picture came before its memory"
        shape = (call.size[0] * scale, call.size[1] * scale, 3)
        start = sum(pixels.nbytes for pixels in self.given(call))
        for place, pixels in zip(pictures_in(self._memory, start, shape, len(restored)), restored, strict=True):
            if pixels.shape != shape or pixels.dtype != place.dtype:
                raise ContractError(f"the network gave {pixels.dtype}{list(pixels.shape)}, expected uint8{list(shape)}")
            place[...] = pixels

    def answer(self, values: dict[str, Any]) -> None:
        """Answer a call.

        Raises:
            OSError: Nobody listens any more.
        """
        send_message(self._connection, json.dumps(values).encode())


def send_call(connection: socket.socket, call: Call, handle: int | None) -> None:
    """Make a call; the handle of memory that goes with it is closed.

    Raises:
        OSError: The process is gone.
    """
    try:
        send_message(connection, call.to_bytes(), handle)
    finally:
        if handle is not None:
            os.close(handle)


def values_of_error(error: Exception) -> dict[str, Any]:
    """Write an error down as an answer; long messages are cut."""
    name = type(error).__name__
    return {"error": name, "text": (str(error) or name)[: MAX_BYTES // 8]}


def error_of_values(values: dict[str, Any]) -> DeblurrtError:
    """Make the error an answer tells of; one that is none of ours becomes a ``BackendError``."""
    kind = getattr(errors, values["error"], None)
    is_ours = isinstance(kind, type) and issubclass(kind, DeblurrtError)
    error: DeblurrtError = kind(values["text"]) if is_ours and kind is not None else BackendError(values["text"])
    return error
