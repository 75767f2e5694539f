"""Results for other programs over ZeroMQ: the newest one, whenever they come for it."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.errors import ContractError, UsageError
from ..core.optional import require
from .frame import Pixels
from .result_sinks import ResultSinkOptions
from .terminal import Result, enlarged


class ZmqSink:
    """Publishes every result; a subscriber that is slow gets the newest, not the queue (``CONFLATE``).

    A message is the length of a JSON head (big-endian, four bytes), the head, and the RGB bytes:
    ``message_of`` and ``picture_of`` write and read it. Nothing is encrypted and anybody who reaches the
    address may subscribe.

    Args:
        endpoint: ZeroMQ's address to bind, ``tcp://127.0.0.1:5556`` or ``ipc:///run/front``.
        scale: How much the network enlarges.

    Raises:
        MissingExtraError: pyzmq is not installed.
        UsageError: The address is none, or taken.
    """

    queue_frames = 2
    keeps_newest = True

    def __init__(self, endpoint: str, scale: int = 1) -> None:
        zmq: Any = require("zmq", purpose="publish frames")
        self.name, self._scale = f"zmq+{endpoint}", scale
        self._context: Any = zmq.Context()
        self._socket: Any = self._context.socket(zmq.PUB)
        self._socket.setsockopt(zmq.CONFLATE, 1)
        self._socket.setsockopt(zmq.LINGER, 0)
        try:
            self._socket.bind(endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise UsageError(f"{endpoint} cannot be published at ({error.strerror}); choose another address") from error

    @property
    def endpoint(self) -> str:
        """The address, with the port where one was chosen (``tcp://127.0.0.1:*``)."""
        zmq: Any = require("zmq", purpose="publish frames")
        address: bytes = self._socket.getsockopt(zmq.LAST_ENDPOINT)
        return address.rstrip(b"\0").decode()

    def write(self, result: Result) -> None:
        """Publish a result; replaces one that is still on its way."""
        self._socket.send(message_of(result, enlarged(result, self._scale)))

    def close(self) -> None:
        if not self._socket.closed:
            self._socket.close()
            self._context.term()

    def give_up(self) -> None:
        self.close()


@dataclass(frozen=True, slots=True, eq=False)
class ZmqPicture:
    """A message, read.

    Attributes:
        pixels: ``uint8 [height, width, 3]`` RGB, a view of the message.
        head: ``stream``, ``seq``, ``epoch``, ``t_capture_ns``, ``state``, ``reason``, ``height``, ``width``.
    """

    pixels: Pixels
    head: dict[str, Any]


def message_of(result: Result, pixels: Pixels) -> bytes:
    """Write a message."""
    frame = result.frame
    head = {
        "stream": frame.stream,
        "seq": frame.seq,
        "epoch": frame.epoch,
        "t_capture_ns": frame.t_capture_ns,
        "state": result.state.value,
        "reason": result.reason,
        "height": pixels.shape[0],
        "width": pixels.shape[1],
    }
    text = json.dumps(head).encode()
    return b"".join([struct.pack(">I", len(text)), text, np.ascontiguousarray(pixels).data.cast("B")])


def picture_of(message: bytes) -> ZmqPicture:
    """Read a message.

    Raises:
        ContractError: It is none of ours.
    """
    try:
        (length,) = struct.unpack_from(">I", message)
        head = json.loads(message[4 : 4 + length])
        pixels = np.frombuffer(message, np.uint8, offset=4 + length).reshape(head["height"], head["width"], 3)
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise ContractError(f"a message of {len(message)} bytes holds no picture ({error})") from error
    return ZmqPicture(pixels, head)


def open_zmq_tcp(rest: str, options: ResultSinkOptions) -> ZmqSink:
    """Publish at ``HOST:PORT``."""
    return ZmqSink(f"tcp://{rest}", options.scale)


def open_zmq_ipc(rest: str, options: ResultSinkOptions) -> ZmqSink:
    """Publish at a path of this machine."""
    return ZmqSink(f"ipc://{rest}", options.scale)
