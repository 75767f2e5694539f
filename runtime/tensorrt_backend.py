"""TensorRT and TensorRT-RTX: runs an engine, with copies to and from the GPU beside the computing."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from ..core.engine_file import EngineFile, Host
from ..core.errors import BackendError, ContractError
from ..core.tensorrt_packages import this_host
from ..core.tensors import Array, TensorSpec, check_inputs
from ..plugins.tensorrt_library import library_of
from .backend import Ticket
from .cuda_layer import LEGACY_STREAM, open_cuda
from .device_arrays import DeviceArray, DeviceView, views_of
from .gpu_memory import DeviceMemory, size_of
from .gpu_slot import Slot
from .loaded_engine import LoadedEngine, PluginLibrary

SLOTS = 2
TITLES = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX"}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Lanes:
    """One stream per stage, so that frames are copied while another is computed."""

    upload: int
    compute: int
    download: int


class TensorRtBackend:
    """Runs an engine; two frames may be under way at once, see ``submit``.

    Args:
        engine: Opened, so that it is the one its manifest speaks of.
        host: What it has to fit; this machine if not given.
        plugin_library: Finds the library of an engine's own operators.

    Raises:
        MissingExtraError: TensorRT or cuda-bindings is not installed.
        MachineError: The engine is of another version or GPU, or there is none.
        BackendError: TensorRT refuses the engine.
    """

    def __init__(
        self, engine: EngineFile, host: Host | None = None, plugin_library: PluginLibrary = library_of
    ) -> None:
        manifest = engine.manifest
        self.name = manifest.backend
        host = host or this_host(manifest.backend)
        engine.check_fits(host)
        self._file, self._cuda, self.batch_max = engine, open_cuda(), manifest.batch_max
        self._engine = LoadedEngine(engine, self._cuda, plugin_library)
        self.inputs, self.outputs = self._engine.inputs, self._engine.outputs
        # sizes and numbers of frames are checked against the manifest, which knows what to do about them
        self._taken = tuple(_of_any_size(spec, engine.manifest.contract.io) for spec in self.inputs)
        kinds = sorted(manifest.precision, key=lambda kind: manifest.precision[kind])
        self.description = f"{TITLES[self.name]} {manifest.tensorrt} on {host.gpu}, {(kinds or ['unknown types'])[-1]}"
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._given: tuple[TensorSpec, ...] = ()
        # counts changes of shape: after one, graphs captured before it are worth nothing
        self._generation = 0
        self._is_warm, self._captures = False, not self._engine.has_own_graphs
        self._tickets = 0
        self._device_outputs: dict[str, DeviceMemory] = {}
        self._streams: list[int] = []
        self._slots: list[Slot] = []
        try:
            self._lanes = Lanes(*(self._stream() for _ in range(3)))
            for _ in range(SLOTS):
                self._slots.append(Slot(self._cuda))
            self._order = self._cuda.create_event()
        except BaseException:
            self.close()
            raise

    def _stream(self) -> int:
        stream = self._cuda.create_stream()
        self._streams.append(stream)
        return stream

    def prepare(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Take inputs of these shapes: reserve memory, run once and capture a graph; cheap when already done.

        Raises:
            MachineError: The engine was built for other sizes.
            BackendError: The memory does not suffice, or TensorRT fails.
        """
        self._reshape(shapes)
        for slot in self._slots:
            if slot.ticket is None:
                self._ready(slot)

    def run(self, arrays: Mapping[str, Array]) -> Mapping[str, Array]:
        """Run once; the result is valid until the next call.

        Raises:
            ContractError: An array has another name, type or shape than the model expects.
            MachineError: The engine was built for other sizes.
            BackendError: TensorRT or CUDA failed.
        """
        return self.collect(self.submit(arrays))

    def submit(self, arrays: Mapping[str, Array]) -> Ticket:
        """Send one frame on its way and return at once; arrays may change afterwards.

        While it is computed, the next one submitted is copied to the GPU, and the one before it back.

        Raises:
            ContractError: As ``run``.
            MachineError: As ``run``.
            BackendError: Every slot holds a frame that was not collected; or as ``run``.
        """
        self._check_is_open()
        check_inputs(self._taken, arrays)
        self._reshape({name: array.shape for name, array in arrays.items()})
        slot = next((slot for slot in self._slots if slot.ticket is None), None)
        if slot is None:
            raise BackendError(f"{SLOTS} frames are under way already; collect one before the next is submitted")
        self._ready(slot)
        try:
            self._send(slot, arrays)
        except BaseException:
            self._drain()
            raise
        self._tickets += 1
        slot.ticket = self._tickets
        return Ticket(slot.ticket)

    def _send(self, slot: Slot, arrays: Mapping[str, Array]) -> None:
        cuda, lanes = self._cuda, self._lanes
        slot.upload(arrays, lanes.upload)
        cuda.wait(lanes.compute, slot.uploaded)
        if slot.graph is not None:
            cuda.launch(slot.graph, lanes.compute)
        else:
            self._engine.enqueue(slot.addresses, lanes.compute)
        cuda.record(slot.computed, lanes.compute)
        cuda.wait(lanes.download, slot.computed)
        slot.download((spec.name for spec in self.outputs), lanes.download)

    def collect(self, ticket: Ticket) -> Mapping[str, Array]:
        """Wait for a frame; its result is valid until the next ``submit`` or ``run``.

        Raises:
            BackendError: It was collected already, or computing it failed.
        """
        slot = next((slot for slot in self._slots if slot.ticket == ticket.number), None)
        if slot is None:
            raise BackendError(f"frame {ticket.number} is not under way; every ticket is collected once")
        slot.ticket = None
        try:
            self._cuda.finish_event(slot.downloaded)
        except BaseException:
            self._drain()
            raise
        return slot.results(spec.name for spec in self.outputs)

    def _reshape(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Shape the engine, not the slots."""
        self._check_is_open()
        if dict(shapes) == self._shapes:
            return
        height, width = _spatial(self._file.manifest.contract.io)
        for shape in shapes.values():
            self._file.check_batch(shape[0])
            self._file.check_size((shape[height], shape[width]))
        self._cuda.finish_stream(self._lanes.compute)
        self._shapes, self._is_warm = {}, False
        self._generation += 1
        self._given = self._engine.resize(shapes)
        self._shapes = dict(shapes)

    def _ready(self, slot: Slot) -> None:
        """Make a free slot fit the engine's shapes; the first one of a shape runs once, which compiles what is left."""
        if slot.generation == self._generation:
            return
        taken = (TensorSpec(spec.name, spec.dtype, self._shapes[spec.name]) for spec in self.inputs)
        slot.resize((*taken, *self._given))
        if not self._is_warm:
            self._engine.enqueue(slot.addresses, self._lanes.compute)
            self._cuda.finish_stream(self._lanes.compute)
            self._is_warm = True
        if self._captures:
            self._capture(slot)
        slot.generation = self._generation

    def _capture(self, slot: Slot) -> None:
        compute = self._lanes.compute
        try:
            slot.graph = self._cuda.capture(lambda: self._engine.enqueue(slot.addresses, compute), compute)
        except BackendError as error:
            self._captures = False
            logger.warning("%s runs without a CUDA graph, a little slower: %s", self._file.path.name, error)

    def run_on_device(
        self, inputs: Mapping[str, object], outputs: Mapping[str, object] | None = None, stream: int | None = None
    ) -> Mapping[str, object]:
        """Run once on arrays that lie on the GPU, without copying them.

        Inputs are waited for on the stream their interface names. With ``stream`` the call returns at once
        and the result is ready on that stream; keep the arrays until then. Without, it returns when the
        result is there.

        Args:
            inputs: Objects with ``__cuda_array_interface__``, such as pycuda's, torch's and CuPy's arrays.
            outputs: Likewise, to be written to; memory of this backend if not given.
            stream: Handle of a stream; 0 and 1 are the legacy default stream, 2 is the thread's.

        Returns:
            ``outputs``, or arrays that are valid until the next call.

        Raises:
            ContractError: An array has another name, type, shape or layout, or shares memory with another.
            MachineError: The engine was built for other sizes.
            BackendError: TensorRT or CUDA failed.
        """
        self._check_is_open()
        views = views_of(self._taken, inputs, "inputs")
        self._reshape({name: view.spec.shape for name, view in views.items()})  # type: ignore[misc]  # all numbers
        lane = self._lanes.compute if stream is None else stream or LEGACY_STREAM
        results, places = self._places(outputs, views, None if stream is None else lane)
        self._order_after({view.stream for view in (*views.values(), *places) if view.stream is not None}, lane)
        addresses = {view.spec.name: view.address for view in (*views.values(), *places)}
        self._engine.enqueue(addresses, lane)
        if stream is None:
            self._cuda.finish_stream(lane)
        else:
            self._follow(self._lanes.compute, lane)
        return results

    def _places(
        self, outputs: Mapping[str, object] | None, views: Mapping[str, DeviceView], stream: int | None
    ) -> tuple[Mapping[str, object], list[DeviceView]]:
        """Say where the outputs go, and what the caller gets."""
        if outputs is None:
            made = {spec.name: self._device_output(spec, stream) for spec in self._given}
            return made, [DeviceView(array.spec, array.block.address, None) for array in made.values()]
        places = list(views_of(self._given, outputs, "outputs", is_written=True).values())
        for place in places:
            shared = [view.spec.name for view in views.values() if view.overlaps(place)]
            if shared:
                raise ContractError(f"{place.spec.name!r} shares memory with {shared[0]!r}, expected memory of its own")
        return outputs, places

    def _device_output(self, spec: TensorSpec, stream: int | None) -> DeviceArray:
        memory = self._device_outputs.setdefault(spec.name, DeviceMemory(self._cuda))
        return DeviceArray(spec, memory.reserve(size_of(spec)), stream)

    def _order_after(self, streams: set[int], lane: int) -> None:
        """Let a lane wait for other streams, and for earlier runs: the execution context is one."""
        for stream in sorted(streams | {self._lanes.compute}):
            if stream != lane:
                self._follow(lane, stream)

    def _follow(self, later: int, earlier: int) -> None:
        self._cuda.record(self._order, earlier)
        self._cuda.wait(later, self._order)

    def _check_is_open(self) -> None:
        if not self._slots:
            raise BackendError(f"{self._file.path.name} is closed; open it again")

    def _drain(self) -> None:
        """Wait until nothing uses the slots, whatever it says."""
        for stream in self._streams:
            with suppress(BackendError):
                self._cuda.finish_stream(stream)

    def close(self) -> None:
        """Release everything; closing twice is fine."""
        self._drain()
        if self._slots and hasattr(self, "_order"):
            self._cuda.destroy_event(self._order)
        while self._slots:
            self._slots.pop().close()
        while self._streams:
            self._cuda.destroy_stream(self._streams.pop())
        self._engine.close()
        self._device_outputs, self._shapes = {}, {}


def _spatial(io: str) -> tuple[int, int]:
    """Axes of height and width."""
    return (-3, -2) if io == "uint8" else (-2, -1)


def _of_any_size(spec: TensorSpec, io: str) -> TensorSpec:
    shape = list(spec.shape)
    for axis, name in zip(_spatial(io), ("height", "width"), strict=True):
        shape[axis] = name
    return TensorSpec(spec.name, spec.dtype, tuple(shape))
