"""CIFAR-10: ten thousand 32x32 pictures in a file, in the binary and in the pickled form.

The pickled form was written by Python 2 and would run whatever code it names, so it is read with
an unpickler that knows one array of bytes and nothing else.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import SourceError

Pixels = NDArray[np.uint8]

SIDE_PX = 32
#: red, green and blue plane
PICTURE_BYTES = 3 * SIDE_PX * SIDE_PX
#: a label before the picture
RECORD_BYTES = 1 + PICTURE_BYTES
BINARY_SUFFIX = ".bin"

#: what unpickling may end in where a file is damaged or something else
DAMAGE = (pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError, OverflowError, OSError)


@dataclass(frozen=True, slots=True)
class CifarReader:
    """Reads one picture of a file of many.

    Attributes:
        row: Its place in the file.
    """

    row: int

    def __call__(self, path: Path) -> Pixels:
        """Read the picture, ``uint8 [32, 32, 3]`` RGB, new memory.

        Raises:
            SourceError: The file is damaged or has fewer pictures.
        """
        if path.suffix == BINARY_SUFFIX:
            with path.open("rb") as file:
                file.seek(self.row * RECORD_BYTES + 1)
                planes = np.frombuffer(file.read(PICTURE_BYTES), np.uint8)
        else:
            planes = _unpickled(path)[self.row : self.row + 1].ravel()
        if planes.size != PICTURE_BYTES:
            raise SourceError(f"{path} holds no picture {self.row}; is the file whole?")
        return np.ascontiguousarray(planes.reshape(3, SIDE_PX, SIDE_PX).transpose(1, 2, 0))


def count_pictures(path: Path) -> int:
    """Count the pictures of a CIFAR-10 file; the pickled form is read whole for it.

    Raises:
        SourceError: The file is damaged or something else.
    """
    if path.suffix != BINARY_SUFFIX:
        return len(_unpickled(path))
    count, rest = divmod(path.stat().st_size, RECORD_BYTES)
    if rest or not count:
        raise SourceError(
            f"{path} has {path.stat().st_size} bytes, expected a multiple of {RECORD_BYTES} (a label and a "
            "32x32 picture each); is the file whole?"
        )
    return count


# one file of 30 MB: sequences are read one after the other
@lru_cache(maxsize=1)
def _unpickled(path: Path) -> Pixels:
    """Pictures of a pickled file, ``uint8 [picture, 3072]``."""
    try:
        with path.open("rb") as file:
            content = _ArrayUnpickler(file, encoding="bytes").load()
        stored = content.get(b"data", content.get("data"))
        if not isinstance(stored, _StoredArray):
            raise ValueError("it holds no array called data")
        return stored.as_pixels()
    except DAMAGE as error:
        raise SourceError(f"{path} is no readable CIFAR-10 batch ({error}); is the file whole?") from error


class _StoredArray:
    """What a pickled array says of itself; takes NumPy's place, so that nothing runs while reading."""

    state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def as_pixels(self) -> Pixels:
        _, shape, kind, is_fortran, values = self.state
        if kind.name not in (b"u1", "u1") or len(shape) != 2 or shape[1] != PICTURE_BYTES:
            raise ValueError(f"its array is {kind.name}{list(shape)}, expected u1[pictures, {PICTURE_BYTES}]")
        return np.frombuffer(values, np.uint8).reshape(shape, order="F" if is_fortran else "C")


class _StoredType:
    """The element type of a pickled array."""

    def __init__(self, name: bytes | str, *_: object) -> None:
        self.name = name

    def __setstate__(self, state: object) -> None:
        """Byte order and fields say nothing new of single bytes."""


def _stored_array(*_: object) -> _StoredArray:
    return _StoredArray()


#: what a pickled array may name; NumPy renamed its inner module in version 2
STAND_INS = {
    ("numpy.core.multiarray", "_reconstruct"): _stored_array,
    ("numpy._core.multiarray", "_reconstruct"): _stored_array,
    ("numpy", "ndarray"): _StoredArray,
    ("numpy", "dtype"): _StoredType,
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in STAND_INS:
            raise pickle.UnpicklingError(f"it names {module}.{name}, expected an array of bytes alone")
        return STAND_INS[module, name]
