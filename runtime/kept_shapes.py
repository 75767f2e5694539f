"""What a backend made ready for the input shapes it was given last, so that shapes may take turns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Generic, TypeVar

Made = TypeVar("Made")
Shapes = Mapping[str, tuple[int, ...]]

#: how much is kept: inputs of so many values in all, five colour frames of 360x640; beyond it only the shape in use
KEPT_VALUES = 4_000_000


class KeptShapes(Generic[Made]):
    """Remembers what was made for the last shapes, as far as memory for values allows.

    Args:
        values_max: Values of the inputs of all shapes together; the last one is kept whatever its size.
    """

    def __init__(self, values_max: int = KEPT_VALUES) -> None:
        self._values_max = values_max
        self._made: dict[tuple[tuple[str, tuple[int, ...]], ...], Made] = {}

    def get(self, shapes: Shapes) -> Made | None:
        """What was made for these shapes; None where it is not kept."""
        key = tuple(sorted(shapes.items()))
        made = self._made.pop(key, None)
        if made is not None:
            self._made[key] = made
        return made

    def add(self, shapes: Shapes, made: Made) -> None:
        """Keep what was made for these shapes; shapes not asked for longest go."""
        self._made[tuple(sorted(shapes.items()))] = made
        while len(self._made) > 1 and self._values > self._values_max:
            del self._made[next(iter(self._made))]

    def clear(self) -> None:
        """Forget everything."""
        self._made.clear()

    @property
    def _values(self) -> int:
        return sum(math.prod(shape) for key in self._made for _, shape in key)
