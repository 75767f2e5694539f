"""Several looks at one picture, averaged: flips, rotations, overlapping quarters; on any backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..core.contract import FrameContract
from ..core.errors import UsageError
from ..core.symmetries import X4, X8, Symmetry
from ..core.tensors import Array, check_inputs
from .backend import Backend

#: how far WRCAN's quarters reach over the middle of the picture, pixels
QUARTER_OVERLAP_PX = 36
#: pictures of this many pixels and more are quartered again (WRCAN's official test)
QUARTER_AGAIN_PX = 1_280_000


class _Wrapped:
    """A backend around another; the picture's axes are read off the contract."""

    def __init__(self, backend: Backend, contract: FrameContract, label: str) -> None:
        self.name, self.description = backend.name, f"{backend.description}, {label}"
        self.inputs, self.outputs = backend.inputs, backend.outputs
        self._backend, self._contract = backend, contract
        self._axes = (-3, -2) if contract.io == "uint8" else (-2, -1)

    def prepare(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Leave compiling to the first run: shapes differ between the parts."""

    def _look(self, picture: Array) -> Array:
        """Run the backend on one variant; the result is valid until the next call."""
        return self._backend.run({self.inputs[0].name: np.ascontiguousarray(picture)})[self.outputs[0].name]

    def close(self) -> None:
        """Release the backend; closing twice is fine."""
        self._backend.close()


class SelfEnsemble(_Wrapped):
    """Restores flipped and rotated copies, turns them back and takes the mean.

    Bytes are averaged before they are rounded, but each look was rounded already; a float model
    avoids that. Takes as many times as long as there are symmetries.
    """

    def __init__(self, backend: Backend, contract: FrameContract, symmetries: Sequence[Symmetry], label: str) -> None:
        super().__init__(backend, contract, label)
        self._symmetries = symmetries

    def run(self, arrays: Mapping[str, Array]) -> Mapping[str, Array]:
        """Run once per symmetry; the result is new memory."""
        check_inputs(self.inputs, arrays)
        picture = arrays[self.inputs[0].name]
        total: Array | None = None
        for symmetry in self._symmetries:
            restored = self._look(symmetry.apply(picture, np.flip, self._axes))
            upright = symmetry.undo(restored, np.flip, self._axes)
            total = upright.astype(np.float32) if total is None else total + upright
        assert total is not None
        mean = total / np.float32(len(self._symmetries))
        is_bytes = self.outputs[0].dtype == "uint8"
        return {self.outputs[0].name: np.rint(mean).astype(np.uint8) if is_bytes else mean}


class Quarters(_Wrapped):
    """Restores four overlapping quarters one by one and joins them without blending (WRCAN, CVPRW 2021).

    Needs about a quarter of the memory. Where a network pools globally, each quarter has a mean of
    its own, so that the picture differs slightly from one restored whole.
    """

    def __init__(self, backend: Backend, contract: FrameContract) -> None:
        super().__init__(backend, contract, "quarters")

    def run(self, arrays: Mapping[str, Array]) -> Mapping[str, Array]:
        """Run once per quarter; the result is new memory."""
        check_inputs(self.inputs, arrays)
        return {self.outputs[0].name: self._restore(arrays[self.inputs[0].name])}

    def _restore(self, picture: Array) -> Array:
        size = tuple(picture.shape[axis] for axis in self._axes)
        rows, columns = (self._parts(length) for length in size)
        is_large = size[0] * size[1] >= QUARTER_AGAIN_PX
        joined_rows = []
        for top in rows:
            looks = []
            for left in columns:
                part = self._cut(picture, (top[0], left[0]))
                restored = self._restore(part) if is_large else self._look(part)
                looks.append(self._cut(restored, (top[1], left[1]), self._contract.scale).copy())
            joined_rows.append(np.concatenate(looks, axis=self._axes[1]))
        joined: Array = np.concatenate(joined_rows, axis=self._axes[0])
        return joined

    def _parts(self, length: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Split one axis: for each half what is restored, and what of that is kept."""
        multiple = self._contract.multiple
        reach = min(-(-(length // 2 + QUARTER_OVERLAP_PX) // multiple) * multiple, length)
        half = length // 2
        second = length - reach
        return (slice(0, reach), slice(0, half)), (slice(second, length), slice(half - second, reach))

    def _cut(self, picture: Array, part: tuple[slice, slice], scale: int = 1) -> Array:
        where = [slice(None)] * picture.ndim
        for axis, along in zip(self._axes, part, strict=True):
            where[axis] = slice(along.start * scale, along.stop * scale)
        return picture[tuple(where)]


#: name -> symmetries averaged over
SYMMETRIES: dict[str, tuple[Symmetry, ...]] = {"x4": X4, "x8": X8}
ENSEMBLES = (*SYMMETRIES, "quarters")


def ensemble_backend(backend: Backend, contract: FrameContract, kinds: Sequence[str]) -> Backend:
    """Wrap a backend; flips and rotations go around quarters, whatever the order of ``kinds``.

    Raises:
        UsageError: A kind is unknown, or both ``x4`` and ``x8`` are asked for.
    """
    if unknown := sorted(set(kinds) - set(ENSEMBLES)):
        raise UsageError(f"no ensemble called {', '.join(unknown)}, expected {', '.join(ENSEMBLES)}")
    turned = [kind for kind in SYMMETRIES if kind in kinds]
    if len(turned) > 1:
        raise UsageError("x8 contains x4; ask for one of them")
    if "quarters" in kinds:
        backend = Quarters(backend, contract)
    return SelfEnsemble(backend, contract, SYMMETRIES[turned[0]], turned[0]) if turned else backend
