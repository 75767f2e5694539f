"""Arrays of other libraries on the GPU, taken and given without a copy through ``__cuda_array_interface__``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.errors import ContractError
from ..core.tensors import TensorSpec
from .gpu_memory import DeviceBlock, size_of

INTERFACE = "__cuda_array_interface__"


@dataclass(frozen=True, slots=True, eq=False)
class DeviceArray:
    """An array on the GPU that pycuda, torch, CuPy and others read without a copy.

    >>> restored = backend.run_on_device({"frames": frames}, stream=stream.handle)["restored"]
    >>> cupy.asarray(restored)

    Attributes:
        spec: Name, type and shape.
        block: Its memory, which stays as long as this object.
        stream: On which it is written; None: it is written.
    """

    spec: TensorSpec
    block: DeviceBlock
    stream: int | None = None

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.spec.shape,
            "typestr": np.dtype(self.spec.dtype).str,
            "data": (self.block.address, False),
            "strides": None,
            "version": 3,
            "stream": self.stream,
        }


@dataclass(frozen=True, slots=True)
class DeviceView:
    """Someone else's array on the GPU.

    Attributes:
        spec: Name, type and shape.
        address: Where it begins.
        stream: On which it is made ready; None: it is ready.
    """

    spec: TensorSpec
    address: int
    stream: int | None

    def overlaps(self, other: DeviceView) -> bool:
        """Whether the two share memory."""
        return self.address < other.address + size_of(other.spec) and other.address < self.address + size_of(self.spec)


def views_of(
    specs: tuple[TensorSpec, ...], arrays: Mapping[str, object], what: str, *, is_written: bool = False
) -> dict[str, DeviceView]:
    """Look at several arrays, see ``view_of``.

    Args:
        specs: What they have to be.
        arrays: By name.
        what: ``inputs`` or ``outputs``, for messages.
        is_written: Whether they will be written to.

    Raises:
        ContractError: A name is missing or too many, or an array does not fit.
    """
    wanted = {spec.name for spec in specs}
    if wanted != set(arrays):
        raise ContractError(f"{what} are {sorted(arrays)}, the network expects {sorted(wanted)}")
    return {spec.name: view_of(spec, arrays[spec.name], is_written=is_written) for spec in specs}


def view_of(wanted: TensorSpec, array: object, *, is_written: bool = False) -> DeviceView:
    """Look at an array through the interface.

    Args:
        wanted: What it has to be; names in its shape stand for any length.
        array: Anything with ``__cuda_array_interface__``.
        is_written: Whether it will be written to.

    Raises:
        ContractError: It has no such interface, or is of another type, shape or layout.
    """
    try:
        interface = getattr(array, INTERFACE, None)
    except RuntimeError as error:  # torch: of tensors that require gradients
        raise ContractError(f"{wanted.name!r} does not give its {INTERFACE} ({error})") from error
    if not isinstance(interface, Mapping):
        raise ContractError(
            f"{wanted.name!r} is a {type(array).__name__} without {INTERFACE}, expected an array on the GPU; "
            "arrays of the host go through run()"
        )
    try:
        dtype, shape = np.dtype(interface["typestr"]), tuple(int(length) for length in interface["shape"])
        address, is_read_only = interface["data"]
    except (KeyError, TypeError, ValueError) as error:
        raise ContractError(f"{wanted.name!r}: its {INTERFACE} cannot be read ({error!r})") from error
    if not wanted.accepts(dtype, shape):
        raise ContractError(f"{wanted.name!r} is {dtype}{list(shape)}, the network expects {wanted.describe()}")
    _check_memory(wanted.name, interface, dtype, shape)
    if is_written and is_read_only:
        raise ContractError(f"{wanted.name!r} is read-only, expected an array that the result can be written to")
    return DeviceView(TensorSpec(wanted.name, dtype.name, shape), int(address), interface.get("stream"))


def _check_memory(name: str, interface: Mapping[str, Any], dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Refuse memory that cannot be used as it lies."""
    if not interface["data"][0]:
        raise ContractError(f"{name!r} has no memory (its address is 0), expected an array on the GPU")
    if interface.get("mask") is not None:
        raise ContractError(f"{name!r} has a mask, expected an array without one")
    if interface.get("stream") == 0:
        # forbidden by the interface: it could be either of the two default streams
        raise ContractError(
            f"{name!r} names stream 0, expected 1 (legacy default), 2 (per thread) or a stream's handle"
        )
    strides = interface.get("strides")
    if strides is not None and not _is_dense(tuple(strides), dtype.itemsize, shape):
        raise ContractError(
            f"{name!r} has the strides {list(strides)}, expected rows one after the other (C order); copy it first"
        )


def _is_dense(strides: tuple[int, ...], item: int, shape: tuple[int, ...]) -> bool:
    """Whether strides are those of C order; the stride of an axis of length 1 does not matter."""
    if len(strides) != len(shape):
        return False
    expected = item
    for stride, length in zip(reversed(strides), reversed(shape), strict=True):
        if length != 1 and stride != expected:
            return False
        expected *= length
    return True
