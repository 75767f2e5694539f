"""Names, types and shapes of the arrays a model takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ContractError

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a model.

    Attributes:
        name: Its name in the graph.
        dtype: NumPy name of the element type, ``uint8`` or ``float32``.
        shape: A number per fixed dimension, a name per free one.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def describe(self) -> str:
        """Write the tensor the way errors show it: ``float32[1, 3, 'height', 'width']``."""
        return f"{self.dtype}[{', '.join(map(repr, self.shape))}]"

    def accepts(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> bool:
        """Whether an array of this type and shape fits."""
        fits = len(shape) == len(self.shape) and all(
            isinstance(wanted, str) or wanted == got for wanted, got in zip(self.shape, shape, strict=True)
        )
        return fits and dtype == np.dtype(self.dtype)


def check_inputs(specs: tuple[TensorSpec, ...], arrays: Mapping[str, Array]) -> None:
    """Refuse arrays a model cannot take.

    Raises:
        ContractError: A name is missing or too many, or an array has another type or shape.
    """
    wanted = {spec.name for spec in specs}
    if wanted != set(arrays):
        raise ContractError(f"inputs are {sorted(arrays)}, the network expects {sorted(wanted)}")
    for spec in specs:
        array = arrays[spec.name]
        if not spec.accepts(array.dtype, array.shape):
            got = f"{array.dtype}{list(array.shape)}"
            raise ContractError(f"input {spec.name!r} is {got}, the network expects {spec.describe()}")
