"""The few CUDA calls that running an engine takes, through cuda-bindings; a failed one names CUDA's own error.

Handles and addresses are plain numbers. Nothing here selects a device or makes a context: CUDA takes the one that is
current in the calling thread, or the first GPU's primary context where none is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from ..core.errors import BackendError, MachineError
from ..core.optional import require

MEBIBYTE = 1 << 20
#: the two default streams as CUDA numbers them; 0 means the first and says less
LEGACY_STREAM, PER_THREAD_STREAM = 1, 2

logger = logging.getLogger(__name__)


def open_cuda() -> CudaLayer:
    """Find a GPU that CUDA can use.

    Raises:
        MissingExtraError: cuda-bindings is not installed.
        MachineError: There is no driver or no GPU.
    """
    try:
        runtime = require("cuda.bindings.runtime", purpose="run an engine")
    except RuntimeError as error:  # a library of CUDA that does not load
        raise MachineError(f"cuda-bindings does not load ({error}); deblurrt doctor says what is missing") from error
    # first, and alone: without a driver later calls fail in worse ways
    status, count = runtime.cudaGetDeviceCount()
    cuda = CudaLayer(runtime)
    if status != runtime.cudaError_t.cudaSuccess:
        raise MachineError(f"CUDA finds no GPU: {cuda.describe(status)}; deblurrt doctor says what is missing")
    if not count:
        raise MachineError("CUDA finds no GPU; deblurrt doctor says what is missing")
    return cuda


class CudaLayer:
    """CUDA's calls on memory, streams, events and graphs.

    Args:
        runtime: ``cuda.bindings.runtime``.
    """

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime

    def describe(self, status: Any) -> str:
        """Name and text of an error: ``cudaErrorMemoryAllocation (out of memory)``."""
        _, name = self._runtime.cudaGetErrorName(status)
        _, text = self._runtime.cudaGetErrorString(status)
        return f"{_decoded(name)} ({_decoded(text)})"

    def allocate(self, size: int) -> int:
        """Reserve memory on the GPU; the address.

        Raises:
            BackendError: There is not enough.
        """
        return int(self._checked(f"reserve {_mib(size)} on the GPU", self._runtime.cudaMalloc(size)))

    def free(self, address: int) -> None:
        """Give memory of the GPU back; a failure is only logged, for something else went wrong before."""
        self._tried(self._runtime.cudaFree(address))

    def allocate_pinned(self, size: int) -> int:
        """Reserve memory of the host that the GPU copies from and to by itself; the address.

        Raises:
            BackendError: There is not enough.
        """
        # portable: pinned in every context, also in one a user of pycuda made
        flags = self._runtime.cudaHostAllocPortable
        return int(self._checked(f"pin {_mib(size)} of memory", self._runtime.cudaHostAlloc(size, flags)))

    def free_pinned(self, address: int) -> None:
        """Give pinned memory back; as ``free``."""
        self._tried(self._runtime.cudaFreeHost(address))

    def upload(self, device: int, host: int, size: int, stream: int) -> None:
        """Copy to the GPU when the stream comes to it; the host's memory is read then."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._checked("copy to the GPU", self._runtime.cudaMemcpyAsync(device, host, size, kind, stream))

    def download(self, host: int, device: int, size: int, stream: int) -> None:
        """Copy from the GPU when the stream comes to it."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._checked("copy from the GPU", self._runtime.cudaMemcpyAsync(host, device, size, kind, stream))

    def create_stream(self) -> int:
        """Make a stream that does not wait for the default ones."""
        flags = self._runtime.cudaStreamNonBlocking
        return int(self._checked("make a stream", self._runtime.cudaStreamCreateWithFlags(flags)))

    def destroy_stream(self, stream: int) -> None:
        """Give a stream back; as ``free``."""
        self._tried(self._runtime.cudaStreamDestroy(stream))

    def finish_stream(self, stream: int) -> None:
        """Wait until everything on a stream is done.

        Raises:
            BackendError: Something on it failed.
        """
        self._checked("finish its work", self._runtime.cudaStreamSynchronize(stream))

    def create_event(self) -> int:
        """Make an event."""
        flags = self._runtime.cudaEventDisableTiming
        return int(self._checked("make an event", self._runtime.cudaEventCreateWithFlags(flags)))

    def destroy_event(self, event: int) -> None:
        """Give an event back; as ``free``."""
        self._tried(self._runtime.cudaEventDestroy(event))

    def record(self, event: int, stream: int) -> None:
        """Let an event happen when the stream has done everything so far."""
        self._checked("record an event", self._runtime.cudaEventRecord(event, stream))

    def wait(self, stream: int, event: int) -> None:
        """Let a stream go no further until an event has happened; the host goes on."""
        self._checked("order its streams", self._runtime.cudaStreamWaitEvent(stream, event, 0))

    def finish_event(self, event: int) -> None:
        """Wait until an event has happened.

        Raises:
            BackendError: Something before it failed.
        """
        self._checked("finish a frame", self._runtime.cudaEventSynchronize(event))

    def capture(self, work: Callable[[], None], stream: int) -> int:
        """Record what ``work`` puts on a stream, instead of running it; a graph to be launched.

        Raises:
            BackendError: The work or CUDA failed; the stream is usable again.
        """
        runtime = self._runtime
        # of this thread only: others may go on reserving memory
        mode = runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._checked("begin a graph", runtime.cudaStreamBeginCapture(stream, mode))
        try:
            work()
        except BaseException:
            _, unfinished = runtime.cudaStreamEndCapture(stream)
            if unfinished is not None and int(unfinished):
                self._tried(runtime.cudaGraphDestroy(unfinished))
            runtime.cudaGetLastError()  # or the next call reports it again
            raise
        graph = self._checked("end a graph", runtime.cudaStreamEndCapture(stream))
        try:
            return int(self._checked("prepare a graph", runtime.cudaGraphInstantiate(graph, 0)))
        finally:
            self._tried(runtime.cudaGraphDestroy(graph))

    def launch(self, graph: int, stream: int) -> None:
        """Put a captured graph on a stream."""
        self._checked("launch a graph", self._runtime.cudaGraphLaunch(graph, stream))

    def destroy_graph(self, graph: int) -> None:
        """Give a captured graph back; as ``free``."""
        self._tried(self._runtime.cudaGraphExecDestroy(graph))

    def _checked(self, what: str, answer: tuple[Any, ...]) -> Any:
        """Take the value out of what a call gave.

        Raises:
            BackendError: It gave an error.
        """
        status, *values = answer
        errors = self._runtime.cudaError_t
        if status == errors.cudaSuccess:
            return values[0] if values else None
        self._runtime.cudaGetLastError()  # or the next call reports it again
        remedy = "deblurrt doctor says whether driver and packages fit"
        if status == errors.cudaErrorMemoryAllocation:
            remedy = "end what else uses it (nvidia-smi lists it), or cut frames: --tile HxW"
        raise BackendError(f"CUDA could not {what}: {self.describe(status)}; {remedy}")

    def _tried(self, answer: tuple[Any, ...]) -> None:
        if answer[0] != self._runtime.cudaError_t.cudaSuccess:
            logger.debug("CUDA could not clean up: %s", self.describe(answer[0]))


def _decoded(text: Any) -> str:
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)


def _mib(size: int) -> str:
    return f"{max(size / MEBIBYTE, 0.1):,.1f} MiB"
