"""Where the arrays of a kernel's call lie: memory of this machine or of its GPU, with guards around each array."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.errors import MachineError
from ..core.optional import require
from ..core.tensors import Array

#: bytes before and after an array that must stay as they are, and what they hold
GUARD, GUARD_BYTE = 256, 0xA5


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """An array on a device.

    Attributes:
        base: Address of the memory it lies in.
        skew: Bytes by which it is moved from a multiple of 256.
        like: Type and shape.
        owner: Keeps the memory.
    """

    base: int
    skew: int
    like: Array
    owner: Any

    @property
    def address(self) -> int:
        """Where its first element is."""
        return self.base + GUARD + self.skew

    @property
    def size(self) -> int:
        """Bytes of the memory it lies in."""
        return self.like.nbytes + 2 * GUARD + self.skew


class KernelMemory(Protocol):
    """Memory and streams of a device."""

    def place(self, array: Array, skew: int = 0) -> Placed:
        """Copy an array to the device, ``skew`` bytes from where it would lie."""
        ...

    def read(self, placed: Placed) -> NDArray[np.uint8]:
        """Copy the memory of an array, guards included, when everything before has ended."""
        ...

    def stream(self) -> AbstractContextManager[int]:
        """Make a stream; it ends with the ``with``."""
        ...

    def wait(self) -> None:
        """Wait for all streams."""
        ...

    def replayed(self, stream: int, put: Callable[[], int]) -> int | None:
        """Capture what ``put`` puts on a stream and run it; its code, or None: no graphs here."""
        ...


def guarded(array: Array, skew: int) -> NDArray[np.uint8]:
    """Bytes of an array between its guards."""
    image = np.full(array.nbytes + 2 * GUARD + skew, GUARD_BYTE, np.uint8)
    start = GUARD + skew
    image[start : start + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return image


def taken(memory: KernelMemory, placed: Placed) -> tuple[Array, bool]:
    """Copy an array back; and whether its guards are whole."""
    image = memory.read(placed)
    start, end = GUARD + placed.skew, GUARD + placed.skew + placed.like.nbytes
    array = image[start:end].view(placed.like.dtype).reshape(placed.like.shape)
    is_whole = bool((image[:start] == GUARD_BYTE).all() and (image[end:] == GUARD_BYTE).all())
    return array, is_whole


class HostMemory:
    """Memory of this machine; there is one stream, and it never has anything left to do."""

    def place(self, array: Array, skew: int = 0) -> Placed:
        image = guarded(array, skew)
        room = np.empty(image.size + GUARD, np.uint8)
        first = -room.ctypes.data % GUARD
        owner = room[first : first + image.size]
        owner[:] = image
        return Placed(owner.ctypes.data, skew, array, owner)

    def read(self, placed: Placed) -> NDArray[np.uint8]:
        owner: NDArray[np.uint8] = placed.owner
        return owner.copy()

    def stream(self) -> AbstractContextManager[int]:
        return nullcontext(0)

    def wait(self) -> None:
        return None

    def replayed(self, stream: int, put: Callable[[], int]) -> int | None:  # noqa: ARG002 - the protocol
        return None


class _Block:
    """A piece of the GPU's memory, given back when nothing refers to it."""

    def __init__(self, cuda: CudaMemory, size: int) -> None:
        self._cuda, self.address = cuda, 0
        self.address = int(cuda.ask("cudaMalloc", size))

    def __del__(self) -> None:
        if self.address:
            self._cuda.runtime.cudaFree(self.address)


class CudaMemory:
    """Memory and streams of the first GPU.

    Args:
        runtime: The module ``cuda.bindings.runtime``.
    """

    def __init__(self, runtime: Any) -> None:
        self.runtime = runtime

    def ask(self, function: str, *arguments: Any) -> Any:
        """Call the CUDA runtime and return what it gives beside the code.

        Raises:
            MachineError: It gives an error.
        """
        code, *given = getattr(self.runtime, function)(*arguments)
        if int(code) != 0:
            raise MachineError(f"{function} gives {self.runtime.cudaGetErrorName(code)[1].decode()}")
        return given[0] if given else None

    def place(self, array: Array, skew: int = 0) -> Placed:
        image = guarded(array, skew)
        block = _Block(self, image.size)
        self.ask("cudaMemcpy", block.address, image.ctypes.data, image.size, self._kind("HostToDevice"))
        # the copy may return before its end, and other streams do not wait for the default one
        self.ask("cudaStreamSynchronize", 0)
        return Placed(block.address, skew, array, block)

    def read(self, placed: Placed) -> NDArray[np.uint8]:
        self.wait()
        image = np.empty(placed.size, np.uint8)
        self.ask("cudaMemcpy", image.ctypes.data, placed.base, placed.size, self._kind("DeviceToHost"))
        return image

    def _kind(self, name: str) -> Any:
        return getattr(self.runtime.cudaMemcpyKind, f"cudaMemcpy{name}")

    @contextmanager
    def stream(self) -> Iterator[int]:
        made = int(self.ask("cudaStreamCreateWithFlags", self.runtime.cudaStreamNonBlocking))
        try:
            yield made
        finally:
            # its error would hide the first one: a GPU that failed gives it again
            self.runtime.cudaStreamDestroy(made)

    def wait(self) -> None:
        self.ask("cudaDeviceSynchronize")

    def replayed(self, stream: int, put: Callable[[], int]) -> int | None:
        mode = self.runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self.ask("cudaStreamBeginCapture", stream, mode)
        code = put()
        graph = self.ask("cudaStreamEndCapture", stream)
        executable = self.ask("cudaGraphInstantiate", graph, 0)
        self.ask("cudaGraphLaunch", executable, stream)
        self.wait()
        self.ask("cudaGraphExecDestroy", executable)
        self.ask("cudaGraphDestroy", graph)
        return code


def cuda_memory(purpose: str) -> CudaMemory:
    """Memory of the first GPU.

    Args:
        purpose: What it is needed for, as a verb phrase.

    Raises:
        MissingExtraError: cuda-bindings is not installed.
        MachineError: There is no GPU, or its driver does not work.
    """
    runtime = require("cuda.bindings.runtime", purpose)
    # first, and alone: without a driver later calls fail in worse ways
    try:
        code, count = runtime.cudaGetDeviceCount()
    except (RuntimeError, ImportError) as error:  # cuda-bindings looks for the libraries of CUDA at the first call
        raise MachineError(
            f"CUDA is needed to {purpose} and does not load ({error}); deblurrt doctor says more"
        ) from error
    if int(code) != 0 or not count:
        reason = runtime.cudaGetErrorName(code)[1].decode() if int(code) else "the driver lists none"
        raise MachineError(f"an NVIDIA GPU is needed to {purpose}, none answers ({reason}); deblurrt doctor says more")
    return CudaMemory(runtime)
