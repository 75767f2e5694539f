"""How frames come out of a capture process: pictures in shared memory, notes about them on a socket.

The memory has no name, so nothing is left of it when both ends are gone, however they went.
"""

from __future__ import annotations

import json
import os
import queue
import socket
import threading
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .color import ColorSpec
from .nameless_memory import memory_of, new_memory, receive_message, send_message
from .picture_pool import PicturePool

Pixels = NDArray[np.uint8]

#: pictures in flight; a child that finds none free leaves a frame out and says so
SLOTS = 4

_MAX_NOTE_BYTES = 65536

#: formats are told apart by a byte, so that a slot of an earlier one is not taken for one of the latest
_GENERATIONS = 256

#: why a child ended: the far side refused us for good, sends what nothing here decodes, or anything else
EndCause = Literal["refused", "missing", "unsupported", "over"]


@dataclass(frozen=True, slots=True)
class FrameFormat:
    """What the next frames are; comes before the first one and at every change.

    Attributes:
        size: Height and width.
        color: Of the stream, before it became RGB.
        time_base: Seconds per unit of the frames' ``pts``.
        coding: The stream's own pixel format.
        fps: What the stream says of its rate; often nothing, or nonsense.
        reader: Who reads, with its version.
    """

    size: tuple[int, int]
    color: ColorSpec
    time_base: Fraction | None
    coding: str
    fps: float | None
    reader: str


@dataclass(frozen=True, slots=True)
class FrameNote:
    """A picture lies in ``slot``.

    Attributes:
        slot: Where; free again once its number was sent back.
        t_capture_ns: ``time.monotonic_ns()`` when it arrived.
        pts: In units of the format's ``time_base``.
        skipped: Frames left out since the last note, because every slot was taken.
    """

    slot: int
    t_capture_ns: int
    pts: int | None
    skipped: int


@dataclass(frozen=True, slots=True)
class Corrupt:
    """Frames were withheld because the decoder marked them as damaged."""

    count: int


@dataclass(frozen=True, slots=True)
class Alive:
    """The stream goes on, though no frame came of it: the decoder waits for a key frame."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The child can give no more frames."""

    cause: EndCause
    reason: str


Note = FrameFormat | FrameNote | Corrupt | Alive | Ended

_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in (FrameFormat, FrameNote, Corrupt, Alive, Ended)}


class CaptureReceiver:
    """The side that takes frames. Not for use by several threads."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._pictures: Pixels | None = None
        self._pool = PicturePool()
        self._generation = 0

    def receive(self, timeout_s: float) -> Note | None:
        """Wait for the next note; None when there was none in time.

        Raises:
            EOFError: The child is gone.
        """
        self._connection.settimeout(max(timeout_s, 0.0))
        try:
            data, handle = receive_message(self._connection, _MAX_NOTE_BYTES)
        except (TimeoutError, BlockingIOError):
            return None
        except OSError as error:
            raise EOFError from error
        if not data:
            raise EOFError
        note = _note_of(data)
        if isinstance(note, FrameFormat):
            assert handle is not None, "a format came without its memory"
            self._map(note, handle)
        return note

    def take(self, note: FrameNote) -> Pixels:
        """Copy a picture out of its slot and free the slot."""
        assert self._pictures is not None, "a frame came before its format"
        picture = self._pictures[note.slot]
        pixels = self._pool.empty(picture.shape)
        np.copyto(pixels, picture)
        self.release(note)
        return pixels

    def release(self, note: FrameNote) -> None:
        """Free the slot of a picture nobody wants."""
        try:
            self._connection.settimeout(1.0)
            self._connection.send(bytes([self._generation, note.slot]))
        except OSError:
            # The child is gone; ``receive`` says so.
            return

    def close(self) -> None:
        """Hang up, which ends a willing child; closing twice is fine."""
        self._pictures = None
        self._connection.close()

    def _map(self, note: FrameFormat, handle: int) -> None:
        shape = (SLOTS, *note.size, 3)
        self._pictures = memory_of(handle, int(np.prod(shape))).reshape(shape)
        self._generation = (self._generation + 1) % _GENERATIONS


class CaptureSender:
    """The side that gives frames, in the child; ``put`` never waits for the other side."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._format: FrameFormat | None = None
        self._pictures: Pixels | None = None
        self._free: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()
        self._generation = 0
        self._skipped = 0
        self.is_hung_up = threading.Event()
        threading.Thread(target=self._hear, name="capture-slots", daemon=True).start()

    def say(self, note: Corrupt | Alive | Ended) -> None:
        """Send a note without a picture.

        Raises:
            OSError: The other side is gone.
        """
        self._connection.send(_data_of(note))

    def put(self, pixels: Pixels, frame_format: FrameFormat, t_capture_ns: int, pts: int | None) -> None:
        """Send a picture, or leave it out where no slot is free.

        Raises:
            OSError: The other side is gone.
        """
        if frame_format != self._format:
            self._begin(frame_format)
        try:
            slot = self._free_slot()
        except queue.Empty:
            self._skipped += 1
            return
        assert self._pictures is not None
        self._pictures[slot] = pixels
        self._connection.send(_data_of(FrameNote(slot, t_capture_ns, pts, self._skipped)))
        self._skipped = 0

    def _begin(self, frame_format: FrameFormat) -> None:
        shape = (SLOTS, *frame_format.size, 3)
        memory, handle = new_memory(int(np.prod(shape)))
        try:
            self._pictures = memory.reshape(shape)
            self._format = frame_format
            self._generation = (self._generation + 1) % _GENERATIONS
            for slot in range(SLOTS):
                self._free.put((self._generation, slot))
            send_message(self._connection, _data_of(frame_format), handle)
        finally:
            os.close(handle)

    def _free_slot(self) -> int:
        while True:
            generation, slot = self._free.get_nowait()
            if generation == self._generation:
                return slot

    def _hear(self) -> None:
        """Take back slots until the other side hangs up."""
        while True:
            try:
                data = self._connection.recv(16)
            except OSError:
                data = b""
            if not data:
                self.is_hung_up.set()
                return
            self._free.put((data[0], data[1]))


def _data_of(note: Note) -> bytes:
    values = {"kind": type(note).__name__, **asdict(note)}
    if isinstance(note, FrameFormat) and note.time_base is not None:
        values["time_base"] = [note.time_base.numerator, note.time_base.denominator]
    return json.dumps(values).encode()


def _note_of(data: bytes) -> Note:
    values = json.loads(data)
    kind = _KINDS[values.pop("kind")]
    if kind is FrameFormat:
        values["size"] = tuple(values["size"])
        values["color"] = ColorSpec(**values["color"])
        values["time_base"] = values["time_base"] and Fraction(*values["time_base"])
    note: Note = kind(**values)
    return note
