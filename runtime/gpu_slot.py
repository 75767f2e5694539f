"""Where one frame lies on its way to the GPU, through the network and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ..core.tensors import Array, TensorSpec
from .cuda_layer import CudaLayer
from .gpu_memory import DeviceMemory, PinnedMemory, size_of


class Slot:
    """Pinned memory on the host and memory on the GPU for every tensor, and the events between the three stages.

    Args:
        cuda: Reserves and copies.

    Attributes:
        uploaded: Happens when the inputs are on the GPU.
        computed: Happens when the outputs are there.
        downloaded: Happens when they are back.
        generation: Of the engine's shapes it is made for; 0: none yet.
        addresses: On the GPU, by tensor.
        graph: The network as a CUDA graph on these addresses; None: not captured.
        ticket: Number of the frame in it; None: it is free.
    """

    def __init__(self, cuda: CudaLayer) -> None:
        self._cuda = cuda
        self._events: list[int] = []
        try:
            self.uploaded, self.computed, self.downloaded = (self._event() for _ in range(3))
        except BaseException:
            for event in self._events:
                cuda.destroy_event(event)
            raise
        self.generation = 0
        self.addresses: dict[str, int] = {}
        self.graph: int | None = None
        self.ticket: int | None = None
        self._pinned: dict[str, PinnedMemory] = {}
        self._device: dict[str, DeviceMemory] = {}
        self._arrays: dict[str, Array] = {}

    def _event(self) -> int:
        event = self._cuda.create_event()
        self._events.append(event)
        return event

    def resize(self, tensors: Sequence[TensorSpec]) -> None:
        """Make room for tensors of these shapes; what is there is used again where it suffices.

        Raises:
            BackendError: There is not enough memory; the slot is made for no shape then.
        """
        self.generation = 0
        self.drop_graph()  # it knows the old addresses
        for spec in tensors:
            size = size_of(spec)
            pinned = self._pinned.setdefault(spec.name, PinnedMemory(self._cuda))
            device = self._device.setdefault(spec.name, DeviceMemory(self._cuda))
            self._arrays.pop(spec.name, None)  # or the former memory stays
            self._arrays[spec.name] = pinned.reserve(size)[:size].view(spec.dtype).reshape(spec.shape)  # type: ignore[arg-type]
            self.addresses[spec.name] = device.reserve(size).address

    def upload(self, arrays: Mapping[str, Array], stream: int) -> None:
        """Copy arrays into pinned memory now, and to the GPU when the stream comes to it."""
        for name, array in arrays.items():
            pinned = self._arrays[name]
            np.copyto(pinned, array)
            self._cuda.upload(self.addresses[name], pinned.ctypes.data, pinned.nbytes, stream)
        self._cuda.record(self.uploaded, stream)

    def download(self, names: Iterable[str], stream: int) -> None:
        """Copy tensors back when the stream comes to it."""
        for name in names:
            pinned = self._arrays[name]
            self._cuda.download(pinned.ctypes.data, self.addresses[name], pinned.nbytes, stream)
        self._cuda.record(self.downloaded, stream)

    def results(self, names: Iterable[str]) -> dict[str, Array]:
        """The arrays that ``download`` writes; overwritten by the next one."""
        return {name: self._arrays[name] for name in names}

    def drop_graph(self) -> None:
        """Forget the graph; nothing on the GPU may be running it."""
        if self.graph is not None:
            self._cuda.destroy_graph(self.graph)
            self.graph = None

    def close(self) -> None:
        """Release everything; closing twice is fine. Arrays given out stay readable."""
        self.drop_graph()
        while self._events:
            self._cuda.destroy_event(self._events.pop())
        self._pinned, self._device, self._arrays = {}, {}, {}
        self.generation, self.addresses, self.ticket = 0, {}, None
