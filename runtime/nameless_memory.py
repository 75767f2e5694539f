"""Memory that two processes share and that has no name, and the messages beside it.

Nothing is left of it when both are gone, however they went.
"""

from __future__ import annotations

import array
import mmap
import os
import socket

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


def new_memory(byte_count: int) -> tuple[Bytes, int]:
    """Take memory; its handle is for ``send_message`` and is to be closed then."""
    handle = os.memfd_create("deblurrt-frames", os.MFD_CLOEXEC)
    try:
        os.ftruncate(handle, byte_count)
        return np.frombuffer(mmap.mmap(handle, byte_count), np.uint8), handle
    except BaseException:
        os.close(handle)
        raise


def memory_of(handle: int, byte_count: int, *, is_writable: bool = False) -> Bytes:
    """Map the other process's memory and close its handle."""
    access = mmap.PROT_READ | (mmap.PROT_WRITE if is_writable else 0)
    try:
        return np.frombuffer(mmap.mmap(handle, byte_count, prot=access), np.uint8)
    finally:
        os.close(handle)


def send_message(connection: socket.socket, data: bytes, handle: int | None = None) -> None:
    """Send one message, with the handle of memory where there is one.

    Raises:
        OSError: The other side is gone.
    """
    rights = [] if handle is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [handle]))]
    connection.sendmsg([data], rights)


def receive_message(connection: socket.socket, byte_count: int) -> tuple[bytes, int | None]:
    """Wait for one message of at most ``byte_count``, empty when the other side hung up, and a handle.

    Raises:
        OSError: The other side is gone, or nothing came in the connection's time.
    """
    data, rights, _, _ = connection.recvmsg(byte_count, socket.CMSG_SPACE(array.array("i").itemsize))
    handles = array.array("i")
    for level, kind, content in rights:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            handles.frombytes(content[: len(content) - len(content) % handles.itemsize])
    return data, handles[0] if handles else None
