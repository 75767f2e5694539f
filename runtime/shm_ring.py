"""A ring of pictures in shared memory: one program writes, any number read, nobody waits.

The memory is the file ``/dev/shm/deblurrt-NAME``, little-endian, made of a head and slots; docs/view.md
has the layout for programs in other languages. A reader that is too slow loses pictures, never sees
half of one: a counter before each picture is odd while it is written, and a checksum goes with it.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import re
import struct
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.errors import MachineError, SourceError, UsageError
from .frame import Pixels
from .result_sinks import ResultSinkOptions
from .terminal import Result, enlarged

FOLDER = Path("/dev/shm")
PREFIX = "deblurrt-"

MAGIC = b"DBLRTSHM"
VERSION = 1
#: pictures in the ring; a reader has as many frame periods, less one, to copy one
SLOTS = 4

#: magic, version, slots, bytes from slot to slot, pictures written so far, whether the writer has ended
HEAD = struct.Struct("<8sIIQQI")
HEAD_BYTES = 4096
_WRITTEN_AT, _ENDED_AT = 24, 32

#: counter, height, width, number in the stream, epoch, capture time, checksum, state, stream
SLOT = struct.Struct("<QIIqqqI28s128s")
SLOT_BYTES = 256

_POLL_S = 0.001


@dataclass(frozen=True, slots=True, eq=False)
class RingFrame:
    """One picture out of a ring.

    Attributes:
        pixels: ``uint8 [height, width, 3]`` RGB, new memory.
        number: Pictures the ring had had with this one; a jump by more than one means lost ones.
        seq: Number in its stream.
        epoch: Of its stream.
        t_capture_ns: ``CLOCK_MONOTONIC`` of the capture, the same in all programs of a machine.
        state: Terminal state, such as ``deblurred``.
        stream: Name of the source.
    """

    pixels: Pixels
    number: int
    seq: int
    epoch: int
    t_capture_ns: int
    state: str
    stream: str


class ShmRing:
    """The writing side; the name disappears when it is closed, or when a later run starts after a crash.

    Args:
        name: Letters, digits, dots, dashes and underscores.
        scale: How much the network enlarges.

    Raises:
        UsageError: The name is none, or another program writes it.
        MachineError: This machine has no ``/dev/shm``.
    """

    queue_frames = 2
    keeps_newest = True

    def __init__(self, name: str, scale: int = 1) -> None:
        self._path = path_of(name)
        if not FOLDER.is_dir():
            raise MachineError(f"there is no {FOLDER} for shared memory; publish over ZeroMQ instead: zmq+ipc:///PATH")
        remove_orphans()
        if self._path.exists():
            raise UsageError(f"another program writes {self._path}; choose another name")
        self.name, self._scale = f"shm://{name}", scale
        self._memory: mmap.mmap | None = None
        self._handle = -1
        self._capacity = self._written = 0

    def write(self, result: Result) -> None:
        """Write one picture over the oldest; the first, and each larger one, makes the ring anew."""
        pixels = np.ascontiguousarray(enlarged(result, self._scale))
        if self._memory is None or pixels.nbytes > self._capacity:
            self._begin(pixels.nbytes)
        memory, frame = self._memory, result.frame
        assert memory is not None
        data = pixels.data.cast("B")
        number = self._written + 1
        start = HEAD_BYTES + self._written % SLOTS * (SLOT_BYTES + self._capacity)
        fields = (*pixels.shape[:2], frame.seq, frame.epoch, frame.t_capture_ns, zlib.crc32(data))
        names = (result.state.value.encode(), frame.stream.encode()[:128])
        memory[start : start + 8] = struct.pack("<Q", 2 * number - 1)
        memory[start + SLOT_BYTES : start + SLOT_BYTES + len(data)] = data
        memory[start + 8 : start + SLOT.size] = SLOT.pack(2 * number, *fields, *names)[8:]
        memory[start : start + 8] = struct.pack("<Q", 2 * number)
        memory[_WRITTEN_AT : _WRITTEN_AT + 8] = struct.pack("<Q", number)
        self._written = number

    def close(self) -> None:
        if self._memory is None:
            return
        self._memory[_ENDED_AT : _ENDED_AT + 4] = struct.pack("<I", 1)
        self._memory.close()
        self._memory = None
        self._path.unlink(missing_ok=True)
        os.close(self._handle)

    def give_up(self) -> None:
        self.close()

    def _begin(self, picture_bytes: int) -> None:
        self.close()
        self._capacity, self._written = -(-picture_bytes // 4096) * 4096, 0
        stride = SLOT_BYTES + self._capacity
        # made under another name, so that nobody sees it before it is locked and has its head
        part = FOLDER / f".{self._path.name}.{os.getpid()}"
        self._handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(self._handle, HEAD_BYTES + SLOTS * stride)
        self._memory = mmap.mmap(self._handle, 0)
        self._memory[: HEAD.size] = HEAD.pack(MAGIC, VERSION, SLOTS, stride, 0, 0)
        part.replace(self._path)


class ShmReader:
    """The reading side, for other programs; follows a writer that starts anew.

    Args:
        name: As given to the writer.

    Example:
        >>> with ShmReader("front") as reader:
        ...     frame = reader.wait(1.0)
    """

    def __init__(self, name: str) -> None:
        self._path = path_of(name)
        self._memory: mmap.mmap | None = None
        self._stride = self._slots = self._seen = self._inode = 0

    def newest(self) -> RingFrame | None:
        """Copy the newest picture; None where there is none that was not given before.

        Raises:
            SourceError: The name belongs to something else.
        """
        memory = self._opened()
        if memory is None:
            return None
        (written,) = struct.unpack_from("<Q", memory, _WRITTEN_AT)
        frame = self._copy(memory, written) if written > self._seen else None
        if frame is not None:
            self._seen = frame.number
        elif struct.unpack_from("<I", memory, _ENDED_AT)[0] or self._is_replaced():
            self.close()
        return frame

    def wait(self, timeout_s: float) -> RingFrame | None:
        """Wait for the next picture; None when there was none in time."""
        end_s = time.monotonic() + timeout_s
        while (frame := self.newest()) is None and time.monotonic() < end_s:
            time.sleep(_POLL_S)
        return frame

    def close(self) -> None:
        """Let go of the memory; closing twice is fine."""
        if self._memory is not None:
            self._memory.close()
        self._memory, self._seen = None, 0

    def __enter__(self) -> ShmReader:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _opened(self) -> mmap.mmap | None:
        if self._memory is not None:
            return self._memory
        try:
            with self._path.open("rb") as file:
                self._memory = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
                self._inode = os.fstat(file.fileno()).st_ino
        except (FileNotFoundError, ValueError):  # not yet there, or empty
            return None
        magic, version, self._slots, self._stride, *_ = HEAD.unpack_from(self._memory)
        if magic != MAGIC or version != VERSION:
            self.close()
            raise SourceError(f"{self._path} is no ring of version {VERSION}; is another program's memory named so?")
        return self._memory

    def _is_replaced(self) -> bool:
        """Whether another ring has taken the name: its writer had no time to say that this one ended."""
        try:
            return self._path.stat().st_ino != self._inode
        except FileNotFoundError:
            return False

    def _copy(self, memory: mmap.mmap, written: int) -> RingFrame | None:
        """Copy a picture; None where it was written over meanwhile."""
        start = HEAD_BYTES + (written - 1) % self._slots * self._stride
        counter, height, width, seq, epoch, t_capture_ns, checksum, state, stream = SLOT.unpack_from(memory, start)
        size = height * width * 3
        if counter != 2 * written or size > self._stride - SLOT_BYTES:
            return None
        data = memory[start + SLOT_BYTES : start + SLOT_BYTES + size]
        (counter_after,) = struct.unpack_from("<Q", memory, start)
        # Processors may reorder another one's writes; the checksum does not depend on that.
        if counter_after != counter or zlib.crc32(data) != checksum:
            return None
        pixels = np.frombuffer(data, np.uint8).reshape(height, width, 3)
        names = [name.rstrip(b"\0").decode(errors="replace") for name in (state, stream)]
        return RingFrame(pixels, written, seq, epoch, t_capture_ns, *names)


def path_of(name: str) -> Path:
    """Where the ring of a name lies.

    Raises:
        UsageError: It is no name.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,99}", name, re.ASCII):
        raise UsageError(f"{name!r} is no name for shared memory; use letters, digits, dots and dashes: shm://front")
    return FOLDER / f"{PREFIX}{name}"


def remove_orphans() -> list[Path]:
    """Remove rings of programs that ended without closing them; a living writer holds a lock."""
    removed = []
    for path in FOLDER.glob(f"{PREFIX}*"):
        try:
            handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:  # just gone, or another user's
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
            removed.append(path)
        except OSError:
            continue
        finally:
            os.close(handle)
    return removed


def open_shm_ring(name: str, options: ResultSinkOptions) -> ShmRing:
    """Open the ring of a name for writing."""
    return ShmRing(name, options.scale)
