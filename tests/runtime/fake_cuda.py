# ruff: noqa: N801, N802, N815 - the names are CUDA's
"""A stand-in for ``cuda.bindings.runtime``: memory is the host's, streams run their work in any order CUDA allows.

What is put on a stream waits there. Whenever the host waits, and by chance at other times, heads of streams are run in
an order drawn from ``seed``; events are kept. A result that depends on an order that was never asked for is thus wrong
for some seed.
"""

from __future__ import annotations

import ctypes
import enum
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any


class cudaError_t(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorIllegalAddress = 700
    cudaErrorLaunchFailure = 719
    cudaErrorStreamCaptureUnsupported = 900


class cudaMemcpyKind(enum.IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class cudaStreamCaptureMode(enum.IntEnum):
    cudaStreamCaptureModeThreadLocal = 1


TEXTS: dict[enum.IntEnum, str] = {
    cudaError_t.cudaErrorMemoryAllocation: "out of memory",
    cudaError_t.cudaErrorInsufficientDriver: "CUDA driver version is insufficient for CUDA runtime version",
    cudaError_t.cudaErrorIllegalAddress: "an illegal memory access was encountered",
    cudaError_t.cudaErrorLaunchFailure: "unspecified launch failure",
    cudaError_t.cudaErrorStreamCaptureUnsupported: "operation not permitted when stream is capturing",
}
OK = cudaError_t.cudaSuccess
#: default streams exist without being made
DEFAULT_STREAMS = (1, 2)


@dataclass
class Work:
    """Something on a stream; a wait is ready when its event has happened that time, whatever came later."""

    what: str
    action: Callable[[], None]
    event: int = 0
    times: int = 0


@dataclass
class FakeCuda:
    """The calls; ``calls`` keeps their names and arguments, ``done`` what ran on which stream.

    Attributes:
        seed: Of the order; None: nothing runs before the host waits for it.
        gpus: How many there are.
        memory: Bytes of the GPU.
        fails: Name of a call to the error it gives from now on.
    """

    seed: int | None = None
    gpus: int = 1
    memory: int = 1 << 30
    fails: dict[str, enum.IntEnum] = field(default_factory=dict)

    cudaError_t = cudaError_t
    cudaMemcpyKind = cudaMemcpyKind
    cudaStreamCaptureMode = cudaStreamCaptureMode
    cudaHostAllocPortable = 1
    cudaStreamNonBlocking = 1
    cudaEventDisableTiming = 2

    def __post_init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.done: list[tuple[int, str]] = []
        self.last_error: enum.IntEnum = OK
        self.device: dict[int, Any] = {}
        self.pinned: dict[int, Any] = {}
        self.streams: dict[int, deque[Work]] = {stream: deque() for stream in DEFAULT_STREAMS}
        self.recorded: dict[int, int] = {}
        self.happened: dict[int, set[int]] = {}
        self.graphs: dict[int, list[Work]] = {}
        self.runnable: dict[int, list[Work]] = {}
        self.capturing: tuple[int, list[Work]] | None = None
        self._random = random.Random(self.seed)
        self._last_handle = 100

    # what tests ask

    def names(self) -> list[str]:
        return [call[0] for call in self.calls]

    def used_bytes(self) -> int:
        return sum(len(block) for block in self.device.values())

    def finish(self, stream: int) -> None:
        """Run one stream as far as it goes without any other."""
        while self._is_ready(stream):
            self._step(stream)

    # what TensorRT's stand-in uses

    def put(self, stream: int, what: str, action: Callable[[], None]) -> None:
        self._put(stream, Work(what, action))

    def array(self, address: int, size: int) -> Any:
        """Bytes of the GPU's memory, which must be reserved."""
        self._check_range(self.device, address, size)
        return (ctypes.c_uint8 * size).from_address(address)

    # CUDA

    def cudaGetDeviceCount(self) -> tuple[Any, ...]:
        return self._answer("cudaGetDeviceCount", (), self.gpus)

    def cudaDriverGetVersion(self) -> tuple[Any, ...]:
        return OK, 13000

    def cudaGetDeviceProperties(self, index: int) -> tuple[Any, ...]:
        return OK, SimpleNamespace(name=b"NVIDIA Fake", major=8, minor=9, totalGlobalMem=self.memory)

    def cudaGetErrorName(self, status: enum.IntEnum) -> tuple[Any, ...]:
        return OK, status.name.encode()

    def cudaGetErrorString(self, status: enum.IntEnum) -> tuple[Any, ...]:
        return OK, TEXTS[status].encode()

    def cudaGetLastError(self) -> tuple[Any, ...]:
        status, self.last_error = self.last_error, OK
        return (status,)

    def cudaMalloc(self, size: int) -> tuple[Any, ...]:
        if self.used_bytes() + size > self.memory:
            return cudaError_t.cudaErrorMemoryAllocation, None
        if self.capturing:
            return cudaError_t.cudaErrorStreamCaptureUnsupported, None
        return self._reserved("cudaMalloc", self.device, size)

    def cudaFree(self, address: int) -> tuple[Any, ...]:
        del self.device[address]
        return self._answer("cudaFree", (address,))

    def cudaHostAlloc(self, size: int, flags: int) -> tuple[Any, ...]:
        return self._reserved("cudaHostAlloc", self.pinned, size)

    def cudaFreeHost(self, address: int) -> tuple[Any, ...]:
        del self.pinned[address]
        return self._answer("cudaFreeHost", (address,))

    def cudaMemcpyAsync(self, to: int, start: int, size: int, kind: int, stream: int) -> tuple[Any, ...]:
        uploads = kind == cudaMemcpyKind.cudaMemcpyHostToDevice
        places = (self.device, self.pinned) if uploads else (self.pinned, self.device)

        def copy() -> None:
            for blocks, address in zip(places, (to, start), strict=True):
                self._check_range(blocks, address, size)
            ctypes.memmove(to, start, size)

        return self._queued("cudaMemcpyAsync", (size, kind, stream), Work("upload" if uploads else "download", copy))

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Any, ...]:
        answer = self._answer("cudaStreamCreateWithFlags", (flags,), self._handle())
        if answer[0] == OK:
            self.streams[answer[1]] = deque()
        return answer

    def cudaStreamDestroy(self, stream: int) -> tuple[Any, ...]:
        assert not self.streams.pop(stream) or self.fails, "a stream is destroyed with work on it"
        return self._answer("cudaStreamDestroy", (stream,))

    def cudaStreamSynchronize(self, stream: int) -> tuple[Any, ...]:
        if self.capturing:
            return (cudaError_t.cudaErrorStreamCaptureUnsupported,)
        self._run_until(lambda: not self.streams[stream])
        return self._answer("cudaStreamSynchronize", (stream,))

    def cudaStreamWaitEvent(self, stream: int, event: int, flags: int) -> tuple[Any, ...]:
        work = Work("wait", lambda: None, event, self.recorded[event])
        return self._queued("cudaStreamWaitEvent", (event, stream), work)

    def cudaEventCreateWithFlags(self, flags: int) -> tuple[Any, ...]:
        answer = self._answer("cudaEventCreateWithFlags", (flags,), self._handle())
        if answer[0] == OK:
            self.recorded[answer[1]], self.happened[answer[1]] = 0, {0}
        return answer

    def cudaEventDestroy(self, event: int) -> tuple[Any, ...]:
        del self.recorded[event]
        return self._answer("cudaEventDestroy", (event,))

    def cudaEventRecord(self, event: int, stream: int) -> tuple[Any, ...]:
        self.recorded[event] += 1
        times = self.recorded[event]
        return self._queued("cudaEventRecord", (event, stream), Work("record", lambda: self.happened[event].add(times)))

    def cudaEventSynchronize(self, event: int) -> tuple[Any, ...]:
        times = self.recorded[event]
        self._run_until(lambda: times in self.happened[event])
        return self._answer("cudaEventSynchronize", (event,))

    def cudaStreamBeginCapture(self, stream: int, mode: int) -> tuple[Any, ...]:
        answer = self._answer("cudaStreamBeginCapture", (stream,))
        if answer[0] == OK:
            self.capturing = stream, []
        return answer

    def cudaStreamEndCapture(self, stream: int) -> tuple[Any, ...]:
        assert self.capturing is not None
        assert self.capturing[0] == stream
        answer = self._answer("cudaStreamEndCapture", (stream,), self._handle())
        if answer[0] == OK:
            self.graphs[answer[1]] = self.capturing[1]
        self.capturing = None
        return answer

    def cudaGraphInstantiate(self, graph: int, flags: int) -> tuple[Any, ...]:
        answer = self._answer("cudaGraphInstantiate", (graph,), self._handle())
        if answer[0] == OK:
            self.runnable[answer[1]] = list(self.graphs[graph])
        return answer

    def cudaGraphDestroy(self, graph: int) -> tuple[Any, ...]:
        del self.graphs[graph]
        return self._answer("cudaGraphDestroy", (graph,))

    def cudaGraphLaunch(self, graph: int, stream: int) -> tuple[Any, ...]:
        def run() -> None:
            for work in self.runnable[graph]:
                work.action()

        return self._queued("cudaGraphLaunch", (graph, stream), Work("graph", run))

    def cudaGraphExecDestroy(self, graph: int) -> tuple[Any, ...]:
        del self.runnable[graph]
        return self._answer("cudaGraphExecDestroy", (graph,))

    # how it works

    def _handle(self) -> int:
        self._last_handle += 1
        return self._last_handle

    def _answer(self, name: str, arguments: tuple[Any, ...], *values: Any) -> tuple[Any, ...]:
        self.calls.append((name, *arguments))
        status = self.fails.get(name, OK)
        self.last_error = self.last_error if status == OK else status
        return (status, *(values if status == OK else (None for _ in values)))

    def _reserved(self, name: str, blocks: dict[int, Any], size: int) -> tuple[Any, ...]:
        block = (ctypes.c_uint8 * size)(*[0xAA] * min(size, 64))
        answer = self._answer(name, (size,), ctypes.addressof(block))
        if answer[0] == OK:
            blocks[answer[1]] = block
        return answer

    def _check_range(self, blocks: dict[int, Any], address: int, size: int) -> None:
        inside = any(start <= address and address + size <= start + len(block) for start, block in blocks.items())
        assert inside, f"{size} bytes at {address:#x} are not reserved, or of the wrong kind"

    def _queued(self, name: str, arguments: tuple[Any, ...], work: Work) -> tuple[Any, ...]:
        answer = self._answer(name, arguments)
        if answer[0] == OK:
            self._put(arguments[-1], work)
        return answer

    def _put(self, stream: int, work: Work) -> None:
        if self.capturing is not None and self.capturing[0] == stream:
            self.capturing[1].append(work)
            return
        self.streams[stream].append(work)
        while self.seed is not None and self._random.random() < 0.5 and self._advance():
            pass

    def _is_ready(self, stream: int) -> bool:
        queue = self.streams[stream]
        return bool(queue) and queue[0].times in self.happened.get(queue[0].event, {0})

    def _step(self, stream: int) -> None:
        work = self.streams[stream].popleft()
        work.action()
        self.done.append((stream, work.what))

    def _advance(self) -> bool:
        ready = [stream for stream in self.streams if self._is_ready(stream)]
        if ready:
            self._step(self._random.choice(ready))
        return bool(ready)

    def _run_until(self, is_reached: Callable[[], bool]) -> None:
        while not is_reached():
            assert self._advance(), "the streams wait for one another"
