"""Memory of the GPU and pinned memory beside it: grows, is used again, and goes when nothing refers to it."""

from __future__ import annotations

import ctypes
import math
import weakref

import numpy as np
from numpy.typing import NDArray

from ..core.tensors import TensorSpec
from .cuda_layer import CudaLayer


def size_of(spec: TensorSpec) -> int:
    """Bytes of a tensor whose dimensions are all numbers."""
    return math.prod(int(length) for length in spec.shape) * np.dtype(spec.dtype).itemsize


class DeviceBlock:
    """A piece of the GPU's memory, given back when nothing refers to it any more.

    Attributes:
        address: Where it lies on the GPU.
        size: Bytes.
    """

    def __init__(self, cuda: CudaLayer, size: int) -> None:
        self.address, self.size = cuda.allocate(size), size
        # not at the end of the process: CUDA may be gone by then, and takes everything back itself
        weakref.finalize(self, cuda.free, self.address).atexit = False


class DeviceMemory:
    """Memory of the GPU for one purpose, used again from frame to frame.

    Args:
        cuda: Reserves it.
    """

    def __init__(self, cuda: CudaLayer) -> None:
        self._cuda = cuda
        self._block: DeviceBlock | None = None

    def reserve(self, size: int) -> DeviceBlock:
        """Get at least ``size`` bytes; the same as before where they suffice.

        Nothing on the GPU may be using the former ones.

        Raises:
            BackendError: There is not enough memory.
        """
        if self._block is None or self._block.size < size:
            self._block = None  # first: both together may be too much
            self._block = DeviceBlock(self._cuda, max(size, 1))
        return self._block

    def release(self) -> None:
        """Give the memory back, unless an array given out still lies in it."""
        self._block = None


class PinnedMemory:
    """Pinned memory of the host for one purpose, used again from frame to frame.

    Args:
        cuda: Reserves it.
    """

    def __init__(self, cuda: CudaLayer) -> None:
        self._cuda = cuda
        self._bytes: NDArray[np.uint8] | None = None

    def reserve(self, size: int) -> NDArray[np.uint8]:
        """Get an array of at least ``size`` bytes; the memory stays as long as the array or a view of it.

        Raises:
            BackendError: There is not enough memory.
        """
        if self._bytes is None or self._bytes.size < size:
            self._bytes = None
            self._bytes = self._pinned(max(size, 1))
        return self._bytes

    def _pinned(self, size: int) -> NDArray[np.uint8]:
        address = self._cuda.allocate_pinned(size)
        block = (ctypes.c_uint8 * size).from_address(address)
        weakref.finalize(block, self._cuda.free_pinned, address).atexit = False
        pinned: NDArray[np.uint8] = np.frombuffer(memoryview(block), np.uint8)
        return pinned
